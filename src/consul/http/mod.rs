//! How a request reaches an agent over HTTP.

mod address;
mod lane;
mod trouble;

use std::{cell::Cell, time::Duration};

use awc::{
    Client, Connector,
    http::Version,
    http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue},
};

pub(crate) use address::Address;
use lane::{Lane, Seat};

use super::{
    fact::Trouble,
    wire::{Method, WireReply, WireRequest},
};
use crate::secret::Secret;

/// More than any answer that this crate asks for, other than a listing.
const LONGEST_BODY: usize = 2 * 1024 * 1024;

/// The longest listing that is read: about fifteen thousand locks.
const LONGEST_LISTING: usize = 4 * 1024 * 1024;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// Connections are replaced when they break, never by age: redialling at the
/// agent's limit of connections fails, and on HTTP/2 an idle time would run
/// although blocking reads are on the connection.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");

/// Where the agent is, and how many connections it is given.
#[derive(Clone, Debug)]
pub(crate) struct HttpConfig {
    pub(crate) address: Address,
    pub(crate) token: Option<Secret>,
    /// Connections for renewals: enough for all that may hang at one time.
    pub(crate) renewals: usize,
    /// Connections for everything but renewals and blocking reads.
    pub(crate) calls: usize,
    /// Connections for blocking reads.
    pub(crate) watches: usize,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<std::sync::Arc<rustls::ClientConfig>>,
}

/// What a request is for: each has its own connections, so that none waits for
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Renewal,
    Call,
    Watch,
    /// A read of all keys under a prefix, beside the blocking reads.
    List,
}

/// The transport to one agent. It belongs to the thread that made it.
pub(crate) struct Http {
    address: Address,
    token: Option<HeaderValue>,
    renewals: Lane,
    calls: Lane,
    watches: Lane,
}

impl Http {
    /// Makes no connection yet.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(crate) fn new(config: &HttpConfig) -> Result<Self, String> {
        let token = config.token.as_ref().map(header).transpose()?;
        let tls = Tls::of(config)?;
        let probe = config.address.is_https().then(|| config.address.url("/v1/status/leader"));
        let lane = |lines, streams| {
            let tls = tls.clone();
            Lane::new(lines, streams, probe.clone(), move || tls.client())
        };
        Ok(Self {
            address: config.address.clone(),
            token,
            renewals: lane(config.renewals, 1).eager(),
            calls: lane(config.calls, usize::MAX),
            watches: lane(config.watches, usize::MAX),
        })
    }

    /// Asks, and reads the whole answer, within `limit`.
    ///
    /// # Cancel safety
    /// The agent may still act on a request whose future was dropped.
    pub(crate) async fn exchange(
        &self,
        purpose: Purpose,
        request: WireRequest,
        limit: Duration,
    ) -> Result<WireReply, Trouble> {
        let lane = match purpose {
            Purpose::Renewal => &self.renewals,
            Purpose::Call => &self.calls,
            Purpose::Watch | Purpose::List => &self.watches,
        };
        let longest = if purpose == Purpose::List { LONGEST_LISTING } else { LONGEST_BODY };
        let seat = Cell::new(None);
        let exchange = async {
            let taken = lane.seat().await?;
            let client = taken.client().clone();
            seat.set(Some(taken));
            // Boxed: it is large, and thousands may wait for a seat.
            Box::pin(self.over(&client, request, longest)).await
        };
        let result = tokio::time::timeout(limit, exchange).await;
        let seat: Option<Seat<'_>> = seat.take();
        match (result, seat) {
            (Ok(Ok(reply)), seat) => {
                seat.iter().for_each(Seat::proven);
                Ok(reply)
            }
            (Ok(Err(trouble)), seat) => {
                let fresh = seat.as_ref().is_some_and(|seat| !seat.is_proven());
                seat.into_iter().for_each(Seat::retire);
                Err(match trouble {
                    // So an agent refuses that has as many connections as it
                    // takes. Of a write it would not be known whether it was
                    // read; a read asks nothing of the agent.
                    Trouble::Broken(why)
                        if fresh && matches!(purpose, Purpose::Watch | Purpose::List) =>
                    {
                        Trouble::Connect(why)
                    }
                    trouble => trouble,
                })
            }
            // A connection that did not answer in time is not asked again.
            (Err(_), Some(seat)) => {
                seat.retire();
                Err(Trouble::Timeout(limit))
            }
            (Err(_), None) => Err(Trouble::Connect(format!("none could be had within {limit:?}"))),
        }
    }

    /// How many reads can be under way for [`Purpose::Watch`] and
    /// [`Purpose::List`], once it is known which protocol the agent speaks.
    pub(crate) fn watch_room(&self) -> Option<usize> {
        self.watches.room()
    }

    async fn over(
        &self,
        client: &Client,
        request: WireRequest,
        longest: usize,
    ) -> Result<WireReply, Trouble> {
        let url = self.address.url(&request.target);
        let mut ask = match request.method {
            Method::Get => client.get(url),
            Method::Put => client.put(url),
        }
        .no_decompress();
        // awc makes room for sixteen headers, 3 kB that thousands of blocking reads
        // would keep while they wait.
        *ask.headers_mut() = HeaderMap::new();
        if let Some(token) = &self.token {
            ask = ask.insert_header((TOKEN, token.clone()));
        }
        let sent = if request.body.is_empty() { ask.send() } else { ask.send_body(request.body) };
        let mut response = sent.await.map_err(trouble::of_sending)?;

        let index = number(response.headers().get_all(INDEX));
        let length = number(response.headers().get_all(CONTENT_LENGTH));
        let (status, version) = (response.status().as_u16(), response.version());
        let body = response.body().limit(longest).await.map_err(trouble::of_receiving)?;
        // awc takes the connection's end for the body's, whether the head gave a
        // length or announced chunks, and a body of no announced length for an
        // empty one. Cut JSON is no JSON, but a cut text may be an empty one.
        let cut = match length {
            Some(length) => length != body.len() as u64,
            None => body.is_empty() && version != Version::HTTP_2,
        };
        if cut {
            return Err(Trouble::Broken("closed within the body".into()));
        }
        Ok(WireReply { status, index, body: body.into() })
    }
}

