//! Reads a session.

use std::time::Duration;

use serde_json::Value;

use super::{Ask, Keyspace, duration, escaped};
use crate::{
    config::Timing,
    consul::{
        answer::Answer,
        fact::{SessionId, SessionSeen, Trouble},
        session_name::{LONGEST_NAME, service_of},
        wire::WireRequest,
    },
    escape::shortened,
};

/// Reads a session's name, node and lock-delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionInfo {
    pub(crate) session: SessionId,
}

impl Ask for SessionInfo {
    type Fact = SessionSeen;

    fn request(&self, _: &Keyspace) -> WireRequest {
        WireRequest::get(format!("/v1/session/info/{}", escaped(self.session.as_str())))
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> SessionSeen {
        if let Some(right) = answer.denied("session:read") {
            return SessionSeen::Denied(right);
        }
        if answer.status() == 200 {
            if answer.json::<[Value; 0]>().is_some() {
                return SessionSeen::NotShown;
            }
            if let Some(seen) = one_session(answer, &self.session).as_ref().and_then(described) {
                return seen;
            }
        }
        SessionSeen::Unknown(answer.trouble())
    }

    fn unanswered(&self, trouble: Trouble) -> SessionSeen {
        SessionSeen::Unknown(trouble)
    }
}

/// Returns the session with this id, if the reply lists it alone.
pub(super) fn one_session(answer: Answer<'_>, id: &SessionId) -> Option<Value> {
    let [session] = answer.json::<[Value; 1]>()?;
    (session.get("ID")?.as_str()? == id.as_str()).then_some(session)
}

fn described(session: &Value) -> Option<SessionSeen> {
    let text = |field| session.get(field).and_then(Value::as_str).unwrap_or_default();
    Some(SessionSeen::Exists {
        name: shortened(service_of(text("Name")), LONGEST_NAME),
        node: shortened(text("Node"), LONGEST_NAME),
        lock_delay: lock_delay(session.get("LockDelay")?)?.min(Timing::LONGEST_LOCK_DELAY),
        ttl: duration::parse(text("TTL")).filter(|ttl| !ttl.is_zero()),
    })
}

/// Parses a lock-delay in nanoseconds. Consul treats a negative one as zero.
fn lock_delay(value: &Value) -> Option<Duration> {
    if let Some(nanos) = value.as_u64() {
        return Some(Duration::from_nanos(nanos));
    }
    value.as_i64().map(|_negative| Duration::ZERO)
}

#[cfg(test)]
mod tests;
