//! Opens connections to the agent.

use std::{cell::Cell, io, net::SocketAddr, path::Path, rc::Rc, time::Duration};

use futures::{StreamExt as _, future::LocalBoxFuture, stream::FuturesUnordered};
use rustix::net::sockopt;
use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    time::{Instant, timeout},
};

use super::{
    address::Endpoint,
    config::HttpConfig,
    line::{ASK_PERIOD, Line, MOST_UNANSWERED, QUIET, Route},
    tls::Tls,
    trouble::{self, Fault},
};
use crate::consul::fact::Trouble;

/// The time limit of a new connection until its first answer.
const LIMIT: Duration = Duration::from_secs(5);
/// How long one address may be silent before the next is tried in parallel.
const HEAD_START: Duration = Duration::from_millis(250);
/// How long all addresses may be silent before each is tried again. TCP repeats a lost
/// first packet only after growing pauses.
const AGAIN: Duration = Duration::from_secs(1);

/// The number of round trips that are remembered.
const MEASURED: usize = 4;

/// Returns the current addresses of a name and a port.
type Resolve = Box<dyn Fn(String, u16) -> LocalBoxFuture<'static, io::Result<Vec<SocketAddr>>>>;

/// Asks the operating system.
fn resolve(host: String, port: u16) -> LocalBoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
}

/// Opens connections to one agent.
pub(super) struct Dialer {
    endpoint: Endpoint,
    route: Rc<Route>,
    tls: Tls,
    pub(super) resolve: Resolve,
    /// The address of the last connection, which is tried first.
    served: Cell<Option<SocketAddr>>,
    /// How long the first requests on the last connections took, the newest first.
    round_trips: Cell<[Option<Duration>; MEASURED]>,
    /// When the agent last refused a connection, since this was last reset.
    pub(super) refused_at: Cell<Option<Instant>>,
}

impl Dialer {
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn new(config: &HttpConfig) -> Result<Self, String> {
        Ok(Self {
            endpoint: config.address.endpoint().clone(),
            route: Rc::new(Route::new(config)?),
            tls: Tls::of(config)?,
            resolve: Box::new(resolve),
            served: Cell::default(),
            round_trips: Cell::default(),
            refused_at: Cell::default(),
        })
    }

    /// The number of requests that a connection carries at once: 1 without TLS, unknown
    /// with TLS.
    pub(super) fn streams(&self) -> Option<usize> {
        (!matches!(self.endpoint, Endpoint::Tcp { https: true, .. })).then_some(1)
    }

    /// The shortest round trip to the agent that was measured lately, once there are enough
    /// measurements.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let measured = self.round_trips.get().into_iter().collect::<Option<Vec<_>>>()?;
        measured.into_iter().min()
    }

    /// Opens a connection and waits for its first answer. An agent that accepts no more
    /// connections closes them silently, or answers with an error.
    pub(super) async fn dial(&self) -> Result<Line, Trouble> {
        let standing = timeout(LIMIT, async {
            let line = self.open().await?;
            let asked_at = Instant::now();
            let probed = line.probe().await;
            if probed.is_ok() {
                let [one, two, three, _] = self.round_trips.get();
                self.round_trips.set([Some(asked_at.elapsed()), one, two, three]);
            }
            match probed {
                Ok(429 | 502 | 503) => Err(Trouble::Refused("it is overloaded".into())),
                Ok(_) if line.is_over() => {
                    Err(Trouble::Connect("it closes each connection after one answer".into()))
                }
                Ok(_) => Ok(line),
                Err(Fault::Tls(why)) => Err(Trouble::Connect(why)),
                Err(fault) => Err(match fault.into_trouble() {
                    Trouble::Broken(why) | Trouble::Connect(why) => Trouble::Refused(why),
                    trouble => trouble,
                }),
            }
        });
        standing.await.unwrap_or_else(|_| Err(Trouble::Timeout(LIMIT))).map_err(|trouble| {
            match trouble {
                Trouble::Refused(_) => {
                    self.refused_at.set(Some(Instant::now()));
                    trouble
                }
                Trouble::Connect(_) => trouble,
                // No request of a caller has been sent.
                other => Trouble::Connect(other.to_string()),
            }
        })
    }

    async fn open(&self) -> Result<Line, Trouble> {
        let route = Rc::clone(&self.route);
        match &self.endpoint {
            Endpoint::Unix(path) => Line::http1(local(path).await?, route).await,
            Endpoint::Tcp { host, port, .. } => {
                let stream = self.connect(host, *port).await;
                let stream = stream.map_err(|err| trouble::of_connecting(&err))?;
                self.tls.handshake(stream, route).await
            }
        }
    }

    /// Resolves the name and connects to the first address that answers.
    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut addresses = (self.resolve)(host.to_owned(), port).await?;
        let served = |address: &SocketAddr| self.served.get() == Some(*address);
        if let Some(place) = addresses.iter().position(served) {
            addresses[..=place].rotate_right(1);
        }
        let (address, stream) = first_of(&addresses, TcpStream::connect::<SocketAddr>).await?;
        self.served.set(Some(address));
        stream.set_nodelay(true)?;
        keep_alive(&stream)?;
        Ok(stream)
    }
}

/// Connects to the agent's unix socket.
async fn local(path: &Path) -> Result<UnixStream, Trouble> {
    UnixStream::connect(path).await.map_err(|err| match trouble::of_connecting(&err) {
        Trouble::Connect(why) => Trouble::Connect(format!("{}: {why}", path.display())),
        other => other,
    })
}

/// Connects to the first address that answers. Each gets a head start of [`HEAD_START`].
async fn first_of<S, F: Future<Output = io::Result<S>>>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<(SocketAddr, S)> {
    let connect = |address| {
        let connecting = connect(address);
        async move { Ok((address, connecting.await?)) }
    };
    let mut tries = FuturesUnordered::new();
    let mut begun = 0;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        let is_first_round = begun < addresses.len();
        if is_first_round {
            tries.push(connect(addresses[begun]));
            begun += 1;
        } else if tries.is_empty() {
            return Err(failure);
        }
        let pause = if begun < addresses.len() { HEAD_START } else { AGAIN };
        match timeout(pause, tries.next()).await {
            Ok(Some(Ok(connected))) => return Ok(connected),
            Ok(Some(Err(err))) => failure = err,
            Ok(None) => {}
            Err(_) if begun == addresses.len() => {
                // The earlier tries continue.
                addresses.iter().for_each(|address| tries.push(connect(*address)));
            }
            Err(_) => {}
        }
    }
}

/// Lets the kernel detect a connection that was dropped silently, for instance by a router
/// that forgot it.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, QUIET)?;
    sockopt::set_tcp_keepintvl(stream, ASK_PERIOD)?;
    sockopt::set_tcp_keepcnt(stream, MOST_UNANSWERED)?;
    Ok(())
}

#[cfg(test)]
mod tests;
