//! Where a request goes that only the leader may handle.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Uri,
        header::{CACHE_CONTROL, LOCATION},
    },
};
use serde_json::Value;

use super::refusal::RETRY_AFTER_DEFAULT;
use crate::ownership::Holder;

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
    scheme: &'static str,
    hops: u32,
    pause: Duration,
    allowed: Arc<Allowed>,
}

type Allowed = dyn Fn(&str, u16) -> bool + Send + Sync;

/// The query parameter that counts redirections: clients copy it, as they follow,
/// and drop headers.
const MARK: &str = "dsync-hops";

impl LeaderConfig {
    /// How often one request is redirected at most, unless
    /// [`hops`](Self::hops) says otherwise: 2.
    pub const DEFAULT_HOPS: u32 = 2;

    /// Answers 503 with `Retry-After`.
    pub fn refuse() -> Self {
        Self {
            redirects: false,
            scheme: "http",
            hops: Self::DEFAULT_HOPS,
            pause: RETRY_AFTER_DEFAULT,
            allowed: Arc::new(|_, _| true),
        }
    }

    /// Answers 307, with which a client repeats method and body, to the `address`
    /// and `port` in the leader's value: see
    /// [`Builder::advertise`](crate::Builder::advertise). The path and query stay.
    /// It is 503 as long as nobody leads, or the leader does not say where it is, or
    /// that is this process's own place: a leader that has just resigned names itself
    /// until Consul has the key back. Who leads is what Consul was last read to say,
    /// so a process that is cut off from Consul can send clients to one that is gone.
    ///
    /// The address must be a host name or an IP address and no more, but whoever
    /// may write to the key in Consul says which: see [`only`](Self::only).
    ///
    /// Each redirection is counted in the query parameter `dsync-hops`, so that
    /// processes that take each other for the leader send nobody in circles; see
    /// [`hops`](Self::hops). A handler that refuses unknown parameters must know
    /// it.
    pub fn redirect() -> Self {
        Self { redirects: true, ..Self::refuse() }
    }

    /// Redirects to `https://`.
    ///
    /// Default: `http://`.
    pub fn https(self) -> Self {
        Self { scheme: "https", ..self }
    }

    /// How often one request is redirected before it is answered 503.
    ///
    /// Default: [`DEFAULT_HOPS`](Self::DEFAULT_HOPS).
    pub fn hops(self, most: u32) -> Self {
        Self { hops: most, ..self }
    }

    /// Redirects only to hosts and ports for which `allowed` is true.
    ///
    /// Default: to all.
    pub fn only(self, allowed: impl Fn(&str, u16) -> bool + Send + Sync + 'static) -> Self {
        Self { allowed: Arc::new(allowed), ..self }
    }

    /// What `Retry-After` says, in whole seconds from 1.
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
        let location = self.location(request.uri(), leader, own)?;
        let mut response = HttpResponse::TemporaryRedirect();
        Some(
            response
                .insert_header((LOCATION, location))
                .insert_header((CACHE_CONTROL, "no-store"))
                .finish(),
        )
    }

    fn location(&self, asked: &Uri, leader: &Holder, own: &[u8]) -> Option<String> {
        let (leader, own) = (leader.json()?, serde_json::from_slice(own).unwrap_or_default());
        let (address, port) = place(&leader)?;
        let host = host(address)?;
        if port == 0 || place(&own) == Some((address, port)) || !(self.allowed)(address, port) {
            return None;
        }
        let (hops, query) = counted(asked.query().unwrap_or_default());
        let hops = hops.checked_add(1).filter(|hops| *hops <= self.hops)?;
        let join = if query.is_empty() { "" } else { "&" };
        // Not that of `OPTIONS *`.
        let path = Some(asked.path()).filter(|path| path.starts_with('/')).unwrap_or("/");
        Some(format!("{}://{host}:{port}{path}?{query}{join}{MARK}={hops}", self.scheme))
    }
}

/// Where a process says that it is.
fn place(value: &Value) -> Option<(&str, u16)> {
    let port = value.get("port")?.as_u64()?;
    Some((value.get("address")?.as_str()?, u16::try_from(port).ok()?))
}

