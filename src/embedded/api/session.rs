//! The endpoints under `/v1/session/`.

use serde_json::Value;

use super::{
    super::{
        engine::{EmbeddedRight, Engine, SessionDraft},
        golang,
    },
    json,
    read::{self, Read, Step},
    reply::Reply,
    target::Query,
};
use crate::{clock::Moment, consul::fact::SessionId};

pub(super) fn create(engine: &mut Engine, now: Moment, query: &Query, body: &[u8]) -> Reply {
    let draft = match decode(body) {
        Ok(draft) => draft,
        Err(why) => return Reply::text(400, &format!("Request decode failed: {why}")),
    };
    if let Err(reply) = query.check_datacenter() {
        return reply;
    }
    let node = draft.node.as_deref().unwrap_or(engine.node());
    if let Err(denied) = Reply::check_right(engine, EmbeddedRight::SessionWrite, node.as_bytes()) {
        return denied;
    }
    match engine.create_session(now, draft) {
        Ok(id) => Reply::json(200, format!("{{\"ID\":\"{id}\"}}")),
        Err(fault) => Reply::fault(&fault),
    }
}

pub(super) fn renew(
    engine: &mut Engine,
    now: Moment,
    query: &Query,
    id: &str,
) -> Result<Reply, Reply> {
    query.check_consistency()?;
    query.blocking()?;
    check_id(id)?;
    query.check_datacenter()?;
    check_write(engine, now, id)?;
    let node = engine.node().to_owned();
    match engine.renew_session(now, id) {
        Ok(Some((id, session))) => {
            let mut out = String::from("[");
            json::session(&mut out, &id, session, &node);
            out.push(']');
            Ok(Reply::json(200, out))
        }
        Ok(None) => Err(Reply::text(404, &format!("Session id '{id}' not found"))),
        Err(fault) => Err(Reply::fault(&fault)),
    }
}

pub(super) fn destroy(
    engine: &mut Engine,
    now: Moment,
    query: &Query,
    id: &str,
) -> Result<Reply, Reply> {
    check_id(id)?;
    query.check_datacenter()?;
    check_write(engine, now, id)?;
    match engine.destroy_session(now, id) {
        Ok(()) => Ok(Reply::flag(true)),
        Err(fault) => Err(Reply::fault(&fault)),
    }
}

pub(super) fn info(
    engine: &mut Engine,
    now: Moment,
    query: &Query,
    id: &str,
) -> Result<Step, Reply> {
    query.check_consistency()?;
    let blocking = query.blocking()?;
    check_id(id)?;
    check_read(engine, query)?;
    engine.advance(now);
    let id = match engine.find_session(id) {
        Ok(found) => found.unwrap_or_else(|| SessionId::from(id)),
        Err(fault) => return Err(Reply::fault(&fault).with_meta(Some(1), false)),
    };
    Ok(read::answer(engine, now, Read::Session(id), blocking).into())
}

pub(super) fn list(engine: &mut Engine, now: Moment, query: &Query) -> Result<Step, Reply> {
    query.check_consistency()?;
    let blocking = query.blocking()?;
    check_read(engine, query)?;
    Ok(read::answer(engine, now, Read::Sessions, blocking).into())
}

/// With a fault, Consul sends the headers of an empty answer.
fn check_read(engine: &Engine, query: &Query) -> Result<(), Reply> {
    let checked = query.check_datacenter().and_then(|()| Reply::check_token(engine));
    checked.map_err(|reply| reply.with_meta(Some(1), false))
}

/// Refuses a change of a session that exists if the right is lacking, and any if the agent
/// does not know the token.
fn check_write(engine: &mut Engine, now: Moment, id: &str) -> Result<(), Reply> {
    engine.advance(now);
    match engine.find_session(id) {
        Ok(Some(_)) => {
            Reply::check_right(engine, EmbeddedRight::SessionWrite, engine.node().as_bytes())
        }
        _ => Reply::check_token(engine),
    }
}

fn check_id(id: &str) -> Result<(), Reply> {
    if id.is_empty() { Err(Reply::text(400, "Missing session")) } else { Ok(()) }
}

