//! Reads by transaction. The name is in the body, where servers and proxies accept names that
//! they refuse in a path.

use std::sync::Arc;

use super::{Ask, Keyspace, is_reserved, read_right};
use crate::consul::{
    answer::Answer,
    fact::{Entry, Listed, Seen, Trouble},
    http::Purpose,
    row::{Row, entry_of},
    txn::{self, Failure, Op, Outcome},
    wire::WireRequest,
};

/// Reads one full key consistently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Get {
    pub(super) key: String,
}

impl Get {
    fn ops(&self) -> [Op<'_>; 1] {
        [Op::Get { key: &self.key }]
    }
}

impl Ask for Get {
    type Fact = Seen;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        txn::reading(keys.scope(), &self.ops())
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> Seen {
        let right = read_right(&self.key);
        if let Some(right) = answer.denied(&right) {
            return Seen::Denied(right);
        }
        if let Some(why) = answer.name_refused_in_transaction() {
            return Seen::NameRefused(why);
        }
        match txn::outcome(&self.ops(), answer) {
            // Consul omits what the token may not read.
            Outcome::Done(rows) if rows.is_empty() => return Seen::Denied(right),
            Outcome::Done(rows) => {
                if let [row] = &*rows
                    && let Some(entry) = entry_of(Some(row), &self.key)
                {
                    let index = entry.modify_index;
                    return Seen::Found { entry, index };
                }
            }
            Outcome::Failed(failures) => match failures.at(0) {
                Some(Failure::Unmet) => return Seen::Missing { index: u64::MAX },
                Some(Failure::Denied(denial)) => return Seen::Denied(denial.right(&right)),
                _ => {}
            },
            Outcome::Other => {}
        }
        Seen::Unknown(answer.trouble())
    }

    fn unanswered(&self, trouble: Trouble) -> Seen {
        Seen::Unknown(trouble)
    }
}

/// Lists all entries whose keys, relative to the runtime's prefix, begin with a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GetTree {
    pub(crate) prefix: Arc<str>,
}

impl Ask for GetTree {
    type Fact = Listed;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        let prefix = format!("{}{}", keys.prefix, self.prefix);
        txn::reading(keys.scope(), &[Op::GetTree { prefix: &prefix }])
    }

    fn purpose(&self) -> Purpose {
        Purpose::List
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Listed {
        let prefix = format!("{}{}", keys.prefix, self.prefix);
        let right = format!("key:list on \"{prefix}\"");
        if let Some(right) = answer.denied(&right) {
            return Listed::Denied(right);
        }
        if let Some(why) = answer.name_refused_in_transaction() {
            return Listed::NameRefused(why);
        }
        match txn::outcome(&[Op::GetTree { prefix: &prefix }], answer) {
            Outcome::Done(rows) => {
                if let Some(entries) = entries(&rows, &prefix, keys.prefix.len()) {
                    let index = entries.iter().map(|(_, entry)| entry.modify_index).max();
                    return Listed::Found { entries, index: index.unwrap_or(1) };
                }
            }
            Outcome::Failed(failures) => {
                if let Some(denial) = failures.denial() {
                    return Listed::Denied(denial.right(&right));
                }
            }
            Outcome::Other => {}
        }
        Listed::Unknown(answer.trouble())
    }

    fn unanswered(&self, trouble: Trouble) -> Listed {
        Listed::Unknown(trouble)
    }
}

/// Parses complete entries under `prefix`. Keys are returned without their first `own`
/// bytes, the runtime's prefix.
fn entries(rows: &[Row<'_>], prefix: &str, own: usize) -> Option<Vec<(Box<str>, Entry)>> {
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let key = row.key.get(own..).filter(|_| row.key.starts_with(prefix))?;
        let entry = entry_of(Some(row), &row.key)?;
        if !is_reserved(key) {
            entries.push((key.into(), entry));
        }
    }
    Some(entries)
}

#[cfg(test)]
mod tests;