/// The address as a URL has it, if it is a host name or an IP address.
fn host(address: &str) -> Option<String> {
    if let Ok(ip) = address.parse::<IpAddr>() {
        return match ip {
            _ if ip.is_unspecified() || ip.is_multicast() => None,
            IpAddr::V4(ip) => Some(ip.to_string()),
            IpAddr::V6(ip) => Some(format!("[{ip}]")),
        };
    }
    let is_label = |label: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // The last label of a name is no number: browsers read 1.2 or 0x7f as an address.
    let last_is_a_name = |last: &str| {
        last.bytes().any(|c| c.is_ascii_alphabetic())
            && !last.to_ascii_lowercase().starts_with("0x")
    };
    let is_name = address.len() <= 253
        && address.split('.').all(is_label)
        && address.rsplit('.').next().is_some_and(last_is_a_name);
    is_name.then(|| address.to_owned())
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
mod tests {
    use super::*;

    fn location(config: &LeaderConfig, asked: &str, value: &str) -> Option<String> {
        let leader = Holder {
            session: "s-1".into(),
            session_name: None,
            node: None,
            value: value.as_bytes().to_vec(),
            since: 3,
        };
        config.location(&asked.parse().unwrap(), &leader, br#"{"address":"own","port":80}"#)
    }

    fn at(address: &str) -> Option<String> {
        let value = serde_json::json!({ "address": address, "port": 8080 }).to_string();
        location(&LeaderConfig::redirect(), "/rebuild", &value)
    }

    #[test]
    fn path_and_query_stay_and_the_redirection_is_counted() {
        let value = r#"{"address":"10.0.0.7","port":8080}"#;
        let config = LeaderConfig::redirect();
        for (asked, to) in [
            ("/", "http://10.0.0.7:8080/?dsync-hops=1"),
            ("/a%2Fb?x=%20&y", "http://10.0.0.7:8080/a%2Fb?x=%20&y&dsync-hops=1"),
            ("/a?dsync-hops=1&x", "http://10.0.0.7:8080/a?x&dsync-hops=2"),
            ("*", "http://10.0.0.7:8080/?dsync-hops=1"),
            ("//evil.example/a", "http://10.0.0.7:8080//evil.example/a?dsync-hops=1"),
        ] {
            assert_eq!(location(&config, asked, value).as_deref(), Some(to), "{asked}");
        }
        for circle in ["/?dsync-hops=2", "/?dsync-hops=1&dsync-hops=7", "/?dsync-hops=x"] {
            assert_eq!(location(&config, circle, value), None, "{circle}");
        }
        let once = LeaderConfig::redirect().https().hops(1);
        assert!(location(&once, "/", value).unwrap().starts_with("https://10.0.0.7:8080/"));
        assert_eq!(location(&once, "/?dsync-hops=1", value), None);
    }

    #[test]
    fn an_address_is_a_host_and_nothing_else() {
        for (address, host) in [
            ("10.0.0.7", "10.0.0.7"),
            ("::1", "[::1]"),
            ("orders-1.service.internal", "orders-1.service.internal"),
            ("app_1", "app_1"),
        ] {
            let to = format!("http://{host}:8080/rebuild?dsync-hops=1");
            assert_eq!(at(address), Some(to), "{address}");
        }
        for hostile in [
            "",
            ".",
            "a..b",
            "-a",
            "0.0.0.0",
            "::",
            "[::1]",
            "2130706433",
            "0x7f000001",
            "0X7F000001",
            "a.0X7",
            "127.1",
            "evil.example/",
            "evil.example#",
            "evil.example?",
            "user@evil.example",
            "evil.example:81",
            "a\r\nset-cookie: x",
            "a b",
            "a\\b",
            "javascript:alert(1)",
            "é.example",
        ] {
            assert_eq!(at(hostile), None, "{hostile:?}");
        }
        assert_eq!(at(&"a".repeat(64)), None);
    }

    #[test]
    fn a_process_that_is_named_as_the_leader_while_it_does_not_lead_sends_nobody_to_itself() {
        let config = LeaderConfig::redirect();
        let to = |value| location(&config, "/", value);
        assert_eq!(to(r#"{"address":"own","port":80}"#), None);
        assert!(to(r#"{"address":"own","port":81}"#).is_some());
        assert!(to(r#"{"address":"other","port":80}"#).is_some());
    }

    #[test]
    fn a_leader_that_does_not_say_where_it_is_is_not_redirected_to() {
        let config = LeaderConfig::redirect();
        for value in [
            "",
            "{}",
            "text",
            "[]",
            r#"{"address":"a"}"#,
            r#"{"address":7,"port":80}"#,
            r#"{"address":"a","port":0}"#,
            r#"{"address":"a","port":70000}"#,
            r#"{"address":"a","port":"80"}"#,
        ] {
            assert_eq!(location(&config, "/", value), None, "{value}");
        }
        let inside = LeaderConfig::redirect().only(|host, port| host == "a" && port == 80);
        let to = |value| location(&inside, "/", value);
        assert!(to(r#"{"address":"a","port":80}"#).is_some());
        assert_eq!(to(r#"{"address":"b","port":80}"#), None);
        assert_eq!(to(r#"{"address":"a","port":81}"#), None);
    }
}
