//! The run of one case against one server, and its transcript. The transcript keeps only
//! what must agree: session ids become names, and raft indexes become their order.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::client::{self, Reply};

/// Marks an absolute index in an unfinished transcript.
const INDEX: char = '\u{1}';

pub(crate) struct Script {
    address: SocketAddr,
    /// The values of the placeholders `<name>`.
    names: BTreeMap<String, String>,
    /// The session ids, in the order of their appearance.
    ids: Vec<String>,
    waits: BTreeMap<&'static str, Receiver<Reply>>,
    last: Value,
    lines: Vec<String>,
}

impl Script {
    pub(crate) fn new(address: SocketAddr, prefix: &str) -> Self {
        let names = BTreeMap::from([("p".to_owned(), format!("{prefix}/"))]);
        Self {
            address,
            names,
            ids: Vec::new(),
            waits: BTreeMap::new(),
            last: Value::Null,
            lines: Vec::new(),
        }
    }

    /// Sets `<name>`.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.names.insert(name.into(), value.into());
    }

    /// Sends a request. The target is relative to `/v1/` unless it begins with `/`.
    pub(crate) fn send(&mut self, method: &str, target: &str, body: &str) -> u16 {
        let reply = self.exchange(method, target, body.as_bytes());
        self.record(&format!("{method} {target} {}", shorten(body)), &reply);
        reply.status
    }

    pub(crate) fn get(&mut self, target: &str) {
        self.send("GET", target, "");
    }

    pub(crate) fn put(&mut self, target: &str, body: &str) {
        self.send("PUT", target, body);
    }

    pub(crate) fn delete(&mut self, target: &str) {
        self.send("DELETE", target, "");
    }

    /// Creates a session and sets `<name>` to its id.
    pub(crate) fn session(&mut self, name: &str, body: &str) {
        self.session_at(name, "session/create", body);
    }

    /// The same with a query.
    pub(crate) fn session_at(&mut self, name: &str, target: &str, body: &str) {
        self.put(target, body);
        let id = self.last["ID"].as_str().unwrap_or_default().to_owned();
        self.names.insert(name.into(), id);
    }

    /// Runs a transaction written as `verb key s=session v=value f=flags
    /// i=index`, with `;` between operations and keys below the case's prefix.
    pub(crate) fn txn(&mut self, ops: &str) {
        self.txn_at("txn", ops);
    }

    /// The same with a query.
    pub(crate) fn txn_at(&mut self, target: &str, ops: &str) {
        let body: Vec<Value> = ops.split(';').map(|op| self.operation(op)).collect();
        let body = self.fill(&Value::from(body).to_string());
        let reply = self.exchange("PUT", target, body.as_bytes());
        self.record(&format!("{target} {ops}"), &reply);
    }

    fn operation(&self, op: &str) -> Value {
        let mut words = op.split_whitespace();
        let mut kv = json!({ "Verb": words.next() });
        for word in words {
            match word.split_once('=') {
                Some(("s", session)) => kv["Session"] = self.fill(session).into(),
                Some(("v", value)) => kv["Value"] = STANDARD.encode(value).into(),
                Some(("f", flags)) => kv["Flags"] = flags.parse::<u64>().expect("flags").into(),
                Some(("i", index)) => {
                    kv["Index"] = self.fill(index).parse::<u64>().expect("an index").into();
                }
                _ => kv["Key"] = format!("<p>{word}").into(),
            }
        }
        json!({ "KV": kv })
    }

    /// Sets `<name>` to the key's `ModifyIndex`.
    pub(crate) fn keep_index(&mut self, name: &str, key: &str) {
        self.get(&format!("kv/<p>{key}"));
        let index = self.last[0]["ModifyIndex"].to_string();
        self.names.insert(name.into(), index);
    }

    /// Sets `<name>` to the `X-Consul-Index` of this read.
    pub(crate) fn keep_header(&mut self, name: &str, target: &str) {
        let reply = self.exchange("GET", target, b"");
        self.record(&format!("GET {target}"), &reply);
        let index = reply.header("x-consul-index").unwrap_or_default().to_owned();
        self.names.insert(name.into(), index);
    }

    /// Starts a blocking read and gives it time to arrive.
    pub(crate) fn wait(&mut self, name: &'static str, target: &str) {
        let (address, target) = (self.address, self.target(target));
        let (done, reply) = channel();
        thread::spawn(move || {
            let _ = done.send(client::request(address, "GET", &target, b""));
        });
        self.waits.insert(name, reply);
        thread::sleep(Duration::from_millis(150));
    }

    /// Expects the blocking read to be answered soon; records the reply.
    pub(crate) fn wakes(&mut self, name: &'static str) {
        self.expect(name, Duration::from_secs(3));
    }

    /// Expects the blocking read not to be answered for a while.
    pub(crate) fn sleeps(&mut self, name: &'static str) {
        self.expect(name, Duration::from_millis(300));
    }

    fn expect(&mut self, name: &'static str, within: Duration) {
        let Some(wait) = self.waits.remove(name) else {
            return self.lines.push(format!("{name} is answered already"));
        };
        match wait.recv_timeout(within) {
            Ok(reply) => self.record(&format!("{name} wakes"), &reply),
            Err(_) => {
                self.lines.push(format!("{name} sleeps"));
                self.waits.insert(name, wait);
            }
        }
    }

    /// Expects the blocking read of a session list to be answered soon; records only the
    /// list's length, since random ids determine its order.
    pub(crate) fn wakes_unordered(&mut self, name: &'static str) {
        let reply = self.waits.remove(name).map(|wait| wait.recv_timeout(Duration::from_secs(3)));
        let length = match reply {
            Some(Ok(reply)) => {
                serde_json::from_slice::<Vec<Value>>(&reply.body).map_or(0, |list| list.len())
            }
            _ => 0,
        };
        self.lines.push(format!("{name} wakes with {length} items"));
    }

    /// Destroys every session.
    pub(crate) fn destroy_all(&mut self) {
        self.exchange("GET", "session/list", b"");
        for session in self.last.as_array().cloned().unwrap_or_default() {
            let id = session["ID"].as_str().unwrap_or_default();
            self.exchange("PUT", &format!("session/destroy/{id}"), b"");
        }
    }

    /// Starts a blocking read of a key from its current index.
    pub(crate) fn wait_for_change(&mut self, name: &'static str, target: &str) {
        self.wait_for_change_within(name, target, "60s");
    }

    pub(crate) fn wait_for_change_within(&mut self, name: &'static str, target: &str, wait: &str) {
        let reply = self.exchange("GET", target, b"");
        let index = reply.header("x-consul-index").unwrap_or_default();
        self.wait(name, &format!("{target}?index={index}&wait={wait}"));
    }

    /// Waits for a blocking read to be answered; records its status and the whole seconds
    /// since `since`.
    pub(crate) fn wakes_after_quietly(&mut self, name: &'static str, since: Instant) {
        let reply = self.waits.remove(name).map(|wait| wait.recv_timeout(Duration::from_secs(55)));
        let status = match reply {
            Some(Ok(reply)) => reply.status,
            _ => 0,
        };
        self.seconds(&format!("{name} woke with {status}"), since);
    }

    /// Sends a request and records only its status.
    pub(crate) fn quiet_put(&mut self, target: &str) {
        self.quiet("PUT", target);
    }

    /// The same for a read.
    pub(crate) fn quiet_get(&mut self, target: &str) {
        self.quiet("GET", target);
    }

    fn quiet(&mut self, method: &str, target: &str) {
        let reply = self.exchange(method, target, b"");
        self.lines.push(format!("{method} {target} -> {}", reply.status));
    }

    /// Sends a body after replacing its placeholders.
    pub(crate) fn put_filled(&mut self, target: &str, body: &str) {
        let filled = self.fill(body);
        let reply = self.exchange("PUT", target, filled.as_bytes());
        self.record(&format!("PUT {target} {body}"), &reply);
    }

    /// Sets `<to>` to the id of `<from>` in capitals.
    pub(crate) fn capitals(&mut self, from: &str, to: &str) {
        let id = self.fill(&format!("<{from}>")).to_uppercase();
        self.names.insert(to.into(), id);
    }

    /// Repeats the request until the reply is `true`; records the whole seconds since
    /// `since`.
    pub(crate) fn succeeds_after(&mut self, target: &str, since: Instant) {
        while since.elapsed() < Duration::from_secs(50) {
            let reply = self.exchange("PUT", target, b"");
            if reply.body.trim_ascii() == b"true" {
                break;
            }
            thread::sleep(Duration::from_millis(25));
        }
        self.seconds(&format!("PUT {target} succeeded"), since);
    }

    fn seconds(&mut self, what: &str, since: Instant) {
        // Tolerate small differences between clock readings of different threads.
        let passed = since.elapsed() + Duration::from_millis(30);
        self.lines.push(format!("{what} after {} s", passed.as_secs()));
    }

    pub(crate) fn pause(&mut self, millis: u64) {
        thread::sleep(Duration::from_millis(millis));
    }

    fn exchange(&mut self, method: &str, target: &str, body: &[u8]) -> Reply {
        let reply = client::request(self.address, method, &self.target(target), body);
        self.last = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        reply
    }

    fn target(&self, target: &str) -> String {
        let filled = self.fill(target);
        if filled.starts_with('/') { filled } else { format!("/v1/{filled}") }
    }

    fn fill(&self, text: &str) -> String {
        self.names
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("<{name}>"), value))
    }

    fn record(&mut self, what: &str, reply: &Reply) {
        let mut line = format!("{what} -> {}", reply.status);
        let mut headers = reply.headers.clone();
        headers.sort();
        for (name, value) in &headers {
            let shown = match &**name {
                "x-consul-index" => format!("{INDEX}{value}{INDEX}"),
                "date" | "content-length" | "transfer-encoding" => continue,
                "connection" if value != "close" => continue,
                _ => value.clone(),
            };
            self.names_to_line(&mut line, &format!(" {name}: {shown}"));
        }
        let json = reply.header("content-type") == Some("application/json");
        let body = match serde_json::from_slice::<Value>(&reply.body) {
            Ok(mut value) if json => {
                mark_indexes(&mut value);
                unmark(&value.to_string())
            }
            _ => format!("{:?}", String::from_utf8_lossy(&reply.body)),
        };
        self.names_to_line(&mut line, &format!(" {}", mark_text(&body)));
        self.lines.push(line);
    }

    fn names_to_line(&mut self, line: &mut String, text: &str) {
        line.push_str(&self.name_ids(text));
    }

    /// Replaces session ids with names.
    fn name_ids(&mut self, text: &str) -> String {
        let mut named = text.to_owned();
        for start in 0..text.len().saturating_sub(35) {
            let Some(id) = text.get(start..start + 36) else { continue };
            let is_id = id.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
            if is_id {
                let known = id.to_ascii_lowercase();
                let place =
                    self.ids.iter().position(|other| *other == known).unwrap_or_else(|| {
                        self.ids.push(known);
                        self.ids.len() - 1
                    });
                let capitals = if id.bytes().any(|b| b.is_ascii_uppercase()) { "!" } else { "" };
                named = named.replace(id, &format!("session{place}{capitals}"));
            }
        }
        named
    }

    /// The transcript, with each index replaced by its rank.
    pub(crate) fn finish(self) -> Vec<String> {
        let seen: BTreeSet<u64> = self
            .lines
            .iter()
            .flat_map(|line| line.split(INDEX).skip(1).step_by(2))
            .filter_map(|index| index.parse().ok())
            .collect();
        let rank = |index: &str| {
            let number = index.parse().unwrap_or(0);
            seen.iter().position(|other| *other == number).unwrap_or(0)
        };
        let finish = |line: &String| {
            let parts = line.split(INDEX).enumerate();
            let parts = parts.map(|(at, part)| match at % 2 {
                0 => part.to_owned(),
                _ => format!("#{}", rank(part)),
            });
            parts.collect()
        };
        self.lines.iter().map(finish).collect()
    }
}

