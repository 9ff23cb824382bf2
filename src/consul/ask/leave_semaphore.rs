//! Removes our session from a semaphore's holders.

use super::{Ask, Keyspace, write_right};
use crate::{
    consul::{
        answer::Answer,
        fact::{Released, SessionId, Trouble},
        roster::{SEMAPHORE_FLAGS, contender},
        row::{Row, entry_of},
        txn::{self, Failure, Op, Outcome},
        wire::WireRequest,
    },
    key::Key,
};

/// Writes the semaphore's entry without our session and deletes our session's own entry,
/// if the semaphore's entry was last changed at this index and our session lives.
///
/// A later grant to the same session has another index, so a late copy never takes it away.
/// In an emptied or restored store, the semaphore's entry can have the index again, with other
/// holders. Our session's own entry then is missing, or has another index, unless the store is
/// a snapshot that contains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaveSemaphore {
    pub(crate) key: Key,
    pub(crate) session: SessionId,
    /// The index of the semaphore's entry.
    pub(crate) index: u64,
    /// The index of our session's own entry, if it is known.
    pub(crate) own: Option<u64>,
    pub(crate) left: Left,
}

/// What becomes of the semaphore's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It gets this value.
    Roster(Vec<u8>),
    /// It is deleted: nobody holds a permit.
    Nothing,
}

impl Left {
    /// The operations on the semaphore's entry, which was last changed at `index`.
    pub(super) fn ops<'a>(&'a self, key: &'a str, index: u64) -> Vec<Op<'a>> {
        match self {
            Self::Roster(value) => vec![Op::Cas { key, index, flags: SEMAPHORE_FLAGS, value }],
            // A `delete-cas` of a missing entry succeeds.
            Self::Nothing => vec![Op::CheckIndex { key, index }, Op::Delete { key }],
        }
    }

    /// Whether the first row of the results shows that the operations took effect.
    pub(super) fn is_shown(&self, row: Option<&Row<'_>>, key: &str, index: u64) -> bool {
        let shown = entry_of(row, key).map(|entry| entry.modify_index);
        match self {
            Self::Roster(_) => shown.is_some_and(|shown| shown > index),
            Self::Nothing => shown == Some(index),
        }
    }
}

impl LeaveSemaphore {
    fn names(&self, keys: &Keyspace) -> (String, String) {
        let lock = keys.key(&self.key);
        let ours = contender(&lock, &self.session);
        (lock, ours)
    }

    fn ops<'a>(&'a self, lock: &'a str, ours: &'a str) -> Vec<Op<'a>> {
        let mut ops = self.left.ops(lock, self.index);
        ops.push(match self.own {
            Some(index) => Op::CheckIndex { key: ours, index },
            // Our own entry may be missing or unlocked, but only a session that lives can lock it.
            None => {
                let (session, flags) = (self.session.as_str(), SEMAPHORE_FLAGS);
                Op::Lock { key: ours, session, flags, value: &[] }
            }
        });
        ops.push(Op::Delete { key: ours });
        ops
    }
}

impl Ask for LeaveSemaphore {
    type Fact = Released;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        let (lock, ours) = self.names(keys);
        txn::request(keys.scope(), &self.ops(&lock, &ours))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Released {
        let (lock, ours) = self.names(keys);
        if let Some(right) = answer.denied(&write_right(&lock)) {
            return Released::Denied(right);
        }
        let unmet = [Failure::Unmet, Failure::SessionGone, Failure::Held];
        match txn::outcome(&self.ops(&lock, &ours), answer) {
            Outcome::Done(rows) if self.left.is_shown(rows.first(), &lock, self.index) => {
                Released::Done
            }
            Outcome::Failed(failures) => match failures.denial() {
                Some(denial) => Released::Denied(denial.right(&write_right(&lock))),
                None if unmet.iter().any(|failure| failures.any(failure)) => Released::FenceFailed,
                None => Released::Unknown(answer.server(failures.first())),
            },
            Outcome::Done(_) | Outcome::Other => Released::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Released {
        Released::Unknown(trouble)
    }
}

#[cfg(test)]
mod tests;
