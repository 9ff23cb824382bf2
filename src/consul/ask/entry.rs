//! Parses the reply to a read of one entry.

use super::read_right;
use crate::consul::{
    answer::Answer,
    fact::{Entry, Seen},
    row::{Row, entry_of},
};

/// Parses the reply to a read of one full key.
pub(super) fn seen(answer: Answer<'_>, key: &str) -> Seen {
    if let Some(right) = answer.denied(&read_right(key)) {
        return Seen::Denied(right);
    }
    if let Some(why) = answer.name_refused(key) {
        return Seen::NameRefused(why);
    }
    match (answer.status(), answer.index()) {
        // A 404 with a body is not Consul's.
        (404, Some(index)) if answer.body().is_empty() => return Seen::Missing { index },
        (200, Some(index)) => {
            if let Some(entry) = only_entry(answer, key) {
                return Seen::Found { entry, index };
            }
        }
        _ => {}
    }
    Seen::Unknown(answer.trouble())
}

fn only_entry(answer: Answer<'_>, key: &str) -> Option<Entry> {
    let [row] = answer.json::<[Row<'_>; 1]>()?;
    entry_of(Some(&row), key)
}

#[cfg(test)]
mod tests;
