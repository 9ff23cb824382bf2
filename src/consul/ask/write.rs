//! Writes under a lock: only if our session holds the key at the expected index.

use std::sync::Arc;

use super::{Ask, Keyspace, lock::is_refusal, read_right, write_right};
#[cfg(test)]
use crate::mutation::Mutation;
use crate::{
    consul::{
        answer::Answer,
        fact::{SessionId, Trouble, Written},
        row::{Row, entry_of},
        txn::{self, Failure, Failures, Op, Outcome},
        wire::WireRequest,
    },
    key::Key,
};

/// Writes, if our session holds the key at this index.
///
/// A repeated request may write again while the ownership lasts, and writes nothing after
/// it: a later ownership has another index, even if it is by the same session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) key: Key,
    pub(crate) session: SessionId,
    pub(crate) index: u64,
    pub(crate) what: What,
}

/// The content of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The value of the locked key. A lock by its holder replaces the value and keeps the
    /// key locked.
    Value { value: Arc<[u8]>, flags: u64 },
    /// Other entries, all or none.
    Entries(Arc<[EntryOp]>),
    /// The lock itself, which passes to another session, without a lock-delay.
    PassTo { session: SessionId, value: Vec<u8>, flags: u64 },
}

/// An operation on an entry beside the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryOp {
    Put {
        key: Key,
        value: Vec<u8>,
        flags: u64,
    },
    Delete {
        key: Key,
    },
    /// Requires that the entry was last changed at this index, or that it does not exist.
    Require {
        key: Key,
        index: Option<u64>,
    },
}

/// The most entries of one write.
pub(crate) const MOST_ENTRIES: usize = txn::MOST_OPS - GUARDS;

impl EntryOp {
    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } | Self::Require { key, .. } => key,
        }
    }

    /// The bytes that it carries.
    pub(crate) fn size(&self) -> usize {
        let value = match self {
            Self::Put { value, .. } => value.len(),
            Self::Delete { .. } | Self::Require { .. } => 0,
        };
        value + self.key().as_str().len()
    }

    fn op<'a>(&'a self, key: &'a str) -> Op<'a> {
        match self {
            Self::Put { value, flags, .. } => Op::Set { key, flags: *flags, value },
            Self::Delete { .. } => Op::Delete { key },
            Self::Require { index: Some(index), .. } => Op::CheckIndex { key, index: *index },
            Self::Require { index: None, .. } => Op::CheckNotExists { key },
        }
    }
}

/// The number of operations before those of [`What`].
const GUARDS: usize = 2;

impl Write {
    /// The place of the operation that locks the key.
    fn lock_place(&self) -> Option<usize> {
        match self.what {
            What::Value { .. } => Some(GUARDS),
            What::PassTo { .. } => Some(GUARDS + 1),
            What::Entries(_) => None,
        }
    }

    fn names(&self, keys: &Keyspace) -> (String, Vec<String>) {
        let others = match &self.what {
            What::Value { .. } | What::PassTo { .. } => Vec::new(),
            What::Entries(ops) => ops.iter().map(|op| keys.key(op.key())).collect(),
        };
        (keys.key(&self.key), others)
    }

    fn ops<'a>(&'a self, key: &'a str, others: &'a [String]) -> Vec<Op<'a>> {
        let session = self.session.as_str();
        let at_index = Op::CheckIndex { key, index: self.index };
        #[cfg(test)]
        let at_index = if Mutation::WriteUnfenced.is_chosen() {
            Op::CheckSession { key, session }
        } else {
            at_index
        };
        let mut ops = vec![Op::CheckSession { key, session }, at_index];
        match &self.what {
            What::Value { value, flags } => {
                ops.push(Op::Lock { key, session, flags: *flags, value });
            }
            What::PassTo { session: to, value, flags } => {
                let flags = *flags;
                // The lock writes the value: twice, a long one would exceed Consul's limit.
                ops.push(Op::Unlock { key, session, flags, value: &[] });
                ops.push(Op::Lock { key, session: to.as_str(), flags, value });
            }
            What::Entries(entries) => {
                ops.extend(entries.iter().zip(others).map(|(entry, key)| entry.op(key)));
            }
        }
        ops
    }

    fn failed(
        &self,
        (key, others): (&str, &[String]),
        failures: &Failures,
        answer: Answer<'_>,
    ) -> Written {
        let unclear = || Written::Unknown(answer.server(failures.first()));
        for place in 0..GUARDS + others.len().max(2) {
            if let Some(Failure::Denied(denial)) = failures.at(place) {
                let right = match place.checked_sub(GUARDS) {
                    None => read_right(key),
                    Some(place) => write_right(others.get(place).map_or(key, String::as_str)),
                };
                return Written::Denied(denial.right(&right));
            }
        }
        match failures.at(0) {
            Some(Failure::Unmet) => return Written::NotHeld,
            Some(_) => return unclear(),
            None => {}
        }
        match (failures.at(1), failures.text_at(1).and_then(txn::current_index)) {
            (Some(Failure::Unmet), Some(index)) => return Written::Moved(index),
            (Some(_), _) => return unclear(),
            (None, _) => {}
        }
        let entries = || match &self.what {
            What::Value { .. } | What::PassTo { .. } => &[],
            What::Entries(entries) => &entries[..],
        };
        let lock = self.lock_place().and_then(|place| failures.at(place));
        let unmet = (GUARDS..).zip(entries()).find(|(op, _)| failures.at(*op).is_some());
        match unmet {
            None if lock == Some(&Failure::Delayed) => {
                // A restarted server may begin an old lock-delay anew.
                Written::Failed(answer.server(failures.first()))
            }
            Some((op, entry)) if failures.at(op) == Some(&Failure::Unmet) => {
                Written::Conflict(entry.key().clone())
            }
            _ => unclear(),
        }
    }
}

impl Ask for Write {
    type Fact = Written;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        let (key, others) = self.names(keys);
        txn::request(keys.scope(), &self.ops(&key, &others))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Written {
        let (key, others) = self.names(keys);
        if let Some(right) = answer.denied(&write_right(&key)) {
            return Written::Denied(right);
        }
        match txn::outcome(&self.ops(&key, &others), answer) {
            Outcome::Done(rows) => {
                let held = |row: Option<&Row<'_>>, by: &SessionId| {
                    entry_of(row, &key).filter(|entry| entry.session.as_ref() == Some(by))
                };
                let ours = &self.session;
                let after = match (&self.what, self.lock_place()) {
                    (_, Some(place)) if rows.len() != place + 1 => None,
                    (What::PassTo { session, .. }, _) => held(rows.last(), session),
                    (What::Value { .. }, _) => held(rows.last(), ours),
                    (What::Entries(_), _) => held(rows.get(GUARDS - 1), ours),
                };
                match (held(rows.first(), ours), after) {
                    (Some(_), Some(entry)) => Written::Done { index: entry.modify_index },
                    _ => Written::Unknown(answer.trouble()),
                }
            }
            Outcome::Failed(failures) => self.failed((&key, &others), &failures, answer),
            Outcome::Other if is_refusal(answer) => {
                Written::Refused(answer.excerpt(&answer.text()))
            }
            Outcome::Other => Written::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Written {
        match trouble {
            Trouble::Connect(_) | Trouble::Refused(_) => Written::Failed(trouble),
            _ => Written::Unknown(trouble),
        }
    }
}

#[cfg(test)]
mod tests;
