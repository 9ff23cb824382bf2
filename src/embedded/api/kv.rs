//! The endpoint `/v1/kv/`.

use super::{
    super::{
        engine::{EmbeddedRight, Engine, PutMode},
        golang,
    },
    limits::{Limit, check_length},
    read::{self, Read, Step},
    reply::Reply,
    target::Query,
};
use crate::clock::Moment;

pub(super) fn get(
    engine: &mut Engine,
    now: Moment,
    query: &Query,
    key: &[u8],
) -> Result<Step, Reply> {
    query.check_consistency()?;
    let blocking = query.blocking()?;
    let key = key.to_vec();
    let read = if query.has("keys") {
        let separator = query.get("separator").unwrap_or_default().into();
        Read::Keys { prefix: key, separator }
    } else if query.has("recurse") {
        Read::Recurse { prefix: key }
    } else {
        check_key(&key)?;
        Read::Key { key, raw: query.has("raw") }
    };
    query.check_datacenter()?;
    match &read {
        Read::Key { key, .. } => Reply::check_right(engine, EmbeddedRight::KeyRead, key)?,
        _ => Reply::check_token(engine)?,
    }
    Ok(read::answer(engine, now, read, blocking).into())
}

pub(super) fn put(
    engine: &mut Engine,
    now: Moment,
    query: &Query,
    key: &[u8],
    body: Vec<u8>,
) -> Result<Reply, Reply> {
    query.check_consistency()?;
    query.blocking()?;
    check_key(key)?;
    query.conflict(&["cas", "acquire", "release"])?;
    let number = |name| query.get(name).map(golang::parse_uint).transpose();
    let unreadable = |why: String| Reply::text(500, &why);
    let flags = number("flags").map_err(unreadable)?.unwrap_or(0);
    let mode = if let Some(expected) = number("cas").map_err(unreadable)? {
        PutMode::Cas(expected)
    } else if let Some(session) = query.get("acquire") {
        PutMode::Acquire(session)
    } else if let Some(session) = query.get("release") {
        PutMode::Release(session)
    } else {
        PutMode::Plain
    };
    check_length(Limit::Value, body.len())?;
    query.check_datacenter()?;
    Reply::check_right(engine, EmbeddedRight::KeyWrite, key)?;
    match engine.put(now, key, body, flags, mode) {
        Ok(done) => Ok(Reply::flag(done)),
        Err(fault) => Err(Reply::fault(&fault)),
    }
}

pub(super) fn delete(
    engine: &mut Engine,
    now: Moment,
    query: &Query,
    key: &[u8],
) -> Result<Reply, Reply> {
    query.check_consistency()?;
    query.blocking()?;
    query.conflict(&["recurse", "cas"])?;
    if query.has("recurse") {
        query.check_datacenter()?;
        Reply::check_right(engine, EmbeddedRight::KeyWrite, key)?;
        engine.delete_tree(now, key);
        return Ok(Reply::flag(true));
    }
    check_key(key)?;
    let cas = match query.get("cas").map(golang::parse_uint).transpose() {
        Ok(cas) => cas,
        Err(why) => return Err(Reply::text(500, &why)),
    };
    query.check_datacenter()?;
    Reply::check_right(engine, EmbeddedRight::KeyWrite, key)?;
    Ok(Reply::flag(engine.delete(now, key, cas)))
}

/// Refuses a key or prefix by the rule of Consul 1.21.5, if the agent follows it.
pub(super) fn check_name(engine: &Engine, key: &[u8]) -> Result<(), Reply> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b",_./-?&=".contains(byte);
    let is_well = key.iter().all(is_plain) && !key.windows(2).any(|pair| pair == b"..");
    if is_well || !engine.strict_names() {
        return Ok(());
    }
    let pattern = golang::quote(br"^[a-zA-Z0-9,_./\-?&=]+$");
    Err(Reply::text(500, &format!("invalid key name, keys should respect the {pattern} format")))
}

fn check_key(key: &[u8]) -> Result<(), Reply> {
    if key.is_empty() { Err(Reply::text(400, "Missing key name")) } else { Ok(()) }
}
