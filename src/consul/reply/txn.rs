//! What a transaction's reply tells.
//!
//! Consul does all of a transaction or nothing, and when it does nothing it
//! lists an error for every operation that fails, not only for the first.

use std::ops::Range;

use serde_json::Value;

use super::{
    answer::{Answer, missing_right},
    key::entry,
};
use crate::consul::{
    fact::{Destroyed, Entry, Fence, Locked, Raised, Recorded, Released, SessionId},
    request::raised_from,
};
#[cfg(test)]
use crate::protocol::mutation::Mutation;

/// The operations that failed, in Consul's words.
struct Errors(Vec<(u64, String)>);

impl Errors {
    fn at(&self, op: u64) -> Option<&str> {
        self.0.iter().find(|(at, _)| *at == op).map(|(_, what)| what.as_str())
    }

    fn any(&self, words: &[&str]) -> Option<&str> {
        self.0.iter().map(|(_, what)| what.as_str()).find(|what| has(what, words))
    }

    /// Whether each is of one of those operations.
    fn all_in(&self, ops: Range<u64>) -> bool {
        self.0.iter().all(|(at, _)| ops.contains(at))
    }

    fn first(&self) -> &str {
        self.0.first().map_or("", |(_, what)| what)
    }
}

const DENIED: &[&str] = &["ermission denied", "ACL not found"];

fn has(what: &str, words: &[&str]) -> bool {
    words.iter().any(|word| what.contains(word))
}