/// The header's number, if it is there once and is one.
fn number<'a>(mut values: impl Iterator<Item = &'a HeaderValue>) -> Option<u64> {
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()?.parse().ok()
}

fn header(token: &Secret) -> Result<HeaderValue, String> {
    let text = token.expose();
    let value =
        HeaderValue::from_str(text).ok().filter(|_| text.bytes().all(|b| b.is_ascii_graphic()));
    let Some(mut value) = value else {
        return Err("contains a character that no ACL token has: a space, a line's end, say".into());
    };
    // Keeps it out of the logs of the HTTP client.
    value.set_sensitive(true);
    Ok(value)
}

/// How a line encrypts, if it does.
#[derive(Clone)]
struct Tls {
    #[cfg(feature = "tls")]
    config: Option<std::sync::Arc<rustls::ClientConfig>>,
}

impl Tls {
    #[cfg(feature = "tls")]
    fn of(config: &HttpConfig) -> Result<Self, String> {
        if !config.address.is_https() {
            return Ok(Self { config: None });
        }
        let Some(tls) = &config.tls else {
            return Err("begins with https:// and needs a TLS configuration".into());
        };
        // Without this HTTP/1.1 is spoken, one connection a blocking read.
        let mut tls = rustls::ClientConfig::clone(tls);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Some(tls.into()) })
    }

    #[cfg(not(feature = "tls"))]
    fn of(config: &HttpConfig) -> Result<Self, String> {
        if config.address.is_https() {
            return Err("begins with https:// and needs this crate's feature `tls`".into());
        }
        Ok(Self {})
    }

    /// A client for one line, which bounds the requests itself.
    fn client(&self) -> Client {
        let connector = Connector::new()
            .limit(lane::MOST_STREAMS)
            .timeout(CONNECT)
            .handshake_timeout(CONNECT)
            .conn_keep_alive(KEEP)
            .conn_lifetime(KEEP);
        #[cfg(feature = "tls")]
        let connector = match &self.config {
            Some(config) => connector.rustls_0_23(std::sync::Arc::clone(config)),
            None => connector,
        };
        Client::builder()
            .connector(connector)
            .disable_redirects()
            .disable_timeout()
            .no_default_headers()
            .finish()
    }
}

#[cfg(test)]
pub(super) mod hostile;
#[cfg(test)]
#[cfg(feature = "tls")]
mod tls;
