//! The entry of a semaphore, in HashiCorp's layout: below a prefix, `.lock` names the limit
//! and the holders' sessions, and each holder's session locks an entry of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fact::SessionId;
use crate::escape::{LONGEST_ERROR, shortened};

/// The flags of a semaphore's entries, as `consul lock -n` and Go's client set them.
pub(crate) const SEMAPHORE_FLAGS: u64 = 0xe0f6_9a2b_aa41_4de0;
/// The last segment of a semaphore's key.
pub(crate) const LOCK: &str = ".lock";
/// The most permits of a semaphore, so that its entry stays far below Consul's limit of
/// 512 KiB.
pub(crate) const MOST_PERMITS: u32 = 4096;
/// The longest session id that is believed.
const LONGEST_ID: usize = 64;

/// The limit and the holders of a semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roster {
    pub(crate) limit: u64,
    pub(crate) holders: BTreeSet<SessionId>,
}

/// Consul's JSON. Unknown fields are dropped, as Go's client drops them.
#[derive(Serialize, Deserialize)]
struct Body {
    #[serde(rename = "Limit")]
    limit: u64,
    /// Only the names count, as in Go's client.
    #[serde(rename = "Holders", default)]
    holders: Option<BTreeMap<String, bool>>,
}

impl Roster {
    /// A semaphore that nobody holds.
    pub(crate) fn empty(limit: u32) -> Self {
        Self { limit: limit.into(), holders: BTreeSet::new() }
    }

    /// Parses the value of an entry. `None` if it is empty: then the entry has no limit yet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(value: &[u8]) -> Result<Option<Self>, String> {
        if value.is_empty() {
            return Ok(None);
        }
        let wrong = |error: serde_json::Error| shortened(&error.to_string(), LONGEST_ERROR);
        // An object: serde would also take an array.
        let fields: Map<String, Value> = serde_json::from_slice(value).map_err(wrong)?;
        let body: Body = serde_json::from_value(Value::Object(fields)).map_err(wrong)?;
        let holders = body.holders.unwrap_or_default();
        let most = MOST_PERMITS as usize;
        if holders.len() > most {
            return Err(format!("{} holders; at most {most} are supported", holders.len()));
        }
        let is_id = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !name.is_empty() && name.len() <= LONGEST_ID && name.bytes().all(plain)
        };
        if !holders.keys().all(|name| is_id(name)) {
            return Err("a holder that is no session id".into());
        }
        let holders = holders.keys().map(|name| SessionId::from(name.as_str())).collect();
        Ok(Some(Self { limit: body.limit, holders }))
    }

    /// The value of the entry.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let holders = self.holders.iter().map(|id| (id.to_string(), true)).collect();
        let body = Body { limit: self.limit, holders: Some(holders) };
        // Only a map with keys other than text fails.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The same semaphore without these holders.
    pub(crate) fn without<'a>(&self, gone: impl IntoIterator<Item = &'a SessionId>) -> Self {
        let mut left = self.clone();
        for session in gone {
            left.holders.remove(session);
        }
        left
    }
}

/// The full key of a session's entry. `lock` is the full key of the semaphore.
pub(crate) fn contender(lock: &str, session: &SessionId) -> String {
    format!("{}{session}", lock.strip_suffix(LOCK).unwrap_or(lock))
}

#[cfg(test)]
mod tests;
