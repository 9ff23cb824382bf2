//! Locks keys, each only if it has the expected state.

use super::{Ask, Keyspace, write_right};
#[cfg(test)]
use crate::mutation::Mutation;
use crate::{
    consul::{
        answer::Answer,
        fact::{Expect, Fence, Locked, SessionId, Trouble},
        row::{Row, entry_of},
        txn::{self, Failure, Failures, Op, Outcome},
        wire::WireRequest,
        words::{
            Part::{Is, Number, QuotesAny},
            begins, reads,
        },
    },
    key::Key,
};

/// Locks a key in a transaction of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) key: Key,
    pub(crate) session: SessionId,
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u64,
    pub(crate) fence: Fence,
    pub(crate) expect: Expect,
}

impl Ask for Lock {
    type Fact = Locked;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        Locks(&[self]).request(keys)
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Locked {
        let locked = Locks(&[self]).read(keys, answer).pop().flatten();
        locked.unwrap_or_else(|| Locked::Unknown(answer.trouble()))
    }

    fn unanswered(&self, trouble: Trouble) -> Locked {
        Locked::unanswered(trouble)
    }
}

/// Locks different keys for one session, under one fence, in one transaction.
///
/// The answer has the result of each lock, as if it had been sent alone. `None` means that
/// it failed only because another lock failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Locks<'a>(pub(crate) &'a [&'a Lock]);

/// The full keys of a transaction.
struct Names {
    fence: String,
    keys: Vec<String>,
}

impl Locks<'_> {
    fn fence(self) -> Fence {
        self.0.first().map_or(Fence::Unusable, |ask| ask.fence)
    }

    fn names(self, keys: &Keyspace) -> Names {
        let fence = self.0.first().map(|ask| keys.fence(&ask.session)).unwrap_or_default();
        Names { fence, keys: self.0.iter().map(|ask| keys.key(&ask.key)).collect() }
    }

    /// The check of the fence, if usable, and two operations per lock.
    fn ops<'a>(self, names: &'a Names) -> Vec<Op<'a>>
    where
        Self: 'a,
    {
        let mut ops = Vec::with_capacity(1 + 2 * self.0.len());
        let fence = names.fence.as_str();
        match self.fence() {
            Fence::Unraised => ops.push(Op::CheckNotExists { key: fence }),
            Fence::At(index) => ops.push(Op::CheckIndex { key: fence, index }),
            Fence::Unusable => {}
        }
        for (key, ask) in names.keys.iter().zip(self.0) {
            ops.push(match ask.expect {
                Expect::Missing => Op::CheckNotExists { key },
                Expect::Index(index) => Op::CheckIndex { key, index },
            });
            let (session, value) = (ask.session.as_str(), ask.value.as_slice());
            ops.push(Op::Lock { key, session, flags: ask.flags, value });
        }
        ops
    }

    /// Returns the result of the lock at this place in the transaction.
    fn locked(
        self,
        names: &Names,
        outcome: &Outcome<'_>,
        answer: Answer<'_>,
        place: usize,
    ) -> Option<Locked> {
        let key = names.keys[place].as_str();
        if let Some(right) = answer.denied(&write_right(key)) {
            return Some(Locked::Denied(right));
        }
        match outcome {
            Outcome::Done(rows) => {
                let index = self.index(rows, place, key);
                Some(index.map_or_else(|| Locked::Unknown(answer.trouble()), Locked::At))
            }
            Outcome::Failed(failures) => self.not_locked(names, failures, answer, place),
            // Consul does not say which of several locks is at fault.
            Outcome::Other if is_refusal(answer) => {
                (self.0.len() == 1).then(|| Locked::Refused(answer.excerpt(&answer.text())))
            }
            Outcome::Other => Some(Locked::unanswered(answer.trouble())),
        }
    }

    /// Returns the index in the key's last row, if that row shows our session as the
    /// holder. The last lock's row is the last of all.
    fn index(self, rows: &[Row<'_>], place: usize, key: &str) -> Option<u64> {
        let row = if place + 1 == self.0.len() {
            rows.last()
        } else {
            rows.iter().rev().find(|row| row.key == key)
        };
        let entry = entry_of(row, key)?;
        if entry.session.as_ref() != Some(&self.0[place].session) {
            return None;
        }
        #[cfg(test)]
        if Mutation::TokenFromLockIndex.is_chosen() {
            return Some(entry.lock_index);
        }
        Some(entry.modify_index)
    }

    fn not_locked(
        self,
        names: &Names,
        failures: &Failures,
        answer: Answer<'_>,
        place: usize,
    ) -> Option<Locked> {
        let first = usize::from(self.fence() != Fence::Unusable);
        let at_fence = failures.at(0).filter(|_| first == 1);
        let key_op = first + 2 * place;
        let (at_key, at_lock) = (failures.at(key_op), failures.at(key_op + 1));

        // A dead session takes precedence over other failures.
        if at_lock == Some(&Failure::SessionGone) {
            return Some(Locked::SessionGone);
        }
        for failure in [at_lock, at_key].into_iter().flatten() {
            if let Failure::Denied(denial) = failure {
                return Some(Locked::Denied(denial.right(&write_right(&names.keys[place]))));
            }
        }
        let unclear = || Some(Locked::Unknown(answer.server(failures.first())));
        match at_fence {
            None => {}
            Some(Failure::Denied(denial)) => {
                return Some(Locked::FenceDenied(denial.right(&write_right(&names.fence))));
            }
            Some(Failure::Unmet) => return Some(Locked::Fenced),
            Some(_) => return unclear(),
        }
        if at_key == Some(&Failure::Unmet) {
            return Some(Locked::Changed);
        }
        match at_lock {
            Some(Failure::Held) => Some(Locked::Held),
            Some(Failure::Delayed) => Some(Locked::Delayed),
            Some(Failure::Refused) => {
                let what = failures.text_at(key_op + 1).unwrap_or_default();
                Some(Locked::Refused(answer.excerpt(what)))
            }
            None if at_key.is_none() && failures.all_in(first..first + 2 * self.0.len()) => None,
            _ => unclear(),
        }
    }
}

impl Ask for Locks<'_> {
    type Fact = Vec<Option<Locked>>;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        txn::request(keys.scope(), &self.ops(&self.names(keys)))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Self::Fact {
        let names = self.names(keys);
        let outcome = txn::outcome(&self.ops(&names), answer);
        (0..self.0.len()).map(|place| self.locked(&names, &outcome, answer, place)).collect()
    }

    fn unanswered(&self, trouble: Trouble) -> Self::Fact {
        self.0.iter().map(|_| Some(Locked::unanswered(trouble.clone()))).collect()
    }
}

/// Whether Consul rejected the request before it processed it, and always would.
pub(super) fn is_refusal(answer: Answer<'_>) -> bool {
    let text = answer.text();
    match answer.status() {
        400 => begins(&text, &[Is("Failed to parse body: ")]),
        413 => {
            let too_long = Is(" bytes) too large, max size: ");
            let rest = Is(" bytes.");
            begins(&text, &[Is("Request body("), Number, too_long, Number, rest])
                || reads(
                    &text,
                    &[
                        Is("Transaction contains too many operations ("),
                        Number,
                        Is(" > "),
                        Number,
                        Is(")"),
                    ],
                )
                || begins(
                    &text,
                    &[
                        Is("Value for key "),
                        QuotesAny,
                        Is(" is too large ("),
                        Number,
                        Is(" > "),
                        Number,
                        Is(" bytes)"),
                    ],
                )
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
