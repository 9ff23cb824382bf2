//! Reads one entry consistently.

use super::{Ask, Keyspace, entry::seen, escaped, get::Get};
use crate::{
    consul::{
        answer::Answer,
        fact::{Seen, SessionId, Trouble},
        wire::WireRequest,
    },
    key::Key,
};

/// Reads one entry consistently: Consul's leader answers, and an isolated leader does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Key(Key),
    /// The fence entry of a session. [`Seen::Missing`] means that the fence is
    /// unraised.
    Fence(SessionId),
    /// The record beside a key.
    Record(Key),
}

impl Read {
    fn full(&self, keys: &Keyspace) -> String {
        match self {
            Self::Key(key) => keys.key(key),
            Self::Fence(session) => keys.fence(session),
            Self::Record(key) => keys.record(key),
        }
    }
}

impl Ask for Read {
    type Fact = Seen;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        consistent(&self.full(keys))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Seen {
        seen(answer, &self.full(keys))
    }

    fn unanswered(&self, trouble: Trouble) -> Seen {
        Seen::Unknown(trouble)
    }

    fn otherwise(&self, keys: &Keyspace, seen: &Seen) -> Option<Box<dyn Ask<Fact = Seen>>> {
        by_transaction(self.full(keys), seen)
    }
}

/// The read of a full key by transaction, if its name was refused in a path.
pub(super) fn by_transaction(key: String, seen: &Seen) -> Option<Box<dyn Ask<Fact = Seen>>> {
    matches!(seen, Seen::NameRefused(_)).then(|| Box::new(Get { key }) as _)
}

/// Reads a full key without waiting.
pub(super) fn consistent(key: &str) -> WireRequest {
    WireRequest::get(format!("/v1/kv/{}?consistent", escaped(key)))
}

#[cfg(test)]
mod tests;
