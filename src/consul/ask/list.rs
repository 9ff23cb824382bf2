//! Lists all entries under a prefix.

use std::{sync::Arc, time::Duration};

use super::{Ask, Keyspace, escaped, get::GetTree, is_reserved, millis, prolonged};
use crate::consul::{
    answer::Answer,
    fact::{Entry, Listed, Trouble},
    http::Purpose,
    row::Row,
    wire::WireRequest,
};

/// Lists all entries whose keys, relative to the runtime's prefix, begin with a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) prefix: Arc<str>,
    /// Waits until the index of the prefix passes this one, or for
    /// [`wait`](Self::wait). `None` reads at once, consistently.
    pub(crate) after: Option<u64>,
    pub(crate) wait: Duration,
}

impl List {
    fn full(&self, keys: &Keyspace) -> String {
        format!("{}{}", keys.prefix, self.prefix)
    }
}

impl Ask for List {
    type Fact = Listed;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        let prefix = escaped(&self.full(keys));
        let wait = millis(self.wait.max(Duration::from_millis(1)));
        match self.after {
            Some(index) => WireRequest::blocking(format!(
                "/v1/kv/{prefix}?recurse&index={}&wait={wait}",
                index.max(1)
            )),
            None => WireRequest::get(format!("/v1/kv/{prefix}?recurse&consistent")),
        }
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Listed {
        let prefix = self.full(keys);
        if let Some(right) = answer.denied(&format!("key:list on \"{prefix}\"")) {
            return Listed::Denied(right);
        }
        if let Some(why) = answer.name_refused(&prefix) {
            return Listed::NameRefused(why);
        }
        match (answer.status(), answer.index()) {
            // A 404 with a body is not Consul's.
            (404, Some(index)) if answer.body().is_empty() => {
                return Listed::Found { entries: Vec::new(), index };
            }
            (200, Some(index)) => {
                if let Some(entries) = entries(answer, &prefix, keys.prefix.len(), index) {
                    return Listed::Found { entries, index };
                }
            }
            _ => {}
        }
        Listed::Unknown(answer.trouble())
    }

    fn unanswered(&self, trouble: Trouble) -> Listed {
        Listed::Unknown(trouble)
    }

    fn limit(&self, limit: Duration) -> Duration {
        if self.after.is_some() { prolonged(self.wait, limit) } else { limit }
    }

    fn purpose(&self) -> Purpose {
        Purpose::List
    }
}

/// Lists all entries under a prefix at once, by transaction if Consul, or a proxy before it,
/// refuses the prefix in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListNow {
    pub(crate) prefix: Arc<str>,
}

impl ListNow {
    fn in_a_path(&self) -> List {
        List { prefix: self.prefix.clone(), after: None, wait: Duration::ZERO }
    }
}

impl Ask for ListNow {
    type Fact = Listed;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        self.in_a_path().request(keys)
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Listed {
        self.in_a_path().read(keys, answer)
    }

    fn unanswered(&self, trouble: Trouble) -> Listed {
        Listed::Unknown(trouble)
    }

    fn otherwise(&self, _: &Keyspace, listed: &Listed) -> Option<Box<dyn Ask<Fact = Listed>>> {
        let prefix = self.prefix.clone();
        matches!(listed, Listed::NameRefused(_)).then(|| Box::new(GetTree { prefix }) as _)
    }

    fn purpose(&self) -> Purpose {
        Purpose::List
    }
}

/// Parses a non-empty list whose entries are complete, lie under `prefix` and are covered
/// by `index`. Keys are returned without their first `own` bytes, the runtime's prefix.
fn entries(
    answer: Answer<'_>,
    prefix: &str,
    own: usize,
    index: u64,
) -> Option<Vec<(Box<str>, Entry)>> {
    let rows: Vec<Row<'_>> = answer.json()?;
    if rows.is_empty() {
        return None;
    }
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let sound = row.key.starts_with(prefix) && (1..=index).contains(&row.modify_index);
        let key = row.key.get(own..).filter(|_| sound)?;
        if is_reserved(key) {
            continue;
        }
        let key = key.into();
        entries.push((key, row.entry()?));
    }
    Some(entries)
}

#[cfg(test)]
mod tests;
