//! Removes ended sessions from a semaphore's holders.

use super::{Ask, Keyspace, leave_semaphore::Left, write_right};
use crate::{
    consul::{
        answer::Answer,
        fact::{Pruned, SessionId, Trouble},
        roster::contender,
        txn::{self, Failure, MOST_OPS, Op, Outcome},
        wire::WireRequest,
    },
    key::Key,
};

/// Writes the semaphore's entry without these holders and deletes their own entries, if
/// nothing has changed since they were listed. A holder whose entry is locked stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PruneSemaphore {
    pub(crate) key: Key,
    /// The index of the semaphore's entry.
    pub(crate) index: u64,
    pub(crate) left: Left,
    /// The ended sessions, with the index of each one's unlocked entry, if it exists.
    pub(crate) ended: Vec<(SessionId, Option<u64>)>,
}

impl PruneSemaphore {
    /// The most sessions of one request. Each needs two operations, the semaphore's entry
    /// at most two.
    pub(crate) const MOST: usize = (MOST_OPS - 2) / 2;

    fn names(&self, keys: &Keyspace) -> (String, Vec<String>) {
        let lock = keys.key(&self.key);
        let ended = self.ended.iter().map(|(session, _)| contender(&lock, session)).collect();
        (lock, ended)
    }

    fn ops<'a>(&'a self, lock: &'a str, ended: &'a [String]) -> Vec<Op<'a>> {
        let mut ops = self.left.ops(lock, self.index);
        for (key, (_, index)) in ended.iter().zip(&self.ended) {
            match *index {
                // A `delete-cas` of a missing entry succeeds.
                Some(index) => ops.extend([Op::CheckIndex { key, index }, Op::Delete { key }]),
                None => ops.push(Op::CheckNotExists { key }),
            }
        }
        ops
    }
}

impl Ask for PruneSemaphore {
    type Fact = Pruned;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        let (lock, ended) = self.names(keys);
        txn::request(keys.scope(), &self.ops(&lock, &ended))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Pruned {
        let (lock, ended) = self.names(keys);
        if let Some(right) = answer.denied(&write_right(&lock)) {
            return Pruned::Denied(right);
        }
        match txn::outcome(&self.ops(&lock, &ended), answer) {
            Outcome::Done(rows) if self.left.is_shown(rows.first(), &lock, self.index) => {
                Pruned::Done
            }
            Outcome::Failed(failures) => match failures.denial() {
                Some(denial) => Pruned::Denied(denial.right(&write_right(&lock))),
                None if failures.any(&Failure::Unmet) => Pruned::Stale,
                None => Pruned::Unknown(answer.server(failures.first())),
            },
            Outcome::Done(_) | Outcome::Other => Pruned::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Pruned {
        Pruned::Unknown(trouble)
    }
}

#[cfg(test)]
mod tests;
