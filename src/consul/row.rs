//! An entry of Consul's store, in Consul's JSON.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;

use super::fact::{Entry, SessionId};
use crate::token::FencingToken;

/// An entry in Consul's JSON, with only the needed fields: a listing has thousands.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Row<'a> {
    #[serde(borrow)]
    pub(super) key: Cow<'a, str>,
    #[serde(borrow)]
    session: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    pub(super) modify_index: u64,
    #[serde(default)]
    lock_index: u64,
    flags: u64,
}

/// Serde borrows no `Cow` within an `Option`.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Row<'_> {
    /// The session that holds the entry.
    pub(super) fn session(&self) -> Option<SessionId> {
        let id = self.session.as_ref().map(|Text(id)| &**id);
        id.filter(|id| !id.is_empty()).map(SessionId::from)
    }

    /// The entry, if its value is readable, and its index small enough for a token: one that
    /// no token can carry would be locked and released again for ever.
    pub(super) fn entry(&self) -> Option<Entry> {
        FencingToken::new(self.modify_index, 0)?;
        let value = match &self.value {
            None => Vec::new(),
            Some(Text(text)) => BASE64.decode(text.as_bytes()).ok()?,
        };
        let Self { modify_index, lock_index, flags, .. } = *self;
        Some(Entry { session: self.session(), modify_index, lock_index, flags, value })
    }
}

/// The complete entry of `key` in a row that is about it.
pub(super) fn entry_of(row: Option<&Row<'_>>, key: &str) -> Option<Entry> {
    row.filter(|row| row.key == key && row.modify_index > 0)?.entry()
}
