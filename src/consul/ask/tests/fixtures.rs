//! Fixtures for the tests of the questions: one session, and replies about it.

use serde_json::Value;

use crate::consul::ask::{Ask, Keyspace};
use crate::consul::{
    answer::Answer,
    fact::SessionId,
    wire::{WireReply, WireRequest},
};

pub(in crate::consul::ask) const ID: &str = "ee474eed-262a-2872-71c3-42544dd66dce";
/// The fence entry of that session.
pub(in crate::consul::ask) const FENCE: &str = ".dsync/ee474eed-262a-2872-71c3-42544dd66dce";

pub(in crate::consul::ask) fn id() -> SessionId {
    ID.into()
}

/// Returns the fact of a question for this reply.
pub(in crate::consul::ask) fn read<A: Ask>(ask: &A, status: u16, body: &str) -> A::Fact {
    let reply = WireReply { status, index: None, body: body.into() };
    ask.read(&Keyspace::default(), Answer::new(&reply, None))
}

pub(in crate::consul::ask) fn body(request: &WireRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

pub(in crate::consul::ask) fn compact(json: &str) -> String {
    serde_json::from_str::<Value>(json).unwrap().to_string()
}

/// A list of one session, as Consul prints it.
pub(in crate::consul::ask) fn session(id: &str, ttl: &str, delay: &str) -> String {
    format!(
        r#"[
    {{
        "ID": "{id}",
        "Name": "a",
        "Node": "vm",
        "LockDelay": {delay},
        "Behavior": "release",
        "TTL": "{ttl}",
        "NodeChecks": [],
        "ServiceChecks": null,
        "CreateIndex": 13,
        "ModifyIndex": 13
    }}
]
"#
    )
}

/// An entry in the results of a transaction.
pub(in crate::consul::ask) fn kv(key: &str, session: Option<&str>, index: u64) -> String {
    let session = session.map(|id| format!("\"Session\": \"{id}\",\n")).unwrap_or_default();
    format!(
        r#"{{ "KV": {{ "LockIndex": 1, "Key": "{key}", "Flags": 3304740253564472344, "Value": null,
            {session} "CreateIndex": 15, "ModifyIndex": {index} }} }}"#
    )
}

/// The reply to a transaction that succeeded.
pub(in crate::consul::ask) fn done(results: &[String]) -> String {
    format!("{{\n  \"Results\": [ {} ],\n  \"Errors\": null\n}}\n", results.join(", "))
}

/// The reply to a transaction with these failed operations.
pub(in crate::consul::ask) fn failed(errors: &[(u64, &str)]) -> String {
    let errors: Vec<_> =
        errors.iter().map(|(op, what)| serde_json::json!({"OpIndex": op, "What": what})).collect();
    serde_json::to_string_pretty(&serde_json::json!({"Results": null, "Errors": errors})).unwrap()
}
