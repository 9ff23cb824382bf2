//! Releases a key, if our session holds it at the expected index.

use super::{Ask, Keyspace, write_right};
#[cfg(test)]
use crate::mutation::Mutation;
use crate::{
    consul::{
        answer::Answer,
        fact::{Released, SessionId, Trouble},
        row::entry_of,
        txn::{self, Failure, Op, Outcome},
        wire::WireRequest,
    },
    key::Key,
};

/// Releases a key, if our session holds it at this index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) key: Key,
    pub(crate) session: SessionId,
    pub(crate) index: u64,
    pub(crate) how: ReleaseHow,
}

/// Whether a release deletes the key or keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReleaseHow {
    Delete,
    Keep { value: Vec<u8>, flags: u64 },
}

impl Release {
    fn ops<'a>(&'a self, key: &'a str) -> Vec<Op<'a>> {
        let session = self.session.as_str();
        let ours = Op::CheckSession { key, session };
        #[cfg(test)]
        if Mutation::ReleaseUnfenced.is_chosen() {
            return match self.how {
                ReleaseHow::Delete => vec![ours, Op::Delete { key }],
                ReleaseHow::Keep { .. } => {
                    vec![ours, Op::Unlock { key, session, flags: 0, value: &[] }]
                }
            };
        }
        let index = self.index;
        match &self.how {
            ReleaseHow::Delete => vec![ours, Op::DeleteCas { key, index }],
            ReleaseHow::Keep { value, flags } => vec![
                ours,
                Op::CheckIndex { key, index },
                Op::Unlock { key, session, flags: *flags, value },
            ],
        }
    }
}

impl Ask for Release {
    type Fact = Released;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        txn::request(keys.scope(), &self.ops(&keys.key(&self.key)))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Released {
        let key = keys.key(&self.key);
        if let Some(right) = answer.denied(&write_right(&key)) {
            return Released::Denied(right);
        }
        match txn::outcome(&self.ops(&key), answer) {
            Outcome::Done(rows) => {
                // The first row shows the entry before the release.
                let was = entry_of(rows.first(), &key);
                let was_ours =
                    was.is_some_and(|entry| entry.session.as_ref() == Some(&self.session));
                let is_free =
                    || entry_of(rows.last(), &key).is_some_and(|entry| entry.session.is_none());
                if was_ours && (self.how == ReleaseHow::Delete || is_free()) {
                    return Released::Done;
                }
                Released::Unknown(answer.trouble())
            }
            Outcome::Failed(failures) => match failures.denial() {
                Some(denial) => Released::Denied(denial.right(&write_right(&key))),
                None if failures.any(&Failure::Unmet) => Released::FenceFailed,
                None => Released::Unknown(answer.server(failures.first())),
            },
            Outcome::Other => Released::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Released {
        Released::Unknown(trouble)
    }
}

#[cfg(test)]
mod tests;
