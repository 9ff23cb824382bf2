//! A network, between a client and an agent, that fails on command.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How the proxy treats connections, existing and new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Bytes pass both ways.
    Forward,
    /// Bytes pass both ways with this delay.
    Delay(Duration),
    /// Connections stay open and can be opened, but nothing passes, not even a close. A later
    /// mode may let the held bytes pass.
    BlackHole,
    /// Requests pass; replies are held as in a black hole.
    OneWay,
    /// A gateway: a request that is not answered within this time is answered 504, and nothing
    /// more passes on its connection.
    Gateway(Duration),
    /// Connections are reset; new ones are reset as soon as they open.
    Reset,
    /// Connections are reset, and new ones are refused.
    Refuse,
}

impl Mode {
    fn breaks(&self) -> bool {
        matches!(self, Self::Reset | Self::Refuse)
    }

    /// When bytes that were read at `read` may pass; `None` while they must not.
    fn passes_at(self, direction: Direction, read: Instant) -> Option<Instant> {
        match (self, direction) {
            (Self::Forward | Self::Gateway(_), _) | (Self::OneWay, Direction::Request) => {
                Some(read)
            }
            (Self::Delay(span), _) => Some(read + span),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Request,
    Reply,
}

/// A request as it was read from the client: its head and its body.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: std::time::Instant,
    pub(crate) text: String,
}

/// The client's requests, and the one to hold.
#[derive(Clone)]
struct Requests {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// The text of the request to hold.
    armed: Arc<Mutex<Option<String>>>,
    /// Counts the releases of held requests.
    passes: watch::Sender<usize>,
    /// Counts how often the connections were forgotten.
    forgotten: watch::Sender<usize>,
}

impl Requests {
    /// Records a request, or more of the connection's latest one, whose place `latest` is;
    /// waits if it is the one to hold.
    async fn record(&self, bytes: &[u8], latest: &mut Option<usize>) {
        let text = String::from_utf8_lossy(bytes);
        let mut passes = self.passes.subscribe();
        let held = {
            let mut seen = lock(&self.seen);
            if [&b"GET "[..], b"PUT ", b"POST "].iter().any(|verb| bytes.starts_with(verb)) {
                *latest = Some(seen.len());
                seen.push(Seen { at: std::time::Instant::now(), text: String::new() });
            }
            // Not HTTP in clear text.
            let Some(place) = *latest else { return };
            seen[place].text.push_str(&text);
            let is_armed = |armed: &mut String| seen[place].text.contains(armed.as_str());
            lock(&self.armed).take_if(is_armed).is_some()
        };
        if held {
            let _ = passes.changed().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A TCP proxy with its own thread and clock; it ends when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    requests: Requests,
    commands: Option<UnboundedSender<Command>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A mode, and where to confirm that it is in force.
type Command = (Mode, mpsc::Sender<()>);

impl Proxy {
    /// Listens on a free port and forwards to `agent`.
    pub(crate) fn to(agent: SocketAddr) -> Self {
        let (commands, received) = unbounded_channel();
        let (started, start) = mpsc::channel();
        let (passes, forgotten) = (watch::channel(0).0, watch::channel(0).0);
        let requests = Requests { seen: Arc::default(), armed: Arc::default(), passes, forgotten };
        let noted = requests.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime for the proxy").block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
                let listener = listener.expect("a port for the proxy");
                let address = listener.local_addr().expect("a bound listener has an address");
                started.send(address).expect("Proxy::to waits");
                serve(listener, address, agent, received, noted).await;
            });
        });
        let address = start.recv().expect("the proxy starts");
        Self { address, requests, commands: Some(commands), thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far that contain `text`, in order.
    pub(crate) fn requests(&self, text: &str) -> Vec<Seen> {
        let seen = lock(&self.requests.seen);
        seen.iter().filter(|seen| seen.text.contains(text)).cloned().collect()
    }

    /// Holds the next request that contains `text`, and everything after it on its connection,
    /// until [`let_pass`](Self::let_pass), even if its client has given up by then.
    pub(crate) fn hold_next(&self, text: &str) {
        *lock(&self.requests.armed) = Some(text.to_owned());
    }

    /// Whether the request to hold has arrived.
    pub(crate) fn holds(&self) -> bool {
        lock(&self.requests.armed).is_none()
    }

    /// Lets the held request pass.
    pub(crate) fn let_pass(&self) {
        self.requests.passes.send_modify(|passes| *passes += 1);
    }

    /// Forgets the connections that stand, as a firewall or a NAT does: nothing passes over
    /// them any more, not even a close. New ones work.
    pub(crate) fn forget(&self) {
        self.requests.forgotten.send_modify(|times| *times += 1);
    }

    /// Sets the mode; returns once it is in force and its resets were sent.
    pub(crate) fn set(&self, mode: Mode) {
        let (done, wait) = mpsc::channel();
        let commands = self.commands.as_ref().expect("present until dropped");
        commands.send((mode, done)).expect("the proxy runs");
        wait.recv().expect("the proxy runs");
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    agent: SocketAddr,
    mut commands: UnboundedReceiver<Command>,
    requests: Requests,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    let (modes, mode) = watch::channel(Mode::Forward);
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => {
                let Some((mode, done)) = command else { return };
                if mode == Mode::Refuse {
                    listener = None;
                } else if listener.is_none() {
                    listener = Some(TcpListener::bind(address).await.expect("the port is still ours"));
                }
                modes.send_replace(mode);
                if mode.breaks() {
                    while connections.join_next().await.is_some() {}
                }
                let _ = done.send(());
            }
            client = accept(listener.as_ref()) => {
                connections.spawn(connection(client, agent, mode.clone(), requests.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    loop {
        match listener {
            None => std::future::pending().await,
            Some(listener) => {
                if let Ok((client, _)) = listener.accept().await {
                    return client;
                }
            }
        }
    }
}

async fn connection(
    mut client: TcpStream,
    agent: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    requests: Requests,
) {
    let Ok(mut server) = TcpStream::connect(agent).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut watched = mode.clone();
    let mut forgotten = requests.forgotten.subscribe();
    let known = *forgotten.borrow();
    let asked = Mutex::new(None);
    let ended = tokio::select! {
        biased;
        _ = watched.wait_for(Mode::breaks) => None,
        _ = forgotten.changed() => None,
        ended = async {
            tokio::try_join!(
                pump(&mut from_client, &mut to_server, Direction::Request, mode.clone(), Some(requests), &asked),
                pump(&mut from_server, &mut to_client, Direction::Reply, mode.clone(), None, &asked),
            )
        } => Some(ended),
    };
    let is_forgotten = *forgotten.borrow() > known;
    if is_forgotten {
        // The sockets stay open.
        drop(mode.wait_for(Mode::breaks).await);
    }
    // If one end broke, reset the other, once the mode lets anything pass.
    if let Some(Err(_)) = ended {
        let _ = passage(Direction::Reply, Instant::now(), &mut mode).await;
    }
    if !matches!(ended, Some(Ok(_))) {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// How often a gateway checks whether its time is over.
const TICK: Duration = Duration::from_millis(50);
const GATEWAY_PAGE: &[u8] = b"HTTP/1.1 504 Gateway Time-out\r\nConnection: close\r\n\
    Content-Type: text/html\r\nContent-Length: 33\r\n\r\n<html>504 Gateway Time-out</html>";

/// Whether a gateway answers in the agent's place.
fn has_given_up(mode: Mode, direction: Direction, asked: &Mutex<Option<Instant>>) -> bool {
    let (Mode::Gateway(limit), Direction::Reply) = (mode, direction) else { return false };
    lock(asked).is_some_and(|asked| asked.elapsed() >= limit)
}

/// Copies bytes, then the end of the stream. `asked` is when the request was sent that has no
/// answer yet.
async fn pump(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    direction: Direction,
    mut mode: watch::Receiver<Mode>,
    requests: Option<Requests>,
    asked: &Mutex<Option<Instant>>,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    let mut latest = None;
    loop {
        let count = match tokio::time::timeout(TICK, from.read(&mut bytes)).await {
            Ok(count) => count?,
            Err(_) if has_given_up(*mode.borrow(), direction, asked) => {
                to.write_all(GATEWAY_PAGE).await?;
                return to.shutdown().await;
            }
            Err(_) => continue,
        };
        *lock(asked) = matches!(direction, Direction::Request).then(Instant::now);
        if let Some(requests) = requests.as_ref().filter(|_| count > 0) {
            requests.record(&bytes[..count], &mut latest).await;
        }
        passage(direction, Instant::now(), &mut mode).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..count]).await?;
    }
}

/// Waits until bytes that were read at `read` may pass; an error if they never may.
async fn passage(
    direction: Direction,
    read: Instant,
    mode: &mut watch::Receiver<Mode>,
) -> io::Result<()> {
    loop {
        let current = *mode.borrow_and_update();
        if current.breaks() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let passes_at = current.passes_at(direction, read);
        tokio::select! {
            () = sleep_until(passes_at) => return Ok(()),
            changed = mode.changed() => changed.map_err(io::Error::other)?,
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) if at <= Instant::now() => {}
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
