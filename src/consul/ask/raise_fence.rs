//! Raises the fence entry of a session.

use super::{Ask, Keyspace, write_right};
use crate::consul::{
    answer::Answer,
    fact::{Fence, Raised, SessionId, Trouble},
    row::entry_of,
    txn::{self, Failure, Op, Outcome},
    wire::WireRequest,
};

/// Makes every lock of the session that was sent with the fence `from` fail, whenever it
/// arrives. An unusable fence is raised as if it were unraised.
///
/// The session locks its fence entry. A late raise therefore fails once the session has
/// ended, and an entry without a session is no longer needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaiseFence {
    pub(crate) session: SessionId,
    pub(crate) from: Fence,
}

impl RaiseFence {
    /// The index that the raise replaces; 0 for a new entry.
    fn replaces(&self) -> u64 {
        match self.from {
            Fence::At(index) => index,
            Fence::Unraised | Fence::Unusable => 0,
        }
    }

    fn ops<'a>(&'a self, key: &'a str, value: &'a str) -> [Op<'a>; 2] {
        let check = match self.from {
            Fence::At(index) => Op::CheckIndex { key, index },
            Fence::Unraised | Fence::Unusable => Op::CheckNotExists { key },
        };
        let (session, value) = (self.session.as_str(), value.as_bytes());
        [check, Op::Lock { key, session, flags: 0, value }]
    }

    /// Each raise writes another value. Consul does not change the index of an entry whose
    /// content stays the same, so an equal value would not raise the fence.
    fn value(&self) -> String {
        self.replaces().to_string()
    }
}

impl Ask for RaiseFence {
    type Fact = Raised;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        txn::request(keys.scope(), &self.ops(&keys.fence(&self.session), &self.value()))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Raised {
        let (key, value) = (keys.fence(&self.session), self.value());
        if let Some(right) = answer.denied(&write_right(&key)) {
            return Raised::Denied(right);
        }
        match txn::outcome(&self.ops(&key, &value), answer) {
            Outcome::Done(rows) => match entry_of(rows.last(), &key) {
                // Without a larger index, earlier attempts are not void.
                Some(entry)
                    if entry.session.as_ref() == Some(&self.session)
                        && entry.modify_index > self.replaces() =>
                {
                    Raised::At(entry.modify_index)
                }
                _ => Raised::Unknown(answer.trouble()),
            },
            Outcome::Failed(failures) => match failures.denial() {
                Some(denial) => Raised::Denied(denial.right(&write_right(&key))),
                None if failures.any(&Failure::Unmet) => Raised::Stale,
                None => Raised::Unknown(answer.server(failures.first())),
            },
            Outcome::Other => Raised::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Raised {
        Raised::Unknown(trouble)
    }
}

#[cfg(test)]
mod tests;
