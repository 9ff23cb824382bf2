//! Creates a session.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ask, Keyspace, millis};
use crate::consul::{
    answer::{Answer, without_hops},
    fact::{Created, SessionId, Trouble},
    wire::WireRequest,
};

/// Creates a session that releases its keys when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CreateSession {
    pub(crate) name: String,
    pub(crate) ttl: Duration,
    pub(crate) lock_delay: Duration,
    pub(crate) checks: Checks,
    /// The least time limit of the answer: Consul creates the session even if its answer
    /// comes too late, and such a session is lost.
    pub(crate) patience: Duration,
}

/// The checks whose failure ends a session, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    pub(crate) node: Vec<String>,
    /// Those of services on the session's node.
    pub(crate) service: Vec<String>,
}

impl Ask for CreateSession {
    type Fact = Created;

    fn request(&self, _: &Keyspace) -> WireRequest {
        let service_checks = self.checks.service.iter().map(|id| json!({ "ID": id }));
        let body = json!({
            "Name": self.name,
            "TTL": millis(self.ttl),
            "LockDelay": millis(self.lock_delay),
            "NodeChecks": self.checks.node,
            "ServiceChecks": service_checks.collect::<Vec<_>>(),
            "Behavior": "release",
        });
        WireRequest::put("/v1/session/create".into(), body.to_string().into_bytes())
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> Created {
        if let Some(right) = answer.denied("session:write") {
            return Created::Denied(right);
        }
        let text = String::from_utf8_lossy(answer.body());
        if answer.status() == 500
            && let Some(range) = without_hops(text.trim()).strip_prefix("Invalid Session TTL ")
        {
            let range = range.split_once('[').and_then(|(_, range)| range.split_once(']'));
            let range = range.map_or("unknown", |(range, _)| range);
            return Created::TtlRefused(answer.excerpt(range));
        }
        let id = (answer.status() == 200)
            .then(|| answer.json::<Value>())
            .flatten()
            .and_then(|json| json.get("ID")?.as_str().filter(|id| is_id(id)).map(SessionId::from));
        id.map_or_else(|| Created::Unknown(answer.trouble()), Created::Session)
    }

    fn limit(&self, limit: Duration) -> Duration {
        limit.max(self.patience)
    }

    fn unanswered(&self, trouble: Trouble) -> Created {
        Created::Unknown(trouble)
    }
}

/// Whether `id` can be a session's id. A UUID passes, and so do some other texts.
pub(super) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests;
