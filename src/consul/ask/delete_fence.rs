//! Deletes the fence entry of a session that has ended.

use super::{Ask, Keyspace, write_right};
use crate::consul::{
    answer::Answer,
    fact::{Destroyed, SessionId, Trouble},
    txn::{self, Op, Outcome},
    wire::WireRequest,
};

/// Deletes the fence entry of a session that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeleteFence {
    pub(crate) session: SessionId,
}

impl Ask for DeleteFence {
    type Fact = Destroyed;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        txn::request(keys.scope(), &[Op::Delete { key: &keys.fence(&self.session) }])
    }

    /// Consul answers with an empty list, whether or not the entry existed.
    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Destroyed {
        let key = keys.fence(&self.session);
        if let Some(right) = answer.denied(&write_right(&key)) {
            return Destroyed::Denied(right);
        }
        match txn::outcome(&[Op::Delete { key: &key }], answer) {
            Outcome::Done(rows) if rows.is_empty() => Destroyed::Done,
            Outcome::Failed(failures) => match failures.denial() {
                Some(denial) => Destroyed::Denied(denial.right(&write_right(&key))),
                None => Destroyed::Unknown(answer.server(failures.first())),
            },
            Outcome::Done(_) | Outcome::Other => Destroyed::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Destroyed {
        Destroyed::Unknown(trouble)
    }
}

#[cfg(test)]
mod tests;
