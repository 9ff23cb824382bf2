//! Writes the record beside a key that our session holds.

use super::{Ask, Keyspace, write_right};
use crate::{
    consul::{
        answer::Answer,
        fact::{Recorded, SessionId, Trouble},
        row::entry_of,
        txn::{self, Failure, Op, Outcome},
        wire::WireRequest,
    },
    key::Key,
};

/// Writes the record beside a key, if our session holds the key.
///
/// A repeated request has no effect: the index has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) session: SessionId,
    /// The index of the current record, if one exists.
    pub(crate) after: Option<u64>,
    pub(crate) value: Vec<u8>,
}

impl Record {
    fn ops<'a>(&'a self, key: &'a str, record: &'a str) -> [Op<'a>; 2] {
        let (session, value) = (self.session.as_str(), self.value.as_slice());
        let index = self.after.unwrap_or(0);
        [Op::CheckSession { key, session }, Op::Cas { key: record, index, flags: 0, value }]
    }
}

impl Ask for Record {
    type Fact = Recorded;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        txn::request(keys.scope(), &self.ops(&keys.key(&self.key), &keys.record(&self.key)))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Recorded {
        let (key, record) = (keys.key(&self.key), keys.record(&self.key));
        if let Some(right) = answer.denied(&write_right(&record)) {
            return Recorded::Denied(right);
        }
        match txn::outcome(&self.ops(&key, &record), answer) {
            Outcome::Done(rows) => {
                let held = entry_of(rows.first(), &key);
                let held = held.is_some_and(|entry| entry.session.as_ref() == Some(&self.session));
                let written = entry_of(rows.last(), &record);
                let after = self.after.unwrap_or(0);
                if held && written.is_some_and(|entry| entry.modify_index > after) {
                    return Recorded::Done;
                }
                Recorded::Unknown(answer.trouble())
            }
            Outcome::Failed(failures) => {
                if let Some(denial) = failures.denial() {
                    Recorded::Denied(denial.right(&write_right(&record)))
                } else if failures.at(0) == Some(&Failure::Unmet) {
                    Recorded::NotHeld
                } else if failures.at(1) == Some(&Failure::Unmet) {
                    Recorded::Stale
                } else {
                    Recorded::Unknown(answer.server(failures.first()))
                }
            }
            Outcome::Other => Recorded::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Recorded {
        Recorded::Unknown(trouble)
    }
}

#[cfg(test)]
mod tests;