/// The results of a transaction that was done.
fn results(answer: Answer<'_>) -> Option<Vec<Value>> {
    if answer.status() != 200 {
        return None;
    }
    let mut json = answer.json()?;
    let failed = json.get("Errors").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if failed {
        return None;
    }
    match json.get_mut("Results")?.take() {
        Value::Array(results) => Some(results),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

/// The errors of a transaction that was not done.
fn errors(answer: Answer<'_>) -> Option<Errors> {
    if answer.status() != 409 {
        return None;
    }
    let list = answer.json()?;
    let list = list.get("Errors")?.as_array()?;
    let errors = list.iter().map(|error| {
        Some((error.get("OpIndex")?.as_u64()?, error.get("What")?.as_str()?.to_owned()))
    });
    let errors: Vec<_> = errors.collect::<Option<_>>()?;
    (!errors.is_empty()).then_some(Errors(errors))
}

/// The last result, which is that of the last operation, if it is about `key`.
fn last_entry(results: &[Value], key: &str) -> Option<Entry> {
    entry(results.last()?.get("KV")?, key)
}

fn write_right(key: &str) -> String {
    format!("key:write on \"{key}\"")
}

/// The answer to a transaction of one lock. `fence` is the one that it checked:
/// it tells which operation is which.
pub(crate) fn locked(
    answer: Answer<'_>,
    key: &str,
    fence_key: &str,
    session: &SessionId,
    fence: Fence,
) -> Locked {
    let unknown = || Locked::Unknown(answer.trouble());
    Locks::new(answer, 1, fence_key, session, fence).locked(0, key).unwrap_or_else(unknown)
}

/// The answer to a transaction of several locks.
pub(crate) struct Locks<'a> {
    answer: Answer<'a>,
    count: usize,
    fence_key: &'a str,
    session: &'a SessionId,
    fence: Fence,
    results: Option<Vec<Value>>,
    errors: Option<Errors>,
}

impl<'a> Locks<'a> {
    /// `count` is the number of locks in the transaction.
    pub(crate) fn new(
        answer: Answer<'a>,
        count: usize,
        fence_key: &'a str,
        session: &'a SessionId,
        fence: Fence,
    ) -> Self {
        let (results, errors) = (results(answer), errors(answer));
        Self { answer, count, fence_key, session, fence, results, errors }
    }

    /// What came of the lock of `key`, at that place in the transaction: as if it
    /// had been sent alone. Nothing if it was not done for another's sake.
    pub(crate) fn locked(&self, place: usize, key: &str) -> Option<Locked> {
        let answer = self.answer;
        if let Some(right) = answer.denied(&write_right(key)) {
            return Some(Locked::Denied(right));
        }
        if let Some(index) = self.index(place, key) {
            return Some(Locked::At(index));
        }
        if let Some(errors) = &self.errors {
            return self.not_locked(errors, place, key);
        }
        if is_refusal(answer) {
            // Of one among several it is not known that it was at fault.
            return (self.count == 1)
                .then(|| Locked::Refused(answer.excerpt(&String::from_utf8_lossy(answer.body()))));
        }
        Some(Locked::Unknown(answer.trouble()))
    }

    /// The index in the key's last result, if our session holds it by that. Of the
    /// last lock it is the last result of all.
    fn index(&self, place: usize, key: &str) -> Option<u64> {
        let mut results = self.results.as_ref()?.iter().rev().filter_map(|it| it.get("KV"));
        let kv = if place + 1 == self.count {
            results.next()
        } else {
            results.find(|kv| kv["Key"] == key)
        }?;
        let entry = entry(kv, key).filter(|entry| entry.session.as_ref() == Some(self.session))?;
        #[cfg(test)]
        if Mutation::TokenFromLockIndex.is_chosen() {
            return Some(kv["LockIndex"].as_u64().unwrap_or_default());
        }
        Some(entry.modify_index)
    }

    fn not_locked(&self, errors: &Errors, place: usize, key: &str) -> Option<Locked> {
        let answer = self.answer;
        let (at_fence, first) = match self.fence {
            Fence::Unusable => (None, 0),
            Fence::Unraised | Fence::At(_) => (errors.at(0), 1),
        };
        let key_op = first + 2 * place as u64;
        let at_key = errors.at(key_op);
        let at_lock = errors.at(key_op + 1);

        // A dead session is the more telling, whatever else failed beside it.
        if at_lock.is_some_and(|what| {
            has(what, &["invalid session"]) && what.contains(self.session.as_str())
        }) {
            return Some(Locked::SessionGone);
        }
        if let Some(what) = [at_lock, at_key].into_iter().flatten().find(|what| has(what, DENIED)) {
            return Some(Locked::Denied(missing_right(what, &write_right(key))));
        }
        if let Some(what) = at_fence {
            return Some(if has(what, DENIED) {
                Locked::FenceDenied(missing_right(what, &write_right(self.fence_key)))
            } else if has(what, &["exist", "failed index check"]) {
                Locked::Fenced
            } else {
                Locked::Unknown(answer.server(what))
            });
        }
        if at_key.is_some_and(|what| has(what, &["exist", "failed index check"])) {
            return Some(Locked::Changed);
        }
        let others = first..first + 2 * self.count as u64;
        let refused = ["failed session lookup", "missing session", "Must provide"];
        match at_lock {
            Some(what) if has(what, &["lock is already held"]) => Some(Locked::Held),
            Some(what) if has(what, &["due to lock delay"]) => Some(Locked::Delayed),
            // The request itself is at fault, and would be so every time.
            Some(what) if has(what, &refused) => Some(Locked::Refused(answer.excerpt(what))),
            None if at_key.is_none() && errors.all_in(others) => None,
            _ => Some(Locked::Unknown(answer.server(errors.first()))),
        }
    }
}

/// Whether Consul turned the request away unread, as it would do every time.
fn is_refusal(answer: Answer<'_>) -> bool {
    let body = String::from_utf8_lossy(answer.body());
    match answer.status() {
        400 => has(&body, &["Failed to parse body", "decode failed"]),
        413 => has(&body, &["too large, max size", "too many operations"]),
        500 => has(&body, &["UUID must be", "value out of range"]),
        _ => false,
    }
}

pub(crate) fn released(
    answer: Answer<'_>,
    key: &str,
    session: &SessionId,
    keeps: bool,
) -> Released {
    if let Some(right) = answer.denied(&write_right(key)) {
        return Released::Denied(right);
    }
    if let Some(results) = results(answer) {
        // The first operation shows the entry as it was: held by our session.
        let was = results.first().and_then(|first| entry(first.get("KV")?, key));
        let was_ours = was.is_some_and(|entry| entry.session.as_ref() == Some(session));
        let is_free = || last_entry(&results, key).is_some_and(|entry| entry.session.is_none());
        if was_ours && (!keeps || is_free()) {
            return Released::Done;
        }
    }
    let Some(errors) = errors(answer) else {
        return Released::Unknown(answer.trouble());
    };
    if let Some(what) = errors.any(DENIED) {
        return Released::Denied(missing_right(what, &write_right(key)));
    }
    let failed = [
        "failed session check",
        "doesn't exist",
        "failed index check",
        "index is stale",
        "failed to unlock",
    ];
    if errors.any(&failed).is_some() {
        return Released::FenceFailed;
    }
    Released::Unknown(answer.server(errors.first()))
}

pub(crate) fn raised(
    answer: Answer<'_>,
    fence_key: &str,
    session: &SessionId,
    from: Fence,
) -> Raised {
    if let Some(right) = answer.denied(&write_right(fence_key)) {
        return Raised::Denied(right);
    }
    // An index that did not grow kills no earlier attempt.
    if let Some(entry) = results(answer).and_then(|results| last_entry(&results, fence_key))
        && entry.session.as_ref() == Some(session)
        && entry.modify_index > raised_from(from)
    {
        return Raised::At(entry.modify_index);
    }
    let Some(errors) = errors(answer) else {
        return Raised::Unknown(answer.trouble());
    };
    if let Some(what) = errors.any(DENIED) {
        return Raised::Denied(missing_right(what, &write_right(fence_key)));
    }
    if errors.any(&["exist", "failed index check"]).is_some() {
        return Raised::Stale;
    }
    Raised::Unknown(answer.server(errors.first()))
}

pub(crate) fn recorded(
    answer: Answer<'_>,
    key: &str,
    record_key: &str,
    session: &SessionId,
    after: Option<u64>,
) -> Recorded {
    if let Some(right) = answer.denied(&write_right(record_key)) {
        return Recorded::Denied(right);
    }
    if let Some(results) = results(answer) {
        let held = results.first().and_then(|first| entry(first.get("KV")?, key));
        let held = held.is_some_and(|entry| entry.session.as_ref() == Some(session));
        let written = last_entry(&results, record_key);
        if held && written.is_some_and(|entry| entry.modify_index > after.unwrap_or(0)) {
            return Recorded::Done;
        }
    }
    let Some(errors) = errors(answer) else {
        return Recorded::Unknown(answer.trouble());
    };
    if let Some(what) = errors.any(DENIED) {
        return Recorded::Denied(missing_right(what, &write_right(record_key)));
    }
    if errors.at(0).is_some_and(|what| has(what, &["failed session check", "doesn't exist"])) {
        return Recorded::NotHeld;
    }
    if errors.at(1).is_some_and(|what| has(what, &["index is stale"])) {
        return Recorded::Stale;
    }
    Recorded::Unknown(answer.server(errors.first()))
}

/// A deletion answers with an empty list, whether or not the entry was there.
pub(crate) fn fence_deleted(answer: Answer<'_>, fence_key: &str) -> Destroyed {
    if let Some(right) = answer.denied(&write_right(fence_key)) {
        return Destroyed::Denied(right);
    }
    if results(answer).is_some_and(|results| results.is_empty()) {
        return Destroyed::Done;
    }
    match errors(answer) {
        Some(errors) => match errors.any(DENIED) {
            Some(what) => Destroyed::Denied(missing_right(what, &write_right(fence_key))),
            None => Destroyed::Unknown(answer.server(errors.first())),
        },
        None => Destroyed::Unknown(answer.trouble()),
    }
}

#[cfg(test)]
#[path = "txn_tests.rs"]
mod tests;