/// Decodes the body of `session/create` like Go's decoder.
fn decode(body: &[u8]) -> Result<SessionDraft, String> {
    let mut draft = SessionDraft::default();
    if body.is_empty() {
        return Ok(draft);
    }
    let fields = match golang::decode_json(body)? {
        Value::Null => return Ok(draft),
        Value::Object(fields) => fields,
        other => {
            return Err(format!(
                "json: cannot unmarshal {} into Go value of type struct {{ LockDelay interface {{}}; *structs.Alias }}",
                golang::kind_of(&other)
            ));
        }
    };
    let mut lock_delay = Value::Null;
    let mut checks = None;
    for (name, value) in fields {
        match &*name.to_ascii_lowercase() {
            "name" => set_text(&mut draft.name, "Name", "string", value)?,
            "node" => {
                let mut node = String::new();
                if !value.is_null() {
                    set_text(&mut node, "Node", "string", value)?;
                    draft.node = Some(node);
                }
            }
            "behavior" => {
                set_text(&mut draft.behavior, "Behavior", "structs.SessionBehavior", value)?;
            }
            "ttl" => set_text(&mut draft.ttl, "TTL", "string", value)?,
            "lockdelay" => lock_delay = value,
            "checks" => {
                checks = Some(texts("Checks", "types.CheckID", value)?.unwrap_or_default());
            }
            "nodechecks" => draft.node_checks = texts("NodeChecks", "string", value)?,
            "servicechecks" => draft.service_checks = service_checks(value)?,
            _ => {}
        }
    }
    if let Some(checks) = checks {
        draft.node_checks = Some(checks);
    }
    if let Some(nanos) = decode_lock_delay(&lock_delay)? {
        draft.lock_delay = nanos;
    }
    Ok(draft)
}

/// A lock-delay in nanoseconds. Like Consul, takes a number below 1000 as seconds.
fn decode_lock_delay(value: &Value) -> Result<Option<i64>, String> {
    let given = match value {
        Value::Null => return Ok(None),
        Value::String(text) => golang::parse_duration(text)?,
        // Cast: Go's decoder also holds numbers as floats and truncates them.
        #[allow(clippy::cast_possible_truncation)]
        Value::Number(number) => number.as_f64().unwrap_or(0.0) as i64,
        _ => return Ok(Some(0)),
    };
    Ok(Some(if given < 1000 { given.wrapping_mul(1_000_000_000) } else { given }))
}

fn mismatch(value: &Value, field: &str, kind: &str) -> String {
    let found = golang::kind_of(value);
    format!("json: cannot unmarshal {found} into Go struct field .{field} of type {kind}")
}

/// Sets `text`, unless `value` is `null`.
fn set_text(text: &mut String, field: &str, kind: &str, value: Value) -> Result<(), String> {
    match value {
        Value::Null => {}
        Value::String(given) => *text = given,
        other => return Err(mismatch(&other, field, kind)),
    }
    Ok(())
}

fn texts(field: &str, kind: &str, value: Value) -> Result<Option<Vec<String>>, String> {
    let items = match value {
        Value::Null => return Ok(None),
        Value::Array(items) => items,
        other => return Err(mismatch(&other, field, &format!("[]{kind}"))),
    };
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        let mut text = String::new();
        set_text(&mut text, field, kind, item)?;
        all.push(text);
    }
    Ok(Some(all))
}

fn service_checks(value: Value) -> Result<Option<Vec<String>>, String> {
    const KIND: &str = "structs.ServiceCheck";
    let items = match value {
        Value::Null => return Ok(None),
        Value::Array(items) => items,
        other => return Err(mismatch(&other, "ServiceChecks", &format!("[]{KIND}"))),
    };
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::Object(fields) => {
                let id = fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("ID"));
                let mut text = String::new();
                if let Some((_, value)) = id {
                    set_text(&mut text, "ID", "string", value)?;
                }
                all.push(text);
            }
            Value::Null => all.push(String::new()),
            other => return Err(mismatch(&other, "ServiceChecks", KIND)),
        }
    }
    Ok(Some(all))
}
