//! The record of a periodic job's last turn, beside the job's key.

use serde::{Deserialize, Serialize};

use super::fact::{Seen, SessionId};
use crate::{
    error::Error,
    escape::{LONGEST_ERROR, shortened},
    key::Key,
    token::FencingToken,
};

/// The record as stored in Consul.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TurnRecord {
    /// When the next turn may begin, in milliseconds since 1970.
    pub(crate) next: u64,
    pub(crate) session: String,
    pub(crate) token: FencingToken,
    pub(crate) attempt: u64,
}

/// A recorded turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastTurn {
    /// The record's `ModifyIndex`.
    pub(crate) index: u64,
    /// When the next one may begin, in milliseconds since 1970.
    pub(crate) next: u64,
    /// The attempt that wrote it, if that attempt belongs to the current session.
    pub(crate) own: Option<u64>,
}

impl TurnRecord {
    /// The value of the entry.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl LastTurn {
    /// The turn that the read entry records, if there is one. `session` is the current one.
    ///
    /// # Errors
    /// Those of the read; [`Error::Invalid`] if the entry is no record.
    pub(crate) fn of(
        key: &Key,
        seen: Seen,
        session: Option<&SessionId>,
    ) -> Result<Option<Self>, Error> {
        let Some(entry) = seen.into_entry(key)? else { return Ok(None) };
        let record: TurnRecord = serde_json::from_slice(&entry.value).map_err(|error| {
            let error = shortened(&error.to_string(), LONGEST_ERROR);
            let why = format!("holds no record of a job's turns ({error}); delete it");
            Error::Invalid { field: "the key's entry below .dsync/every", why }
        })?;
        let ours = session.is_some_and(|session| session.as_str() == record.session);
        let own = ours.then_some(record.attempt);
        Ok(Some(Self { index: entry.modify_index, next: record.next, own }))
    }
}

#[cfg(test)]
mod tests;
