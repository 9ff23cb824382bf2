//! The target of a request: its query, and its path, normalised like Go's HTTP
//! server does.

use std::fmt::Write as _;

use super::{
    super::golang::{parse_duration, parse_uint, quote},
    reply::Reply,
};
use crate::escape::is_printable;

/// The only datacenter.
pub(super) const DATACENTER: &str = "dc1";

/// The path of the key-value store.
pub(super) const KV: &str = "/v1/kv/";

/// The paths that a key or a session id follows.
pub(super) const TREES: [&str; 4] =
    [KV, "/v1/session/renew/", "/v1/session/destroy/", "/v1/session/info/"];

/// A request's target, unescaped.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: Vec<u8>,
    pub(super) query: Query,
}

impl Target {
    /// Parses a raw request target.
    ///
    /// # Errors
    /// Consul's reply to a target that it does not route: one that is malformed,
    /// has unprintable characters, or needs a redirect.
    pub(super) fn parse(raw: &str, method: &str) -> Result<Self, Reply> {
        let (raw_path, raw_query) = raw.split_once('?').unwrap_or((raw, ""));
        let Some(path) = unescape(raw_path, false) else {
            return Err(Reply::text(400, "400 Bad Request").closing().unrouted());
        };
        let printable = path.utf8_chunks().all(|chunk| chunk.valid().chars().all(is_printable));
        if !printable {
            return Err(Reply::empty(400).unrouted());
        }
        let mut clean = clean_path(&path);
        if TREES.iter().any(|tree| tree.strip_suffix('/').is_some_and(|t| t.as_bytes() == clean)) {
            clean.push(b'/');
        }
        if clean != path {
            return Err(redirect(&clean, raw_query, method));
        }
        match Query::parse(raw_query) {
            Some(query) => Ok(Self { path, query }),
            None => Err(Reply::empty(500)),
        }
    }
}

/// A request's query.
#[derive(Debug, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    fn parse(raw: &str) -> Option<Self> {
        let mut pairs = Vec::new();
        for part in raw.split(['&', ';']).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let text =
                |raw| unescape(raw, true).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            pairs.push((text(name)?, text(value)?));
        }
        Some(Self { pairs })
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Refuses a query with more than one of `names`.
    pub(super) fn conflict(&self, names: &[&str]) -> Result<(), Reply> {
        if names.iter().filter(|name| self.has(name)).count() < 2 {
            return Ok(());
        }
        let mut sorted: Vec<&(String, String)> = self.pairs.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let pairs = sorted.iter().map(|(name, value)| {
            format!("{}={}", escape_query(name.as_bytes()), escape_query(value.as_bytes()))
        });
        let query = pairs.collect::<Vec<_>>().join("&");
        Err(Reply::text(400, &format!("Conflicting flags: {query}")))
    }

    /// Checks the consistency options.
    pub(super) fn check_consistency(&self) -> Result<(), Reply> {
        if self.has("stale") && self.has("consistent") {
            return Err(Reply::text(
                400,
                "Cannot specify ?stale with ?consistent, conflicting semantics.",
            ));
        }
        match self.get("max_stale") {
            Some(text) if !text.is_empty() && parse_duration(text).is_err() => Err(Reply::text(
                400,
                &format!("Invalid max_stale value {}", quote(text.as_bytes())),
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a request for another datacenter.
    pub(super) fn check_datacenter(&self) -> Result<(), Reply> {
        match self.get("dc") {
            None | Some("" | DATACENTER) => Ok(()),
            Some(_) => Err(Reply::text(500, "No path to datacenter")),
        }
    }

    /// The index that a blocking read waits to pass (0: do not block), and the
    /// longest wait in nanoseconds.
    pub(super) fn blocking(&self) -> Result<(u64, i64), Reply> {
        let wait = match self.get("wait") {
            None | Some("") => 0,
            Some(text) => {
                parse_duration(text).map_err(|_| Reply::text(400, "Invalid wait time"))?
            }
        };
        let index = match self.get("index") {
            None | Some("") => 0,
            Some(text) => parse_uint(text).map_err(|_| Reply::text(400, "Invalid index"))?,
        };
        Ok((index, wait))
    }
}

/// Decodes percent-escapes; `None` if one is malformed.
fn unescape(raw: &str, plus_is_space: bool) -> Option<Vec<u8>> {
    let mut bytes = raw.bytes();
    let mut plain = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    Some(plain)
}

/// Resolves empty, `.` and `..` segments; keeps a trailing slash.
fn clean_path(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut clean = Vec::with_capacity(path.len());
    for segment in &segments {
        clean.push(b'/');
        clean.extend_from_slice(segment);
    }
    if clean.is_empty() || path.ends_with(b"/") {
        clean.push(b'/');
    }
    clean
}

fn redirect(path: &[u8], raw_query: &str, method: &str) -> Reply {
    let mut location = escape_path(path);
    if !raw_query.is_empty() {
        location.push('?');
        location.push_str(raw_query);
    }
    let body = match method {
        "GET" => {
            let shown = location
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&#34;")
                .replace('\'', "&#39;");
            format!("<a href=\"{shown}\">Moved Permanently</a>.\n\n")
        }
        _ => String::new(),
    };
    Reply::redirect(location, body)
}

fn escape_path(path: &[u8]) -> String {
    escape(path, |byte| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte))
}

fn escape_query(text: &[u8]) -> String {
    escape(text, |byte| byte.is_ascii_alphanumeric() || b"-_.~ ".contains(&byte)).replace(' ', "+")
}

fn escape(bytes: &[u8], plain: impl Fn(u8) -> bool) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    for byte in bytes {
        if plain(*byte) {
            escaped.push(char::from(*byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
