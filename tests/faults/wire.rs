//! A wire between a process and an agent. It sees each request and each reply whole, notes those
//! that `spec/lock.qnt` knows, and can be cut.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::observer::Observer;
use crate::record::boot_nanos;
use crate::support::operator::Operator;

/// A listener for one process; its threads end with the test's process.
#[derive(Debug)]
pub(crate) struct Wire {
    address: SocketAddr,
    gate: Arc<Gate>,
}

/// How much later than others a request passes that was held for longer than [`LONG`].
const LATE: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(1);

/// What passes. What does not is held, and passes later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Passes {
    #[default]
    All,
    Replies,
    Nothing,
}

#[derive(Debug, Default)]
struct Gate {
    passes: Mutex<Passes>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, passes: Passes) {
        *self.passes.lock().unwrap_or_else(PoisonError::into_inner) = passes;
        self.changed.notify_all();
    }

    /// Returns once something passes. Requests that were held for long pass after younger ones.
    fn pass(&self, is_request: bool) {
        let began = Instant::now();
        let least = if is_request { Passes::All } else { Passes::Replies };
        let passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(passes, |passes| *passes > least));
        if is_request && began.elapsed() > LONG {
            thread::sleep(LATE);
        }
    }
}

impl Wire {
    /// The wire of the process with this number.
    pub(crate) fn of(process: usize, agent: SocketAddr, observer: &Arc<Observer>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the wire");
        let address = listener.local_addr().expect("a bound listener has an address");
        let gate = Arc::new(Gate::default());
        let end = End { process, agent, observer: observer.clone(), gate: gate.clone() };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let end = end.clone();
                thread::spawn(move || end.carry(client));
            }
        });
        Self { address, gate }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Somebody who speaks to the agent over this wire.
    pub(crate) fn operator(&self) -> Operator {
        Operator::new(self.address)
    }

    pub(crate) fn set(&self, passes: Passes) {
        self.gate.set(passes);
    }
}

#[derive(Clone)]
struct End {
    process: usize,
    agent: SocketAddr,
    observer: Arc<Observer>,
    gate: Arc<Gate>,
}

impl End {
    /// Carries one connection until one of its ends closes it.
    fn carry(&self, mut client: TcpStream) {
        let carried = TcpStream::connect(self.agent).and_then(|mut agent| {
            let _ = (client.set_nodelay(true), agent.set_nodelay(true));
            while let Some(request) = read_message(&mut client)? {
                let (observer, process) = (&self.observer, self.process);
                let mut sent = observer.sent(process, &request, boot_nanos());
                self.gate.pass(true);
                let reply = observer.served(sent.as_mut(), || {
                    agent.write_all(&request)?;
                    read_message(&mut agent)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
                })?;
                self.gate.pass(false);
                if has_closed(&client)? {
                    return Ok(());
                }
                // Noted before the process can act on it.
                observer.heard(sent, boot_nanos());
                client.write_all(&reply)?;
                if head(&reply).contains("\r\nconnection: close") {
                    break;
                }
            }
            Ok(())
        });
        if carried.is_err() {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

/// Whether the client waits for no answer any more.
fn has_closed(client: &TcpStream) -> io::Result<bool> {
    client.set_nonblocking(true)?;
    let peeked = client.peek(&mut [0]);
    client.set_nonblocking(false)?;
    Ok(!matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock))
}

fn head(message: &[u8]) -> String {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(message.len());
    String::from_utf8_lossy(&message[..end]).to_lowercase()
}

/// Reads a request or a reply, with its head; nothing at the end of the stream.
fn read_message(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    while !message.ends_with(b"\r\n\r\n") {
        if !read_some(from, &mut message, 1)? {
            return if message.is_empty() {
                Ok(None)
            } else {
                Err(ErrorKind::UnexpectedEof.into())
            };
        }
    }
    let head = head(&message);
    if head.contains("\r\ntransfer-encoding: chunked") {
        while read_chunk(from, &mut message)? > 0 {}
    } else if let Some((_, length)) = head.split_once("\r\ncontent-length: ") {
        let length = length.lines().next().and_then(|length| length.parse().ok());
        let length = length.ok_or(ErrorKind::InvalidData)?;
        if !read_some(from, &mut message, length)? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(message))
}

/// Reads one chunk with its length and line ends; returns its length.
fn read_chunk(from: &mut impl Read, message: &mut Vec<u8>) -> io::Result<usize> {
    let start = message.len();
    while !message[start..].ends_with(b"\r\n") {
        if !read_some(from, message, 1)? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let text = std::str::from_utf8(&message[start..]).unwrap_or_default().trim();
    let length = usize::from_str_radix(text, 16).map_err(|_| ErrorKind::InvalidData)?;
    read_some(from, message, length + 2)?;
    Ok(length)
}

/// Appends exactly this many bytes; false if the stream ends before.
fn read_some(from: &mut impl Read, message: &mut Vec<u8>, count: usize) -> io::Result<bool> {
    let read = from.by_ref().take(count as u64).read_to_end(message)?;
    Ok(read == count)
}
