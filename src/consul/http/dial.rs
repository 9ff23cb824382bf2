//! Opens connections to the agent.

use std::{cell::Cell, io, net::SocketAddr, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use rustix::net::sockopt;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{
    Address, HttpConfig,
    line::{ASK_PERIOD, Line, MOST_UNANSWERED, QUIET},
    trouble,
};
use crate::consul::fact::Trouble;

/// The time limit of a new connection until its first answer.
const LIMIT: Duration = Duration::from_secs(5);
/// How long one address may be silent before the next is tried in parallel.
const HEAD_START: Duration = Duration::from_millis(250);
/// How long all addresses may be silent before each is tried again. TCP repeats a lost
/// first packet only after growing pauses.
const AGAIN: Duration = Duration::from_secs(1);

/// Opens connections to one agent.
pub(super) struct Dialer {
    address: Address,
    tls: Tls,
    /// The address of the last connection, which is tried first.
    served: Cell<Option<SocketAddr>>,
    /// Whether the agent refused a connection since this was last reset.
    pub(super) refused: Cell<bool>,
}

impl Dialer {
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn new(config: &HttpConfig) -> Result<Self, String> {
        Ok(Self {
            address: config.address.clone(),
            tls: Tls::of(config)?,
            served: Cell::default(),
            refused: Cell::default(),
        })
    }

    /// The number of requests that a connection carries at once: 1 without TLS, unknown
    /// with TLS.
    pub(super) fn streams(&self) -> Option<usize> {
        (!self.address.is_https()).then_some(1)
    }

    /// Opens a connection and waits for its first answer. An agent that accepts no more
    /// connections closes them silently, or answers with an error.
    pub(super) async fn dial(&self) -> Result<Line, Trouble> {
        let standing = timeout(LIMIT, async {
            let stream = self.connect().await.map_err(|err| trouble::of_connecting(&err))?;
            let line = self.tls.handshake(stream, &self.address).await?;
            match line.probe().await {
                Ok(429 | 502 | 503) => Err(Trouble::Refused("it is overloaded".into())),
                Ok(_) => Ok(line),
                Err(Trouble::Broken(why) | Trouble::Connect(why)) => Err(Trouble::Refused(why)),
                Err(trouble) => Err(trouble),
            }
        });
        standing.await.unwrap_or_else(|_| Err(Trouble::Timeout(LIMIT))).map_err(|trouble| {
            match trouble {
                Trouble::Refused(_) => {
                    self.refused.set(true);
                    trouble
                }
                Trouble::Connect(_) => trouble,
                // No request of a caller has been sent.
                other => Trouble::Connect(other.to_string()),
            }
        })
    }

    /// Resolves the name and connects to the first address that answers.
    async fn connect(&self) -> io::Result<TcpStream> {
        let found = lookup_host((self.address.host(), self.address.port())).await?;
        let mut addresses: Vec<SocketAddr> = found.collect();
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

/// The TLS configuration of the connections, if they are encrypted.
struct Tls {
    #[cfg(feature = "tls")]
    connector: Option<(tokio_rustls::TlsConnector, rustls::pki_types::ServerName<'static>)>,
}

impl Tls {
    #[cfg(feature = "tls")]
    fn of(config: &HttpConfig) -> Result<Self, String> {
        if !config.address.is_https() {
            return Ok(Self { connector: None });
        }
        let Some(tls) = &config.tls else {
            return Err("begins with https:// and needs a TLS configuration".into());
        };
        let host = config.address.host().to_owned();
        let name = rustls::pki_types::ServerName::try_from(host)
            .map_err(|_| "has a host that no certificate can name".to_owned())?;
        let mut tls = std::sync::Arc::clone(tls);
        if tls.alpn_protocols.is_empty() {
            // Without ALPN, the agent speaks HTTP/1.1: one connection per blocking read.
            let with_h2 = std::sync::Arc::make_mut(&mut tls);
            with_h2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(Self { connector: Some((tls.into(), name)) })
    }

    #[cfg(not(feature = "tls"))]
    fn of(config: &HttpConfig) -> Result<Self, String> {
        if config.address.is_https() {
            return Err("begins with https:// and needs this crate's feature `tls`".into());
        }
        Ok(Self {})
    }

    async fn handshake(&self, stream: TcpStream, address: &Address) -> Result<Line, Trouble> {
        #[cfg(feature = "tls")]
        if let Some((connector, name)) = &self.connector {
            let stream = connector.connect(name.clone(), stream).await;
            let stream = stream.map_err(|err| trouble::of_connecting(&err))?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            return if is_http2 {
                Line::http2(stream, address).await
            } else {
                Line::http1(stream, address).await
            };
        }
        Line::http1(stream, address).await
    }
}

#[cfg(test)]
mod tests;
