//! Responses of a process that does not lead to requests for the leader.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Uri,
        header::{CACHE_CONTROL, LOCATION},
    },
};
use serde::Deserialize;

use super::refusal::RETRY_AFTER_DEFAULT;
use crate::{
    escape::{Escaped, shortened},
    host::{url_host, without_root},
    logs,
    ownership::Holder,
    value::parsed,
};

/// How a process that does not lead answers requests for the leader. Add it to the app
/// with `app_data`.
///
/// ```
/// # let tenure = ();
/// use actix_dsync::web::LeaderConfig;
/// use actix_web::App;
///
/// let app = App::new()
///     .app_data(LeaderConfig::redirect().only(|host, _| host.ends_with(".internal")));
/// ```
///
/// Without it, the answer is 503 with `Retry-After`, as with
/// [`refuse`](LeaderConfig::refuse).
#[derive(Clone)]
#[must_use = "a configuration does nothing until it is app data"]
pub struct LeaderConfig {
    redirects: bool,
    scheme: Scheme,
    hops: u32,
    pause: Duration,
    allowed: Option<Arc<Allowed>>,
    /// The leaders' sessions and the reasons that were logged.
    logged: Arc<Mutex<BTreeSet<(String, String)>>>,
}

type Allowed = dyn Fn(&str, u16) -> bool + Send + Sync;

/// The scheme of a redirection.
#[derive(Clone, Copy, Debug)]
enum Scheme {
    /// The scheme that this process serves.
    Own,
    /// The scheme of the client's request, according to a proxy.
    Forwarded,
    Https,
}

/// The query parameter that counts redirections. A client that follows a redirection
/// keeps query parameters and drops headers.
const MARK: &str = "dsync-hops";

impl LeaderConfig {
    /// The default of [`hops`](Self::hops): 2.
    pub const DEFAULT_HOPS: u32 = 2;

    /// Answers 503 with `Retry-After`.
    pub fn refuse() -> Self {
        Self {
            redirects: false,
            scheme: Scheme::Own,
            hops: Self::DEFAULT_HOPS,
            pause: RETRY_AFTER_DEFAULT,
            allowed: None,
            logged: Arc::default(),
        }
    }

    /// Redirects to the leader with status 307, so that the client repeats method and
    /// body. The leader's value gives the `address` and `port`: see
    /// [`Builder::advertise`](crate::Builder::advertise). Path and query are kept.
    ///
    /// The answer is 503 while nobody leads. It is also 503 if the leader's value is
    /// longer than 8 KiB, or if it names no address, a host that is not allowed, or this
    /// process: Consul names a leader that has just resigned until the key is released.
    /// The reason is logged as a warning, once per leader; this process's own address is not
    /// logged. The first request that was redirected too often is logged, too. The leader is the
    /// one that Consul last reported, so a process that is cut off from Consul can redirect to a
    /// former leader.
    ///
    /// # Allowed hosts
    /// Anyone who can write the key in Consul chooses the address, and clients send their
    /// requests there, bodies included. Name your hosts with [`only`](Self::only).
    /// Otherwise, requests are redirected only if the address is the name of the Consul
    /// node of the leader's session, which the right to write keys does not control. The
    /// port is then not checked.
    ///
    /// # Credentials
    /// Most clients do not repeat `Authorization` and cookies to another host, and the
    /// leader then answers 401. For such clients, [`refuse`](Self::refuse) and let them
    /// find the leader by other means, or forward the request in the service:
    /// [`Tenure::leader`](crate::Observer::leader) has the address.
    ///
    /// # Redirection loops
    /// The query parameter `dsync-hops` counts redirections, so processes that name each
    /// other as the leader do not redirect a client for ever; see [`hops`](Self::hops). A
    /// handler that rejects unknown parameters must accept it.
    pub fn redirect() -> Self {
        Self { redirects: true, ..Self::refuse() }
    }

    /// Redirects to `https://`, even if the request used `http://`.
    ///
    /// Default: the scheme that this process serves: `https://` if the actix-web server
    /// is bound with TLS, otherwise `http://`.
    pub fn https(self) -> Self {
        Self { scheme: Scheme::Https, ..self }
    }

    /// Redirects to the scheme that the header `Forwarded` or `X-Forwarded-Proto` names.
    /// Use it only behind a proxy that terminates TLS and sets that header on every
    /// request; otherwise the client chooses the scheme.
    ///
    /// Default: these headers are not read.
    pub fn trust_proxy(self) -> Self {
        Self { scheme: Scheme::Forwarded, ..self }
    }

    /// The most redirections of one request; after that, the answer is 503.
    ///
    /// Default: [`DEFAULT_HOPS`](Self::DEFAULT_HOPS).
    pub fn hops(self, most: u32) -> Self {
        Self { hops: most, ..self }
    }

    /// Redirects only to hosts and ports for which `allowed` returns true. A host name is
    /// passed without a trailing dot.
    ///
    /// Default: see [`redirect`](Self::redirect).
    pub fn only(self, allowed: impl Fn(&str, u16) -> bool + Send + Sync + 'static) -> Self {
        Self { allowed: Some(Arc::new(allowed)), ..self }
    }

