//! What a listing of all keys under a prefix tells.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;

use super::answer::Answer;
use crate::consul::fact::{Entry, Listed, SessionId};

/// One entry in Consul's JSON. A listing has thousands: nothing else is read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, default)]
    session: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
    modify_index: u64,
    #[serde(default)]
    lock_index: u64,
    flags: u64,
}

/// `prefix` is the full prefix that was asked for. The keys are given without
/// the first `own` bytes of it, which are the runtime's own prefix.
pub(crate) fn listed(answer: Answer<'_>, prefix: &str, own: usize) -> Listed {
    if let Some(right) = answer.denied(&format!("key:list on \"{prefix}\"")) {
        return Listed::Denied(right);
    }
    match (answer.status(), answer.index()) {
        // With a body it is somebody else's 404.
        (404, Some(index)) if answer.body().is_empty() => {
            return Listed::Found { entries: Vec::new(), index };
        }
        (200, Some(index)) => {
            if let Some(entries) = entries(answer, prefix, own, index) {
                return Listed::Found { entries, index };
            }
        }
        _ => {}
    }
    Listed::Unknown(answer.trouble())
}

/// All entries, if each is complete, lies under the prefix and is covered by the
/// index, and there is one.
fn entries(
    answer: Answer<'_>,
    prefix: &str,
    own: usize,
    index: u64,
) -> Option<Vec<(Box<str>, Entry)>> {
    let rows: Vec<Row<'_>> = serde_json::from_slice(answer.body()).ok()?;
    if rows.is_empty() {
        return None;
    }
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let sound = row.key.starts_with(prefix) && (1..=index).contains(&row.modify_index);
        let key = row.key.get(own..).filter(|_| sound)?;
        if key.starts_with(".dsync/") {
            continue;
        }
        let session = row.session.as_deref().filter(|id| !id.is_empty()).map(SessionId::from);
        let value = match &row.value {
            None => Vec::new(),
            Some(text) => BASE64.decode(text.as_bytes()).ok()?,
        };
        let (modify_index, lock_index, flags) = (row.modify_index, row.lock_index, row.flags);
        let entry = Entry { session, modify_index, lock_index, flags, value };
        entries.push((key.into(), entry));
    }
    Some(entries)
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
