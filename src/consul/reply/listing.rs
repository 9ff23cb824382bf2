//! What a listing of all keys under a prefix tells.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;

use super::answer::Answer;
use crate::consul::fact::{Entry, Listed, SessionId, StaleFences};

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

/// The fence entries that no session locks, of a listing of everything under
/// `prefix`. Records of periodic jobs, and what anybody else put there, are none.
pub(crate) fn stale_fences(answer: Answer<'_>, prefix: &str) -> StaleFences {
    if let Some(right) = answer.denied(&format!("key:list on \"{prefix}\"")) {
        return StaleFences::Denied(right);
    }
    if answer.status() == 404 && answer.body().is_empty() {
        return StaleFences::Found(Vec::new());
    }
    let rows = (answer.status() == 200).then(|| serde_json::from_slice(answer.body()));
    let Some(Ok(rows)) = rows else { return StaleFences::Unknown(answer.trouble()) };
    let stale = |row: Row<'_>| {
        let is_unlocked = row.session.is_none_or(|id| id.is_empty());
        let name = row.key.strip_prefix(prefix).filter(|name| is_unlocked && is_uuid(name))?;
        Some((SessionId::from(name), row.modify_index))
    };
    let rows: Vec<Row<'_>> = rows;
    StaleFences::Found(rows.into_iter().filter_map(stale).collect())
}

fn is_uuid(name: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    let fits = |(at, byte): (usize, u8)| {
        if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
    };
    name.len() == 36 && name.bytes().enumerate().all(fits)
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
