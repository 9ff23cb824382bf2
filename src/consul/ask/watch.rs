//! Watches one key.

use std::time::Duration;

use super::{
    Ask, Keyspace,
    entry::seen,
    escaped, millis, prolonged,
    read::{by_transaction, consistent},
};
use crate::{
    consul::{
        answer::Answer,
        fact::{Seen, Trouble},
        http::Purpose,
        wire::WireRequest,
    },
    key::Key,
};

/// Reads a key over the connections for blocking reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) key: Key,
    /// Waits until the key's index passes this one, or for [`wait`](Self::wait). `None`
    /// reads at once.
    pub(crate) after: Option<u64>,
    pub(crate) wait: Duration,
}

impl Ask for Watch {
    type Fact = Seen;

    /// Never sends an index of 0 or a wait of 0: Consul treats them as absent.
    fn request(&self, keys: &Keyspace) -> WireRequest {
        let key = keys.key(&self.key);
        let Some(after) = self.after else { return consistent(&key) };
        let wait = millis(self.wait.max(Duration::from_millis(1)));
        WireRequest::blocking(format!(
            "/v1/kv/{}?index={}&wait={wait}",
            escaped(&key),
            after.max(1)
        ))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Seen {
        seen(answer, &keys.key(&self.key))
    }

    fn unanswered(&self, trouble: Trouble) -> Seen {
        Seen::Unknown(trouble)
    }

    /// A transaction does not wait, so it replaces only a read at once.
    fn otherwise(&self, keys: &Keyspace, seen: &Seen) -> Option<Box<dyn Ask<Fact = Seen>>> {
        if self.after.is_some() {
            return None;
        }
        by_transaction(keys.key(&self.key), seen)
    }

    fn limit(&self, limit: Duration) -> Duration {
        if self.after.is_some() { prolonged(self.wait, limit) } else { limit }
    }

    fn purpose(&self) -> Purpose {
        Purpose::Watch
    }
}

#[cfg(test)]
mod tests;
