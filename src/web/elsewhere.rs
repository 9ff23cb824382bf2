//! Where a request goes that only the leader may handle.

use std::{
    borrow::Cow,
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
    host::{url_host, without_root},
    ownership::Holder,
};

/// What a process that does not lead answers to requests for the leader, as
/// `app_data`.
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
/// Without one the answer is 503 with `Retry-After`, as with
/// [`refuse`](LeaderConfig::refuse).
#[derive(Clone)]
pub struct LeaderConfig {
    redirects: bool,
    scheme: Scheme,
    hops: u32,
    pause: Duration,
    allowed: Option<Arc<Allowed>>,
    /// What was last logged, of which leader's session.
    logged: Arc<Mutex<Option<(String, String)>>>,
}

type Allowed = dyn Fn(&str, u16) -> bool + Send + Sync;

/// The scheme of a redirection.
#[derive(Clone, Copy, Debug)]
enum Scheme {
    /// That by which this process serves.
    Own,
    /// That by which the client asked, as a proxy says.
    Forwarded,
    Https,
}

/// The query parameter that counts redirections. Clients keep it when they follow
/// one; headers they drop.
const MARK: &str = "dsync-hops";
/// A longer value of a leader is not parsed, in bytes.
const LONGEST_VALUE: usize = 8 * 1_024;

impl LeaderConfig {
    /// How often one request is redirected at most, unless
    /// [`hops`](Self::hops) says otherwise: 2.
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

    /// Answers 307, so that the client repeats method and body, to the `address` and
    /// `port` in the leader's value: see
    /// [`Builder::advertise`](crate::Builder::advertise). Path and query stay.
    ///
    /// The answer is 503 while nobody leads, and if the leader's value names no
    /// address, names this process (a leader that has just resigned is named until
    /// Consul has the key back), is longer than 8 KiB, or names a host that is not
    /// allowed. The reason is logged as a warning, once for each leader. Who leads is
    /// what Consul was last read to say, so a process that is cut off from Consul can
    /// send clients to a former leader.
    ///
    /// # Which hosts
    /// Whoever may write the key in Consul chooses the address, and clients send their
    /// requests there, bodies included. So name your hosts with [`only`](Self::only).
    /// Without it, requests are redirected only to an address that is the name of the
    /// Consul node on which the leader's session lives, which a right to write keys
    /// does not let anybody choose. The port is not checked then.
    ///
    /// # What clients drop
    /// Most clients do not repeat `Authorization` and cookies to another host, and
    /// then the leader answers 401. For such clients answer
    /// [`refuse`](Self::refuse) and let them find the leader by other means, or
    /// forward the request in the service: [`Tenure::leader`](crate::Observer::leader)
    /// has the address.
    ///
    /// # Circles
    /// Each redirection is counted in the query parameter `dsync-hops`, so that
    /// processes that take each other for the leader do not redirect a client for
    /// ever; see [`hops`](Self::hops). A handler that refuses unknown parameters must
    /// accept it.
    pub fn redirect() -> Self {
        Self { redirects: true, ..Self::refuse() }
    }

    /// Redirects to `https://`, whatever the request came by.
    ///
    /// Default: the scheme by which this process serves: `https://` if the server of
    /// actix-web was bound with TLS, else `http://`.
    pub fn https(self) -> Self {
        Self { scheme: Scheme::Https, ..self }
    }

    /// Redirects to the scheme that the header `Forwarded` or `X-Forwarded-Proto`
    /// names. For services behind a proxy that ends TLS and sets that header for each
    /// request; otherwise a client chooses it.
    ///
    /// Default: these headers are not read.
    pub fn trust_proxy(self) -> Self {
        Self { scheme: Scheme::Forwarded, ..self }
    }

    /// How often one request is redirected before it is answered 503.
    ///
    /// Default: [`DEFAULT_HOPS`](Self::DEFAULT_HOPS).
    pub fn hops(self, most: u32) -> Self {
        Self { hops: most, ..self }
    }

    /// Redirects to the hosts and ports for which `allowed` is true, and to no others.
    /// A host name is given without a dot at its end.
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

    /// The answer that sends the client to the leader, if there is a place to send
    /// it to other than that of `own`, the value of this process.
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
        let path = self.path(request.uri())?;
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
        let Place { address, port } = Place::of(&leader.value).ok_or(NoWay::Unnamed)?;
        let host = url_host(&address).filter(|_| port != 0);
        let host = host.ok_or_else(|| NoWay::Useless(shortened(&address), port))?;
        let name = without_root(&address);
        let is_own = |own: Place<'_>| own.port == port && without_root(&own.address) == name;
        if Place::of(own).is_some_and(is_own) {
            return Err(NoWay::Own);
        }
        let allowed = match &self.allowed {
            Some(allowed) => allowed(name, port),
            None => leader.node.as_deref().is_some_and(|node| node.eq_ignore_ascii_case(name)),
        };
        if allowed { Ok(format!("{host}:{port}")) } else { Err(NoWay::NotAllowed(host, port)) }
    }

    /// The path and query, with one redirection more; `None` if there were enough.
    fn path(&self, asked: &Uri) -> Option<String> {
        let (hops, query) = counted(asked.query().unwrap_or_default());
        let hops = hops.checked_add(1).filter(|hops| *hops <= self.hops)?;
        let join = if query.is_empty() { "" } else { "&" };
        // Not that of `OPTIONS *`.
        let path = Some(asked.path()).filter(|path| path.starts_with('/')).unwrap_or("/");
        Some(format!("{path}?{query}{join}{MARK}={hops}"))
    }

    /// Logs why the leader cannot be redirected to, once for each leader.
    fn log(&self, leader: &Holder, why: NoWay) {
        if matches!(why, NoWay::Own) {
            return;
        }
        let news = (leader.session.clone(), why.to_string());
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.as_ref() != Some(&news) {
            tracing::warn!(leader = %leader.session, "requests are not redirected to the leader: {why}");
            *logged = Some(news);
        }
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

/// Why the leader cannot be redirected to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NoWay {
    #[error("its value names no address and port; start it with Builder::advertise")]
    Unnamed,
    #[error("its address {0:?} with port {1} is no host name or IP address that can be reached")]
    Useless(String, u16),
    #[error("{0}:{1} is not allowed; allow it with LeaderConfig::only")]
    NotAllowed(String, u16),
    #[error("it is this process")]
    Own,
}

/// Where a process says that it is.
#[derive(Deserialize)]
struct Place<'a> {
    #[serde(borrow)]
    address: Cow<'a, str>,
    port: u16,
}

impl<'a> Place<'a> {
    fn of(value: &'a [u8]) -> Option<Self> {
        // A value may have 512 KiB, and this is done for each refused request.
        let value = Some(value).filter(|value| value.len() <= LONGEST_VALUE)?;
        serde_json::from_slice(value).ok()
    }
}

/// The beginning of a text that somebody else wrote.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// How often the request was redirected before, and its query without the mark. A
/// mark that is no number counts as one too many.
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