    /// The value of `Retry-After`, in whole seconds, rounded up, at least 1 s.
    ///
    /// Default: 1 s.
    pub fn retry_after(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// Returns a redirection to the leader, unless the leader's address is missing, not
    /// allowed, or that in `own`, the value of this process.
    pub(super) fn redirection(
        &self,
        request: &HttpRequest,
        leader: &Holder,
        own: &[u8],
    ) -> Option<HttpResponse> {
        if !self.redirects {
            return None;
        }
        let authority = match self.authority(leader, own) {
            Ok(authority) => authority,
            Err(why) => {
                self.log(leader, why);
                return None;
            }
        };
        let Some(path) = self.path(request.uri()) else {
            self.log(leader, NoWay::Hops);
            return None;
        };
        let forwarded = || request.connection_info().scheme().eq_ignore_ascii_case("https");
        let scheme = self.scheme.name(request.app_config().secure(), forwarded);
        let mut response = HttpResponse::TemporaryRedirect();
        Some(
            response
                .insert_header((LOCATION, format!("{scheme}://{authority}{path}")))
                .insert_header((CACHE_CONTROL, "no-store"))
                .finish(),
        )
    }

    /// The host and port of the leader.
    fn authority(&self, leader: &Holder, own: &[u8]) -> Result<String, NoWay> {
        let Advertised { address, port } = parsed(&leader.value).ok_or(NoWay::Unnamed)?;
        let host = url_host(&address).filter(|_| port != 0);
        let host = host.ok_or_else(|| NoWay::Useless(shortened(&address, LONGEST_NAME), port))?;
        let name = without_root(&address);
        let is_own = |own: Advertised<'_>| own.port == port && without_root(&own.address) == name;
        if parsed(own).is_some_and(is_own) {
            return Err(NoWay::Own);
        }
        let allowed = match &self.allowed {
            Some(allowed) => allowed(name, port),
            None => leader.node.as_deref().is_some_and(|node| node.eq_ignore_ascii_case(name)),
        };
        if allowed { Ok(format!("{host}:{port}")) } else { Err(NoWay::NotAllowed(host, port)) }
    }

    /// Returns the path and query with the count of redirections increased; `None` if it
    /// exceeds the limit.
    fn path(&self, asked: &Uri) -> Option<String> {
        let (hops, query) = counted(asked.query().unwrap_or_default());
        let hops = hops.checked_add(1).filter(|hops| *hops <= self.hops)?;
        let join = if query.is_empty() { "" } else { "&" };
        // `OPTIONS *` has no path.
        let path = Some(asked.path()).filter(|path| path.starts_with('/')).unwrap_or("/");
        Some(format!("{path}?{query}{join}{MARK}={hops}"))
    }

    /// Logs, once for each leader, why requests are not redirected to it.
    fn log(&self, leader: &Holder, why: NoWay) {
        if matches!(why, NoWay::Own) {
            return;
        }
        let news = (leader.session.clone(), why.to_string());
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.contains(&news) {
            return;
        }
        let session = Escaped(&leader.session);
        logs::warn!(leader = %session, "not redirected to the leader: {why}");
        if logged.len() >= MOST_LOGGED {
            logged.clear();
        }
        logged.insert(news);
    }
}

impl Scheme {
    fn name(self, secure: bool, forwarded: impl FnOnce() -> bool) -> &'static str {
        let https = match self {
            Self::Own => secure,
            Self::Forwarded => forwarded(),
            Self::Https => true,
        };
        if https { "https" } else { "http" }
    }
}

/// The most reasons that are remembered because they were logged.
const MOST_LOGGED: usize = 100;
/// The longest part of a useless address that is logged, in characters.
const LONGEST_NAME: usize = 64;

/// Why the leader cannot be redirected to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NoWay {
    #[error("its value names no address and port; start it with Builder::advertise")]
    Unnamed,
    #[error("its address {0:?} with port {1} is not a reachable host name or IP address")]
    Useless(String, u16),
    #[error("{0}:{1} is not allowed; allow it with LeaderConfig::only")]
    NotAllowed(String, u16),
    #[error("a request was redirected as often as LeaderConfig::hops allows")]
    Hops,
    #[error("it is this process")]
    Own,
}

/// The address that a process advertises in its value.
#[derive(Deserialize)]
struct Advertised<'a> {
    #[serde(borrow)]
    address: Cow<'a, str>,
    port: u16,
}

/// Returns the number of previous redirections, and the query without the mark. A mark
/// that is not a number counts as too many.
fn counted(query: &str) -> (u32, String) {
    let mut hops = 0;
    let mut rest = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some((MARK, count)) => hops = hops.max(count.parse().unwrap_or(u32::MAX)),
            _ => rest.push(part),
        }
    }
    (hops, rest.join("&"))
}

impl fmt::Debug for LeaderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderConfig")
            .field("redirects", &self.redirects)
            .field("scheme", &self.scheme)
            .field("hops", &self.hops)
            .field("retry_after", &self.pause)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
