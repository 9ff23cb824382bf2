//! Parses entries of Consul's store.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::Value;

use super::read_right;
use crate::{
    consul::{
        answer::Answer,
        fact::{Entry, Seen, SessionId},
    },
    token::FencingToken,
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
    let row = Row::deserialize(json).ok()?;
    if row.key != key || row.modify_index == 0 { None } else { row.into_entry() }
}

/// An entry in Consul's JSON, with only the needed fields: a listing has thousands.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Row<'a> {
    #[serde(borrow)]
    pub(super) key: Cow<'a, str>,
    #[serde(borrow, default)]
    session: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
    pub(super) modify_index: u64,
    #[serde(default)]
    lock_index: u64,
    flags: u64,
}

impl Row<'_> {
    /// The session that holds the entry.
    pub(super) fn session(&self) -> Option<SessionId> {
        self.session.as_deref().filter(|id| !id.is_empty()).map(SessionId::from)
    }

    /// The entry, if its value is readable, and its index small enough for a token: one that
    /// no token can carry would be locked and released again for ever.
    pub(super) fn into_entry(self) -> Option<Entry> {
        FencingToken::new(self.modify_index, 0)?;
        let session = self.session();
        let Self { value, modify_index, lock_index, flags, .. } = self;
        let value = match value {
            None => Vec::new(),
            Some(text) => BASE64.decode(text.as_bytes()).ok()?,
        };
        Some(Entry { session, modify_index, lock_index, flags, value })
    }
}

#[cfg(test)]
mod tests;
