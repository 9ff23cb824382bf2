//! An operator who changes Consul with curl, behind the library's back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A client of one agent's HTTP API that opens a connection per request.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    address: SocketAddr,
    token: Option<String>,
    limit: Duration,
}

/// The status and body of a reply.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A key as Consul stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u64,
    pub(crate) session: Option<String>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
    pub(crate) lock_index: u64,
}

/// A session as Consul lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) ttl: String,
    pub(crate) lock_delay: Duration,
}

impl Operator {
    /// Creates an operator whose requests take at most 5 s each.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, token: None, limit: Duration::from_secs(5) }
    }

    pub(crate) fn token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    pub(crate) fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Sends one request; silence and a refused connection are errors.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let deadline = Instant::now() + self.limit;
        let mut stream = TcpStream::connect_timeout(&self.address, self.limit)?;
        stream.set_write_timeout(Some(self.limit))?;
        let token = self.token.as_ref().map(|t| format!("X-Consul-Token: {t}\r\n"));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n",
            self.address,
            token.unwrap_or_default(),
            body.len(),
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut received = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut chunk)? {
                0 => return parse(&received).ok_or_else(|| ErrorKind::UnexpectedEof.into()),
                n => received.extend_from_slice(&chunk[..n]),
            }
        }
    }

    pub(crate) fn kv_get(&self, key: &str) -> Option<Entry> {
        let answer = self.expect_answer("GET", &kv(key), b"");
        match answer.status {
            404 => None,
            _ => Some(entry(&answer.json()[0])),
        }
    }

    pub(crate) fn kv_put(&self, key: &str, value: &[u8]) {
        assert!(self.expect_answer("PUT", &kv(key), value).is_true(), "put {key}");
    }

    pub(crate) fn kv_delete(&self, key: &str) {
        assert!(self.expect_answer("DELETE", &kv(key), b"").is_true(), "delete {key}");
    }

    /// The keys below `prefix`, without the fence entries of sessions.
    pub(crate) fn kv_keys(&self, prefix: &str) -> Vec<String> {
        let is_fence = |key: &String| {
            let id = key.rsplit_once('/').filter(|(parent, _)| parent.ends_with(".dsync"));
            id.is_some_and(|(_, id)| id.len() == 36)
        };
        let answer = self.expect_answer("GET", &format!("{}?keys", kv(prefix)), b"");
        match answer.status {
            404 => Vec::new(),
            _ => list(&answer.json()).iter().map(text).filter(|key| !is_fence(key)).collect(),
        }
    }

    /// The locked keys under `prefix`, each with its session; an error while there is no leader.
    pub(crate) fn locked(&self, prefix: &str) -> io::Result<Vec<(String, String)>> {
        let entries = self.entries(prefix)?.into_iter();
        Ok(entries.filter_map(|(key, entry)| Some((key, entry.session?))).collect())
    }

    /// The entries under `prefix`; an error while there is no leader.
    pub(crate) fn entries(&self, prefix: &str) -> io::Result<Vec<(String, Entry)>> {
        let answer = self.ask("GET", &format!("{}?recurse&consistent", kv(prefix)), b"")?;
        match answer.status {
            404 => Ok(Vec::new()),
            200 => Ok(list(&answer.json())
                .iter()
                .map(|json| (text(&json["Key"]), entry(json)))
                .collect()),
            status => Err(io::Error::other(format!("{status} {}", answer.text()))),
        }
    }

    /// Locks `key` for `session`; returns whether it succeeded.
    pub(crate) fn acquire(&self, key: &str, session: &str, value: &[u8]) -> bool {
        self.expect_answer("PUT", &format!("{}?acquire={session}", kv(key)), value).is_true()
    }

    /// Releases `key` on behalf of its owner and keeps its value; returns whether it had one.
    pub(crate) fn force_release(&self, key: &str) -> bool {
        let Some(Entry { session: Some(session), value, flags, .. }) = self.kv_get(key) else {
            return false;
        };
        let path = format!("{}?release={session}&flags={flags}", kv(key));
        self.expect_answer("PUT", &path, &value).is_true()
    }

    /// Creates a session with `settings` as in Consul's API; an error while there is no leader.
    pub(crate) fn create_session(&self, settings: &Value) -> io::Result<String> {
        let answer = self.ask("PUT", "/v1/session/create", settings.to_string().as_bytes())?;
        match answer.status {
            200 => Ok(text(&answer.json()["ID"])),
            status => Err(io::Error::other(format!("{status} {}", answer.text()))),
        }
    }

    pub(crate) fn sessions(&self) -> Vec<Session> {
        list(&self.expect_answer("GET", "/v1/session/list", b"").json())
            .iter()
            .map(session)
            .collect()
    }

    pub(crate) fn destroy_session(&self, id: &str) {
        let path = format!("/v1/session/destroy/{id}");
        assert!(self.expect_answer("PUT", &path, b"").is_true(), "destroy {id}");
    }

    /// Sends a request and expects status 200 or 404.
    fn expect_answer(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let answer = self.ask(method, path, body);
        let answer = answer.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        assert!(
            matches!(answer.status, 200 | 404),
            "{method} {path}: {} {}",
            answer.status,
            answer.text()
        );
        answer
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    fn is_true(&self) -> bool {
        self.text() == "true"
    }
}

/// Parses a complete response, read until the server closed the connection.
pub(crate) fn parse(received: &[u8]) -> Option<Answer> {
    let end = received.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
    let body = &received[end + 4..];
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = if head.contains("\r\ntransfer-encoding: chunked") {
        unchunk(body)?
    } else if let Some((_, length)) = head.split_once("\r\ncontent-length: ") {
        body.get(..length.lines().next()?.parse().ok()?)?.to_vec()
    } else {
        body.to_vec()
    };
    Some(Answer { status, body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(line + 2..line + 2 + size)?);
        rest = rest.get(line + 2 + size + 2..)?;
    }
}

fn kv(key: &str) -> String {
    let mut path = String::from("/v1/kv/");
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

fn entry(json: &Value) -> Entry {
    Entry {
        value: json["Value"]
            .as_str()
            .map(|v| STANDARD.decode(v).expect("Consul encodes values in base64"))
            .unwrap_or_default(),
        flags: number(&json["Flags"]),
        session: json["Session"].as_str().map(str::to_owned),
        create_index: number(&json["CreateIndex"]),
        modify_index: number(&json["ModifyIndex"]),
        lock_index: number(&json["LockIndex"]),
    }
}

fn session(json: &Value) -> Session {
    Session {
        id: text(&json["ID"]),
        name: text(&json["Name"]),
        node: text(&json["Node"]),
        ttl: text(&json["TTL"]),
        lock_delay: Duration::from_nanos(number(&json["LockDelay"])),
    }
}

fn list(json: &Value) -> Vec<Value> {
    json.as_array().cloned().unwrap_or_default()
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_else(|| panic!("a string, not {json}")).to_owned()
}

fn number(json: &Value) -> u64 {
    json.as_u64().unwrap_or_else(|| panic!("a number, not {json}"))
}
