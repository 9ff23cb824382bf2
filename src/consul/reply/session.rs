//! What replies about sessions tell.

use std::time::Duration;

use serde_json::Value;

use super::{answer::Answer, duration};
use crate::consul::fact::{Created, Destroyed, Renewed, SessionId, SessionSeen, SessionsSeen};
use crate::consul::session_name::service_of;

const RIGHT: &str = "session:write";

/// Consul shows longer lock-delays and enforces this one.
const LONGEST_LOCK_DELAY: Duration = Duration::from_secs(60);

pub(crate) fn created(answer: Answer<'_>) -> Created {
    if let Some(right) = answer.denied(RIGHT) {
        return Created::Denied(right);
    }
    let text = String::from_utf8_lossy(answer.body());
    if answer.status() == 500
        && let Some(range) = text.trim().strip_prefix("Invalid Session TTL ")
    {
        let range = range.split_once('[').and_then(|(_, range)| range.split_once(']'));
        return Created::TtlRefused(answer.excerpt(range.map_or("unknown", |(range, _)| range)));
    }
    let id = (answer.status() == 200)
        .then(|| answer.json())
        .flatten()
        .and_then(|json| json.get("ID")?.as_str().filter(|id| is_id(id)).map(SessionId::from));
    id.map_or_else(|| Created::Unknown(answer.trouble()), Created::Session)
}

/// Whether `id` can be one that Consul gave: a UUID, as far as it matters here.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

pub(crate) fn renewed(answer: Answer<'_>, id: &SessionId) -> Renewed {
    if let Some(right) = answer.denied(RIGHT) {
        return Renewed::Denied(right);
    }
    match answer.status() {
        200 => {
            if let Some(session) = one_session(answer, id) {
                let ttl = session.get("TTL").and_then(Value::as_str).and_then(duration::parse);
                return Renewed::Alive { ttl };
            }
        }
        404 => {
            let gone = format!("Session id '{id}' not found");
            if answer.body().trim_ascii() == gone.as_bytes() {
                return Renewed::Gone;
            }
        }
        _ => {}
    }
    Renewed::Unknown(answer.trouble())
}

/// The sessions of that name, of a listing of all.
pub(crate) fn sessions_of(answer: Answer<'_>, name: &str) -> SessionsSeen {
    if let Some(right) = answer.denied("session:read") {
        return SessionsSeen::Denied(right);
    }
    let listed = (answer.status() == 200).then(|| answer.json()).flatten();
    let Some(Value::Array(sessions)) = listed else {
        return SessionsSeen::Unknown(answer.trouble());
    };
    let ours = |session: &Value| {
        let is_ours = session.get("Name")?.as_str()? == name;
        let id = session.get("ID")?.as_str().filter(|id| is_id(id))?;
        is_ours.then(|| SessionId::from(id))
    };
    SessionsSeen::Found(sessions.iter().filter_map(ours).collect())
}

pub(crate) fn session_seen(answer: Answer<'_>, id: &SessionId) -> SessionSeen {
    if let Some(right) = answer.denied("session:read") {
        return SessionSeen::Denied(right);
    }
    if answer.status() == 200 {
        if answer.json().is_some_and(|json| json.as_array().is_some_and(Vec::is_empty)) {
            return SessionSeen::NotShown;
        }
        if let Some(seen) = one_session(answer, id).as_ref().and_then(described) {
            return seen;
        }
    }
    SessionSeen::Unknown(answer.trouble())
}

fn described(session: &Value) -> Option<SessionSeen> {
    let text = |field| session.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(SessionSeen::Exists {
        name: service_of(&text("Name")).to_owned(),
        node: text("Node"),
        lock_delay: lock_delay(session.get("LockDelay")?)?.min(LONGEST_LOCK_DELAY),
    })
}

/// Nanoseconds as a number. A negative delay is none, as Consul treats it.
fn lock_delay(value: &Value) -> Option<Duration> {
    if let Some(nanos) = value.as_u64() {
        return Some(Duration::from_nanos(nanos));
    }
    value.as_i64().map(|_negative| Duration::ZERO)
}

/// The session of that id, if the reply is a list of it alone.
fn one_session(answer: Answer<'_>, id: &SessionId) -> Option<Value> {
    let Value::Array(sessions) = answer.json()? else { return None };
    let [session] = <[Value; 1]>::try_from(sessions).ok()?;
    (session.get("ID")?.as_str()? == id.as_str()).then_some(session)
}

pub(crate) fn destroyed(answer: Answer<'_>) -> Destroyed {
    if let Some(right) = answer.denied(RIGHT) {
        return Destroyed::Denied(right);
    }
    if answer.status() == 200 && answer.json() == Some(Value::Bool(true)) {
        return Destroyed::Done;
    }
    Destroyed::Unknown(answer.trouble())
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
