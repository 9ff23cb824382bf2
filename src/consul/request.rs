//! What each question looks like on the wire.
//!
//! Keys here are full keys, the runtime's prefix included. Equal questions give
//! equal bytes, so that a repeated lock changes nothing in Consul.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::{
    fact::{Expect, Fence, SessionId},
    wire::{Method, WireRequest},
};
use crate::key::Key;
#[cfg(test)]
use crate::protocol::mutation::Mutation;

/// A session to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewSession {
    pub(crate) name: String,
    pub(crate) ttl: Duration,
    pub(crate) lock_delay: Duration,
    /// The node's checks whose failure ends the session; none is none.
    pub(crate) node_checks: Vec<String>,
}

/// A key to lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) key: Key,
    pub(crate) session: SessionId,
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u64,
    pub(crate) fence: Fence,
    pub(crate) expect: Expect,
}

/// A key to release, if our session holds it at this index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) key: Key,
    pub(crate) session: SessionId,
    pub(crate) index: u64,
    pub(crate) how: ReleaseHow,
}

/// What a release leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReleaseHow {
    Delete,
    Keep { value: Vec<u8>, flags: u64 },
}

/// What is to be recorded beside a key, if our session holds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) session: SessionId,
    /// The index of the present record; none if there is none.
    pub(crate) after: Option<u64>,
    pub(crate) value: Vec<u8>,
}

pub(crate) fn create_session(new: &NewSession) -> WireRequest {
    let body = json!({
        "Name": new.name,
        "TTL": millis(new.ttl),
        "LockDelay": millis(new.lock_delay),
        "NodeChecks": new.node_checks,
        "Behavior": "release",
    });
    put("/v1/session/create".into(), body.to_string().into_bytes())
}

/// All sessions that the token may read.
pub(crate) fn list_sessions() -> WireRequest {
    get("/v1/session/list".into())
}

pub(crate) fn renew_session(id: &SessionId) -> WireRequest {
    put(format!("/v1/session/renew/{}", escaped(id.as_str())), Vec::new())
}

pub(crate) fn session_info(id: &SessionId) -> WireRequest {
    get(format!("/v1/session/info/{}", escaped(id.as_str())))
}

pub(crate) fn destroy_session(id: &SessionId) -> WireRequest {
    put(format!("/v1/session/destroy/{}", escaped(id.as_str())), Vec::new())
}

/// A read that an isolated leader cannot answer from the past.
pub(crate) fn read(key: &str) -> WireRequest {
    get(format!("/v1/kv/{}?consistent", escaped(key)))
}

/// A read that waits until the key's index passes `after`.
///
/// Consul takes an index of 0 and a wait of 0 as "not given", so neither is sent.
pub(crate) fn watch(key: &str, after: u64, wait: Duration) -> WireRequest {
    let wait = wait.max(Duration::from_millis(1));
    get(format!("/v1/kv/{}?index={}&wait={}", escaped(key), after.max(1), millis(wait)))
}

/// All entries whose keys begin with `prefix`, as the leader has them; or, with
/// an index, when one of them has changed since, or after `wait`.
pub(crate) fn list(prefix: &str, after: Option<u64>, wait: Duration) -> WireRequest {
    let (prefix, wait) = (escaped(prefix), wait.max(Duration::from_millis(1)));
    get(match after {
        Some(index) => {
            format!("/v1/kv/{prefix}?recurse&index={}&wait={}", index.max(1), millis(wait))
        }
        None => format!("/v1/kv/{prefix}?recurse&consistent"),
    })
}

/// The operations of a lock, in the order in which `reply::locked` counts them.
pub(crate) fn lock(key: &str, fence_key: &str, ask: &Lock) -> WireRequest {
    locks(fence_key, &[(key, ask)])
}

/// The operations of several locks of one session and fence, of different keys:
/// the fence's check, if there is one, and two for each lock.
pub(crate) fn locks(fence_key: &str, asks: &[(&str, &Lock)]) -> WireRequest {
    let mut ops = Vec::with_capacity(1 + 2 * asks.len());
    match asks.first().map(|(_, ask)| ask.fence) {
        Some(Fence::Unraised) => {
            ops.push(op(json!({"Verb": "check-not-exists", "Key": fence_key})));
        }
        Some(Fence::At(index)) => {
            ops.push(op(json!({"Verb": "check-index", "Key": fence_key, "Index": index})));
        }
        Some(Fence::Unusable) | None => {}
    }
    for (key, ask) in asks {
        ops.push(op(match ask.expect {
            Expect::Missing => json!({"Verb": "check-not-exists", "Key": key}),
            Expect::Index(index) => json!({"Verb": "check-index", "Key": key, "Index": index}),
        }));
        ops.push(op(json!({
            "Verb": "lock",
            "Key": key,
            "Session": ask.session.as_str(),
            "Flags": ask.flags,
            "Value": BASE64.encode(&ask.value),
        })));
    }
    txn(ops)
}

