//! Locks all keys of a set, or none of them.

use super::{Ask, Keyspace, Lock, lock::Locks};
use crate::{
    consul::{
        answer::Answer,
        batches::MOST,
        fact::{Expect, Fence, Locked, SessionId, Trouble},
        wire::WireRequest,
    },
    key::Key,
};

/// Locks different keys for one session, under one fence: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockAll(pub(crate) Vec<Lock>);

/// The longest body of a transaction that Consul accepts by default, in bytes.
const MAX_BODY: usize = 512 * 1024;

impl LockAll {
    /// The most keys of a set: those that fit into one transaction.
    pub(crate) const MOST: usize = MOST;

    /// Whether a transaction can lock `keys` with a value of this length: its length in
    /// bytes if it is too long.
    pub(crate) fn too_long<'a>(
        prefix: Option<&str>,
        keys: impl IntoIterator<Item = &'a Key>,
        value: usize,
    ) -> Option<usize> {
        let lock = |key: &Key| Lock {
            key: key.clone(),
            // As long as any id and any number.
            session: SessionId::from("00000000-0000-0000-0000-000000000000"),
            value: vec![0; value],
            flags: u64::MAX,
            fence: Fence::At(u64::MAX),
            expect: Expect::Index(u64::MAX),
        };
        let ask = Self(keys.into_iter().map(lock).collect());
        let length = ask.request(&Keyspace::below(prefix)).body.len();
        (length > MAX_BODY).then_some(length)
    }

    fn with_all<T>(&self, then: impl FnOnce(Locks<'_>) -> T) -> T {
        let locks: Vec<&Lock> = self.0.iter().collect();
        then(Locks(&locks))
    }
}

impl Ask for LockAll {
    type Fact = Vec<Locked>;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        self.with_all(|locks| locks.request(keys))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Vec<Locked> {
        let locked = self.with_all(|locks| locks.read(keys, answer));
        // Consul refuses the transaction without a word on any of its locks.
        if locked.iter().all(Option::is_none) {
            let refused = Locked::Refused(answer.excerpt(&answer.text()));
            return vec![refused; locked.len()];
        }
        locked.into_iter().map(|locked| locked.unwrap_or(Locked::Aside)).collect()
    }

    fn unanswered(&self, trouble: Trouble) -> Vec<Locked> {
        self.0.iter().map(|_| Locked::unanswered(trouble.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
