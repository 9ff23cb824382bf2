//! Adds our session to a semaphore's holders.

use super::{Ask, Keyspace, lock::is_refusal, write_right};
#[cfg(test)]
use crate::mutation::Mutation;
use crate::{
    consul::{
        answer::Answer,
        fact::{Expect, Fence, Locked, SessionId, Trouble},
        roster::{SEMAPHORE_FLAGS, contender},
        row::entry_of,
        txn::{self, Failure, Failures, Op, Outcome},
        wire::WireRequest,
    },
    key::Key,
};

/// Locks our session's own entry and writes the semaphore's entry with our session in it,
/// if that entry has the expected state.
///
/// Both happen in one transaction, so a waiting session leaves nothing in Consul, and no
/// other contender finds our session without its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinSemaphore {
    pub(crate) key: Key,
    pub(crate) session: SessionId,
    pub(crate) fence: Fence,
    pub(crate) expect: Expect,
    /// The semaphore's entry with our session.
    pub(crate) roster: Vec<u8>,
    /// The value of our session's own entry.
    pub(crate) value: Vec<u8>,
}

/// The full keys of the transaction.
struct Names {
    fence: String,
    ours: String,
    lock: String,
}

impl JoinSemaphore {
    fn names(&self, keys: &Keyspace) -> Names {
        let lock = keys.key(&self.key);
        Names { fence: keys.fence(&self.session), ours: contender(&lock, &self.session), lock }
    }

    fn ops<'a>(&'a self, names: &'a Names) -> Vec<Op<'a>> {
        let (fence, key, lock) = (names.fence.as_str(), names.ours.as_str(), names.lock.as_str());
        let (flags, session) = (SEMAPHORE_FLAGS, self.session.as_str());
        let mut ops = Vec::with_capacity(3);
        match self.fence {
            Fence::Unraised => ops.push(Op::CheckNotExists { key: fence }),
            Fence::At(index) => ops.push(Op::CheckIndex { key: fence, index }),
            Fence::Unusable => {}
        }
        ops.push(Op::Lock { key, session, flags, value: &self.value });
        let index = match self.expect {
            Expect::Missing => 0,
            Expect::Index(index) => index,
        };
        #[cfg(test)]
        if Mutation::PermitCountedTwice.is_chosen() {
            ops.push(Op::Set { key: lock, flags, value: &self.roster });
            return ops;
        }
        ops.push(Op::Cas { key: lock, index, flags, value: &self.roster });
        ops
    }

    fn failed(&self, names: &Names, failures: &Failures, answer: Answer<'_>) -> Locked {
        let ours = usize::from(self.fence != Fence::Unusable);
        let at_fence = failures.at(0).filter(|_| ours == 1);
        let (at_ours, at_lock) = (failures.at(ours), failures.at(ours + 1));
        // A dead session takes precedence over other failures.
        if at_ours == Some(&Failure::SessionGone) {
            return Locked::SessionGone;
        }
        for (failure, key) in [(at_ours, &names.ours), (at_lock, &names.lock)] {
            if let Some(Failure::Denied(denial)) = failure {
                return Locked::Denied(denial.right(&write_right(key)));
            }
        }
        match at_fence {
            None => {}
            Some(Failure::Denied(denial)) => {
                return Locked::FenceDenied(denial.right(&write_right(&names.fence)));
            }
            Some(Failure::Unmet) => return Locked::Fenced,
            Some(_) => return Locked::Unknown(answer.server(failures.first())),
        }
        match (at_ours, at_lock) {
            // Only a stranger locks the entry that bears our session's name.
            (Some(Failure::Held), _) => {
                Locked::Refused(format!("another session holds {}", names.ours))
            }
            (Some(Failure::Delayed), _) => Locked::Delayed,
            (Some(Failure::Refused), _) => {
                let what = failures.text_at(ours).unwrap_or_default();
                Locked::Refused(answer.excerpt(what))
            }
            (None, Some(Failure::Unmet)) => Locked::Changed,
            _ => Locked::Unknown(answer.server(failures.first())),
        }
    }
}

impl Ask for JoinSemaphore {
    type Fact = Locked;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        txn::request(keys.scope(), &self.ops(&self.names(keys)))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Locked {
        let names = self.names(keys);
        if let Some(right) = answer.denied(&write_right(&names.lock)) {
            return Locked::Denied(right);
        }
        match txn::outcome(&self.ops(&names), answer) {
            Outcome::Done(rows) => {
                let row = |place: usize| rows.len().checked_sub(place).and_then(|at| rows.get(at));
                let ours = entry_of(row(2), &names.ours);
                let is_ours = ours.is_some_and(|it| it.session.as_ref() == Some(&self.session));
                match entry_of(row(1), &names.lock).filter(|_| is_ours) {
                    Some(entry) => Locked::At(entry.modify_index),
                    None => Locked::Unknown(answer.trouble()),
                }
            }
            Outcome::Failed(failures) => self.failed(&names, &failures, answer),
            Outcome::Other if is_refusal(answer) => Locked::Refused(answer.excerpt(&answer.text())),
            Outcome::Other => Locked::unanswered(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Locked {
        Locked::unanswered(trouble)
    }
}

#[cfg(test)]
mod tests;