pub(crate) fn release(key: &str, ask: &Release) -> WireRequest {
    #[cfg(test)]
    if Mutation::ReleaseUnfenced.is_chosen() {
        return unfenced_release(key, ask);
    }
    let session = ask.session.as_str();
    let ours = op(json!({"Verb": "check-session", "Key": key, "Session": session}));
    txn(match &ask.how {
        ReleaseHow::Delete => {
            vec![ours, op(json!({"Verb": "delete-cas", "Key": key, "Index": ask.index}))]
        }
        ReleaseHow::Keep { value, flags } => vec![
            ours,
            op(json!({"Verb": "check-index", "Key": key, "Index": ask.index})),
            op(json!({
                "Verb": "unlock",
                "Key": key,
                "Session": session,
                "Flags": flags,
                "Value": BASE64.encode(value),
            })),
        ],
    })
}

#[cfg(test)]
fn unfenced_release(key: &str, ask: &Release) -> WireRequest {
    let session = ask.session.as_str();
    let mut ops = vec![op(json!({"Verb": "check-session", "Key": key, "Session": session}))];
    ops.push(op(match &ask.how {
        ReleaseHow::Delete => json!({"Verb": "delete", "Key": key}),
        ReleaseHow::Keep { .. } => json!({"Verb": "unlock", "Key": key, "Session": session}),
    }));
    txn(ops)
}

/// Makes every lock of the session that was sent with the fence `from` fail.
///
/// The entry is locked by the session, so that a late raise fails once that has
/// ended, and an entry without a session is one that nobody needs. Each raise
/// writes another value: Consul leaves an entry's index as it is when nothing in
/// it changes, and the fence would not be raised.
pub(crate) fn raise_fence(fence_key: &str, session: &SessionId, from: Fence) -> WireRequest {
    let check = match from {
        Fence::At(index) => json!({"Verb": "check-index", "Key": fence_key, "Index": index}),
        Fence::Unraised | Fence::Unusable => json!({"Verb": "check-not-exists", "Key": fence_key}),
    };
    let lock = json!({
        "Verb": "lock",
        "Key": fence_key,
        "Session": session.as_str(),
        "Value": BASE64.encode(raised_from(from).to_string()),
    });
    txn(vec![op(check), op(lock)])
}

/// The index that a raise replaces; a fence of unknown use is raised as a new one.
pub(crate) fn raised_from(from: Fence) -> u64 {
    match from {
        Fence::At(index) => index,
        Fence::Unraised | Fence::Unusable => 0,
    }
}

pub(crate) fn delete_fence(fence_key: &str) -> WireRequest {
    txn(vec![op(json!({"Verb": "delete", "Key": fence_key}))])
}

/// Removes fence entries that have not changed since they were seen.
pub(crate) fn delete_stale_fences(stale: &[(String, u64)]) -> WireRequest {
    let delete = |(key, index): &(String, u64)| {
        op(json!({"Verb": "delete-cas", "Key": key, "Index": index}))
    };
    txn(stale.iter().map(delete).collect())
}

/// Writes a record beside a lock. Sent twice it is done once: the second finds
/// another index.
pub(crate) fn record(key: &str, record_key: &str, ask: &Record) -> WireRequest {
    txn(vec![
        op(json!({"Verb": "check-session", "Key": key, "Session": ask.session.as_str()})),
        op(json!({
            "Verb": "cas",
            "Key": record_key,
            // Consul takes 0 for "must not exist".
            "Index": ask.after.unwrap_or(0),
            "Value": BASE64.encode(&ask.value),
        })),
    ])
}

fn op(kv: Value) -> Value {
    json!({"KV": kv})
}

fn txn(ops: Vec<Value>) -> WireRequest {
    put("/v1/txn".into(), Value::Array(ops).to_string().into_bytes())
}

fn get(target: String) -> WireRequest {
    WireRequest { method: Method::Get, target, body: Vec::new() }
}

fn put(target: String, body: Vec<u8>) -> WireRequest {
    WireRequest { method: Method::Put, target, body }
}

/// A duration as Consul reads it in every place: bare numbers change their
/// meaning with their size.
fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// `path` with every byte escaped that could mean something in a URL; `/` stays.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
