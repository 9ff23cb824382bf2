//! Selects the Consul that the service uses.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_dsync::embedded::{Embedded, EmbeddedServer};

/// Where a Consul agent listens by default.
const AGENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8500);

pub(crate) enum Consul {
    /// The agent at `CONSUL_HTTP_ADDR`.
    Named(String),
    /// An agent that already listens at the default address.
    Found,
    /// An embedded agent in this process.
    Served(EmbeddedServer),
}

/// Selects an agent, and serves an embedded one if there is no other.
pub(crate) fn find() -> io::Result<Consul> {
    match std::env::var("CONSUL_HTTP_ADDR") {
        Ok(address) if !address.is_empty() => return Ok(Consul::Named(address)),
        _ => {}
    }
    if TcpStream::connect_timeout(&AGENT, Duration::from_millis(300)).is_ok() {
        return Ok(Consul::Found);
    }
    // A seed of its own: a process that knew the agent served by an earlier
    // copy must not meet its old session ids here again.
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let embedded = Embedded::new().seed(seed.as_nanos() as u64);
    match embedded.serve(AGENT) {
        Ok(server) => Ok(Consul::Served(server)),
        // Another copy that started at the same time was faster.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(Consul::Found),
        Err(error) => Err(error),
    }
}

impl Consul {
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Named(address) => address.clone(),
            Self::Found => format!("http://{AGENT}"),
            Self::Served(server) => server.url(),
        }
    }

    pub(crate) async fn stop(self) {
        if let Self::Served(server) = self {
            server.stop().await;
        }
    }
}

impl fmt::Display for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(address) => write!(f, "{address} (from CONSUL_HTTP_ADDR)"),
            Self::Found => write!(
                f,
                "the agent that listens on {AGENT} already\n           (if it goes away, this \
                 process waits for it, or for another one there)"
            ),
            Self::Served(server) => write!(
                f,
                "an embedded one, served by this process on {}\n           (in memory: when this \
                 process ends, it is gone, and so are the other copies' locks)",
                server.address()
            ),
        }
    }
}