fn shorten(body: &str) -> &str {
    body.get(..60).unwrap_or(body)
}

fn mark_indexes(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mark_indexes),
        Value::Object(fields) => {
            for (name, field) in fields {
                let small = field.as_u64().is_none_or(|index| index < 2);
                if matches!(&**name, "CreateIndex" | "ModifyIndex") && !small {
                    *field = format!("{INDEX}{field}{INDEX}").into();
                } else {
                    mark_indexes(field);
                }
            }
        }
        _ => {}
    }
}

/// Undoes JSON's escapes of the marks.
fn unmark(json: &str) -> String {
    json.replace("\\u0001", &INDEX.to_string())
}

/// Marks the indexes in error texts such as `current modify index 7 != 5`.
fn mark_text(body: &str) -> String {
    const BEFORE: &str = "current modify index ";
    let mut parts = body.split(BEFORE);
    let mut marked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit() && !" !=".contains(c));
        let (numbers, rest) = part.split_at(end.unwrap_or(part.len()));
        let numbers = numbers.split(" != ").map(|number| match number {
            "0" | "1" => number.to_owned(),
            index => format!("{INDEX}{index}{INDEX}"),
        });
        marked.push_str(BEFORE);
        marked.push_str(&numbers.collect::<Vec<_>>().join(" != "));
        marked.push_str(rest);
    }
    marked
}
