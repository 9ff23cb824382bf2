//! Parses entries of Consul's store.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

use super::read_right;
use crate::consul::{
    answer::Answer,
    fact::{Entry, Seen, SessionId},
};

/// Parses the reply to a read of one full key.
pub(super) fn seen(answer: Answer<'_>, key: &str) -> Seen {
    if let Some(right) = answer.denied(&read_right(key)) {
        return Seen::Denied(right);
    }
    if let Some(why) = answer.name_refused(key) {
        return Seen::NameRefused(why);
    }
    match (answer.status(), answer.index()) {
        // A 404 with a body is not Consul's.
        (404, Some(index)) if answer.body().is_empty() => return Seen::Missing { index },
        (200, Some(index)) => {
            if let Some(entry) = only_entry(answer, key) {
                return Seen::Found { entry, index };
            }
        }
        _ => {}
    }
    Seen::Unknown(answer.trouble())
}

fn only_entry(answer: Answer<'_>, key: &str) -> Option<Entry> {
    let Value::Array(entries) = answer.json()? else { return None };
    let [found] = <[Value; 1]>::try_from(entries).ok()?;
    entry(&found, key)
}

/// Parses the entry of `key` in a row of a transaction's results.
pub(super) fn entry_of(row: Option<&Value>, key: &str) -> Option<Entry> {
    entry(row?.get("KV")?, key)
}

/// Parses the complete entry of `key` in Consul's JSON.
pub(super) fn entry(json: &Value, key: &str) -> Option<Entry> {
    if json.get("Key")?.as_str()? != key {
        return None;
    }
    let session = match json.get("Session") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => (!id.is_empty()).then(|| SessionId::from(id.as_str())),
        Some(_) => return None,
    };
    let value = match json.get("Value")? {
        Value::Null => Vec::new(),
        Value::String(text) => BASE64.decode(text).ok()?,
        _ => return None,
    };
    let modify_index = json.get("ModifyIndex")?.as_u64().filter(|index| *index >= 1)?;
    let lock_index = json.get("LockIndex").and_then(Value::as_u64).unwrap_or(0);
    let flags = json.get("Flags")?.as_u64()?;
    Some(Entry { session, modify_index, lock_index, flags, value })
}

#[cfg(test)]
mod tests;
