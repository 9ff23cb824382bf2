//! Raw calls over one persistent connection, without a client library: the floor of
//! every bench.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use actix_dsync::config::HASHICORP_LOCK_FLAGS;
use serde_json::{Value, json};

pub(crate) struct Raw(BufReader<TcpStream>);

impl Raw {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("an agent");
        stream.set_nodelay(true).expect("a socket");
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, method: &str, target: &str, body: &str) {
        let length = body.len();
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        self.0.get_mut().write_all((head + body).as_bytes()).expect("an agent that reads");
    }

    /// The index and the body of the next reply.
    pub(crate) fn receive(&mut self) -> (u64, String) {
        let (mut line, mut length, mut index) = (String::new(), 0, 0);
        loop {
            line.clear();
            self.0.read_line(&mut line).expect("an agent that answers");
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            } else if let Some(value) = lower.strip_prefix("x-consul-index:") {
                index = value.trim().parse().expect("an index");
            }
            if line == "\r\n" {
                break;
            }
            assert!(!line.is_empty(), "the agent closed the connection");
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a whole body");
        (index, String::from_utf8(body).expect("text"))
    }

    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &str) -> (u64, String) {
        self.send(method, target, body);
        self.receive()
    }

    /// Creates a session that outlasts every bench.
    pub(crate) fn session(&mut self, lock_delay: &str) -> String {
        let new = json!({"TTL": "86400s", "NodeChecks": [], "LockDelay": lock_delay});
        let answer = self.ask("PUT", "/v1/session/create", &new.to_string()).1;
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["ID"].as_str().expect("a session").to_owned()
    }

    pub(crate) fn destroy(&mut self, session: &str) {
        self.expect(&format!("/v1/session/destroy/{session}"));
    }

    /// Locks the key; returns whether the session has it.
    pub(crate) fn acquire(&mut self, session: &str, key: &str) -> bool {
        let target = format!("/v1/kv/{key}?acquire={session}&flags={HASHICORP_LOCK_FLAGS}");
        self.ask("PUT", &target, "{}").1.starts_with("true")
    }

    pub(crate) fn release(&mut self, session: &str, key: &str) {
        self.expect(&format!("/v1/kv/{key}?release={session}&flags={HASHICORP_LOCK_FLAGS}"));
    }

    /// Starts a blocking read of the key, unless nobody holds it. Returns whether it is
    /// held.
    pub(crate) fn watch(&mut self, key: &str) -> bool {
        let (index, entry) = self.ask("GET", &format!("/v1/kv/{key}"), "");
        let is_held = entry.contains(r#""Session""#);
        if is_held {
            self.send("GET", &format!("/v1/kv/{key}?index={index}&wait=60s"), "");
        }
        is_held
    }

    /// Runs a transaction that must succeed. Its reply must be short enough not to be
    /// chunked.
    pub(crate) fn txn(&mut self, body: &str) {
        let answer = self.ask("PUT", "/v1/txn", body).1;
        let errors = answer.split_once(r#""Errors":"#).map(|(_, errors)| errors.trim_start());
        assert!(errors.is_some_and(|errors| errors.starts_with("null")), "{answer}");
    }

    /// Locks many keys.
    pub(crate) fn lock_all(&mut self, session: &str, keys: &[String]) {
        for keys in keys.chunks(4) {
            let lock = |key| {
                json!({"KV": {"Verb": "lock", "Key": key, "Session": session,
                              "Flags": HASHICORP_LOCK_FLAGS, "Value": ""}})
            };
            self.txn(&Value::from_iter(keys.iter().map(lock)).to_string());
        }
    }

    fn expect(&mut self, target: &str) {
        let answer = self.ask("PUT", target, "").1;
        assert!(answer.starts_with("true"), "{target}: {answer}");
    }
}

/// This crate's transactions for locking and releasing a key, built in advance.
pub(crate) struct Txns {
    lock: String,
    /// The text before and after the index of the lock.
    release: (String, String),
}

impl Txns {
    pub(crate) fn new(key: &str, session: &str) -> Self {
        let lock = json!([
            {"KV": {"Verb": "check-not-exists", "Key": format!(".dsync/{session}")}},
            {"KV": {"Verb": "check-not-exists", "Key": key}},
            {"KV": {"Verb": "lock", "Key": key, "Session": session,
                    "Flags": HASHICORP_LOCK_FLAGS, "Value": "e30="}},
        ]);
        let release = json!([
            {"KV": {"Verb": "check-session", "Key": key, "Session": session}},
            {"KV": {"Verb": "delete-cas", "Key": key, "Index": null}},
        ]);
        let release = release.to_string();
        let (before, after) = release.split_once("null").expect("the place of the index");
        Self { lock: lock.to_string(), release: (before.into(), after.into()) }
    }

    pub(crate) fn lock(&self) -> &str {
        &self.lock
    }

    /// The release; `locked` is the reply to the lock.
    pub(crate) fn release(&self, locked: &str) -> String {
        let (_, index) = locked.rsplit_once(r#""ModifyIndex":"#).expect("a lock");
        let index = index.trim_start();
        let end = index.find(|c: char| !c.is_ascii_digit()).expect("an end");
        let (before, after) = &self.release;
        format!("{before}{}{after}", &index[..end])
    }
}
