//! Consul's errors quote keys, and clients choose the names of keys. No word in a name, a
//! prefix or a value changes an answer.

use std::fmt::Debug;

use super::{
    super::*,
    fixtures::{ID, failed, id},
};
use crate::{
    consul::{
        answer::NO_TOKEN,
        fact::{Destroyed, Expect, Fence, Locked, Raised, Recorded, Released, Seen, Written},
        wire::WireReply,
    },
    mutation::Mutation,
};

const OTHER: &str = "11111111-2222-3333-4444-555555555555";

/// Names made of Consul's own words.
fn names() -> Vec<String> {
    let words = [
        &*format!("invalid session {ID}"),
        &format!("invalid session \"{ID}\""),
        &format!("Session id '{ID}' not found"),
        "Permission denied",
        "permission denied",
        "ACL not found",
        "lock is already held",
        "k\", lock is already held",
        "k\" due to lock delay",
        "due to lock delay",
        "exists",
        "k\" exists",
        "doesn't exist",
        "failed index check",
        "failed session check",
        "index is stale",
        "failed to unlock",
        "failed session lookup: x",
        "missing session",
        "Must provide key",
        "UUID must be 36 characters",
        "too large, max size",
        "Failed to parse body: x",
        "rpc error making call: Permission denied",
        "back\\slash \\\" größe",
    ];
    words.iter().flat_map(|word| [(*word).to_owned(), format!("orders/{word}/7")]).collect()
}

/// Quotes a name like Go's `%q`.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

fn read_below<A: Ask>(prefix: Option<&str>, ask: &A, status: u16, body: &str) -> A::Fact {
    let reply = WireReply { status, index: Some(9), body: body.into() };
    ask.read(&Keyspace::below(prefix), Answer::new(&reply, None))
}

fn lock(name: &str, fence: Fence, expect: Expect) -> Lock {
    let (key, value) = (Key::new(name).unwrap(), name.as_bytes().to_vec());
    Lock { key, session: id(), value, flags: 7, fence, expect }
}

fn release(name: &str, keeps: bool) -> Release {
    let keep = ReleaseHow::Keep { value: name.as_bytes().to_vec(), flags: 7 };
    let how = if keeps { keep } else { ReleaseHow::Delete };
    Release { key: Key::new(name).unwrap(), session: id(), index: 8, how }
}

fn join(name: &str) -> JoinSemaphore {
    let (key, value) = (Key::new(name).unwrap(), name.as_bytes().to_vec());
    let (fence, expect) = (Fence::Unraised, Expect::Missing);
    JoinSemaphore { key, session: id(), fence, expect, roster: value.clone(), value }
}

fn leave(name: &str) -> LeaveSemaphore {
    let key = Key::new(name).unwrap();
    LeaveSemaphore { key, session: id(), index: 8, own: Some(9), left: Left::Nothing }
}

fn prune(name: &str) -> PruneSemaphore {
    let (key, left) = (Key::new(name).unwrap(), Left::Roster(name.as_bytes().to_vec()));
    PruneSemaphore { key, index: 8, left, ended: vec![(OTHER.into(), Some(9))] }
}

fn record(name: &str) -> Record {
    let (key, value) = (Key::new(name).unwrap(), name.as_bytes().to_vec());
    Record { key, session: id(), after: Some(3), value }
}

/// A write under the lock `k` of an entry with this name, and one under this lock.
fn writes(name: &str) -> [Write; 2] {
    let named = Key::new(name).unwrap();
    let require = EntryOp::Require { key: named.clone(), index: Some(5) };
    let key = Key::new("k").unwrap();
    let value = What::Value { value: name.as_bytes().into(), flags: 7 };
    [
        Write { key, session: id(), index: 8, what: What::Entries([require].into()) },
        Write { key: named, session: id(), index: 8, what: value },
    ]
}

/// A failed operation, its text, and the expected fact.
type Case<T> = (u64, String, T);

/// Checks that each text gives its fact, and that it gives `Unknown` with a prefix, with a
/// suffix, or about another key.
fn check<A: Ask>(prefix: Option<&str>, ask: &A, name: &str, cases: Vec<Case<A::Fact>>)
where
    A::Fact: Debug + PartialEq,
{
    let read = |op, what: &str| read_below(prefix, ask, 409, &failed(&[(op, what)]));
    for (op, what, fact) in cases {
        assert_eq!(read(op, &what), fact, "{what}");
        if what.contains(&quoted(name)) && !what.starts_with("Permission denied") {
            for what in [
                what.replacen(&quoted(name), &quoted(&format!("{name}2")), 1),
                format!("{what}!"),
                format!("new: {what}"),
                format!("failed to do something new to key {}", quoted(name)),
                quoted(name),
            ] {
                let told = format!("{:?}", read(op, &what));
                assert!(told.starts_with("Unknown("), "{what}: {told}");
            }
        }
    }
}

#[test]
fn no_word_in_a_name_changes_the_answer_to_a_lock() {
    for name in names() {
        let key = quoted(&name);
        let right = format!("key:write on \"{name}\"");
        let cases = vec![
            (1, format!("failed to lock key {key}, lock is already held"), Locked::Held),
            (1, format!("failed to lock key {key} due to lock delay"), Locked::Delayed),
            (1, format!("invalid session \"{ID}\""), Locked::SessionGone),
            (0, format!("key {key} exists"), Locked::Changed),
            (0, "Permission denied".into(), Locked::Denied(right.clone())),
            (1, format!("Permission denied: lacks 'key:write' on {key}"), Locked::Denied(right)),
            (1, "ACL not found".into(), Locked::Denied(NO_TOKEN.into())),
        ];
        check(None, &lock(&name, Fence::Unusable, Expect::Missing), &name, cases);
        let moved = format!("failed index check for key {key}, current modify index 9 != 5");
        let missing = format!("failed to check index, key {key} doesn't exist");
        let cases = vec![(1, moved, Locked::Changed), (1, missing, Locked::Changed)];
        check(None, &lock(&name, Fence::At(4), Expect::Index(5)), &name, cases);

        let fence = format!("{name}/.dsync/{ID}");
        let cases = vec![
            (0, format!("key {} exists", quoted(&fence)), Locked::Fenced),
            (0, "Permission denied".into(), Locked::FenceDenied(write_right(&fence))),
        ];
        check(Some(&name), &lock("k", Fence::Unraised, Expect::Missing), &fence, cases);
    }
}

#[test]
fn no_word_in_a_name_changes_the_answer_to_several_locks() {
    for name in names() {
        let (one, two) = (quoted(&name), quoted("two"));
        let asks = [&*name, "two"].map(|name| lock(name, Fence::Unusable, Expect::Missing));
        let asks = asks.each_ref();
        let held = |key: &str| format!("failed to lock key {key}, lock is already held");
        for (op, what, facts) in [
            (1, held(&one), [Some(Locked::Held), None]),
            (3, held(&two), [None, Some(Locked::Held)]),
            (0, format!("key {one} exists"), [Some(Locked::Changed), None]),
        ] {
            let told = read_below(None, &Locks(&asks), 409, &failed(&[(op, &what)]));
            assert_eq!(told, facts, "{what}");
        }
    }
}

#[test]
fn no_word_in_a_name_changes_the_answer_to_a_release() {
    for name in names() {
        let key = quoted(&name);
        let failed_session = |other| {
            format!("failed session check for key {key}, current session {other} != \"{ID}\"")
        };
        let cases = vec![
            (0, failed_session(format!("\"{OTHER}\"")), Released::FenceFailed),
            (0, failed_session("\"\"".into()), Released::FenceFailed),
            (0, failed_session(quoted(&name)), Released::FenceFailed),
            (0, format!("failed to check session, key {key} doesn't exist"), Released::FenceFailed),
            (1, format!("failed to delete key {key}, index is stale"), Released::FenceFailed),
        ];
        check(None, &release(&name, false), &name, cases);
        let moved = format!("failed index check for key {key}, current modify index 9 != 8");
        let unlock =
            format!("failed to unlock key {key}, lock isn't held, or is held by another session");
        let cases = vec![(1, moved, Released::FenceFailed), (2, unlock, Released::FenceFailed)];
        check(None, &release(&name, true), &name, cases);
    }
}

#[test]
fn no_word_in_a_name_changes_the_answer_to_a_raise_or_a_record() {
    for name in names() {
        let fence = format!("{name}/.dsync/{ID}");
        let raise = |from| RaiseFence { session: id(), from };
        let exists = format!("key {} exists", quoted(&fence));
        check(Some(&name), &raise(Fence::Unraised), &fence, vec![(0, exists, Raised::Stale)]);
        let key = quoted(&fence);
        let moved = format!("failed index check for key {key}, current modify index 9 != 5");
        let missing = format!("failed to check index, key {key} doesn't exist");
        let cases = vec![(0, moved, Raised::Stale), (0, missing, Raised::Stale)];
        check(Some(&name), &raise(Fence::At(5)), &fence, cases);
        let strange = format!("failed to delete key {key}, something new");
        let delete = DeleteFence { session: id() };
        let told = read_below(Some(&name), &delete, 409, &failed(&[(0, &strange)]));
        assert!(matches!(told, Destroyed::Unknown(_)), "{strange}: {told:?}");

        let stale = quoted(&format!(".dsync/every/{name}"));
        let cases = vec![
            (
                0,
                format!("failed to check session, key {} doesn't exist", quoted(&name)),
                Recorded::NotHeld,
            ),
            (1, format!("failed to set key {stale}, index is stale"), Recorded::Stale),
        ];
        check(None, &record(&name), &name, cases);
    }
}

#[test]
fn no_word_in_a_name_changes_the_answer_to_a_read_by_transaction() {
    for name in names() {
        let get = super::super::get::Get { key: name.clone() };
        let missing = format!("key {} doesn't exist", quoted(&name));
        check(None, &get, &name, vec![(0, missing, Seen::Missing { index: u64::MAX })]);
    }
}

#[test]
fn no_word_in_a_name_changes_the_answer_to_a_write() {
    for name in names() {
        let key = quoted(&name);
        let [entry, value] = writes(&name);
        let moved = |expected| {
            format!("failed index check for key {key}, current modify index 9 != {expected}")
        };
        let conflict = Written::Conflict(Key::new(&name).unwrap());
        check(None, &entry, &name, vec![(2, moved(5), conflict)]);
        let other =
            format!("failed session check for key {key}, current session \"a\" != \"{ID}\"");
        let cases = vec![
            (0, other, Written::NotHeld),
            (0, format!("failed to check session, key {key} doesn't exist"), Written::NotHeld),
            (1, moved(8), Written::Moved(9)),
        ];
        check(None, &value, &name, cases);
    }
}

#[test]
fn a_plain_text_that_quotes_a_name_leaves_everything_unknown() {
    for name in names() {
        for status in [400, 404, 413, 429, 500, 503] {
            for text in [format!("trouble with key {}", quoted(&name)), quoted(&name)] {
                let told = all(&name, status, &text);
                for told in told {
                    // A proxy's 400 may be for the name.
                    let is_for_name = status == 400 && told.starts_with("NameRefused(");
                    assert!(told.starts_with("Unknown(") || is_for_name, "{status} {text}: {told}");
                }
            }
        }
        let text =
            format!("Permission denied: token lacks permission 'key:write' on {}", quoted(&name));
        for told in all(&name, 403, &text) {
            assert!(told.starts_with("Denied(") && !told.contains("ACL token"), "{text}: {told}");
        }
    }
}

/// The facts of every question about a key for this reply.
fn all(name: &str, status: u16, body: &str) -> Vec<String> {
    fn told<A: Ask<Fact: Debug>>(ask: &A, status: u16, body: &str) -> String {
        format!("{:?}", read_below(None, ask, status, body))
    }
    let key = Key::new(name).unwrap();
    let wait = Duration::from_secs(1);
    vec![
        told(&lock(name, Fence::Unraised, Expect::Missing), status, body),
        told(&LockAll(vec![lock(name, Fence::Unraised, Expect::Missing)]), status, body)
            .trim_matches(['[', ']'])
            .to_owned(),
        told(&release(name, false), status, body),
        told(&release(name, true), status, body),
        told(&join(name), status, body),
        told(&leave(name), status, body),
        told(&prune(name), status, body),
        told(&RaiseFence { session: id(), from: Fence::Unraised }, status, body),
        told(&DeleteFence { session: id() }, status, body),
        told(&record(name), status, body),
        told(&writes(name)[0], status, body),
        told(&writes(name)[1], status, body),
        told(&Read::Key(key.clone()), status, body),
        told(&Watch { key, after: Some(1), wait }, status, body),
        told(&super::super::get::Get { key: name.into() }, status, body),
        told(&List { prefix: name.into(), after: None, wait }, status, body),
        told(&RenewSession { session: id() }, status, body),
        told(&SessionInfo { session: id() }, status, body),
        told(&DestroySession { session: id() }, status, body),
    ]
}

/// A name without words. A blank keeps it out of paths, as it does most [`names`].
const PLAIN: &str = "zq/a b";

/// Names made of Consul's own words that no text quotes differently, and that no reply has by
/// chance.
fn words() -> Vec<String> {
    let names = names().into_iter().filter(|name| !name.contains(['"', '\\']) && name.is_ascii());
    names.filter(|name| name.contains(' ')).map(|name| format!("zq/{name}")).collect()
}

/// What a reply about `key` means to each question if the key had this name instead.
fn kinds(reply: &WireReply, key: &str, name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(&reply.body).replace(key, name);
    let kind = |told: String| {
        let words = told.split(|c: char| !c.is_alphanumeric());
        words.take(2).collect::<Vec<_>>().join(" ")
    };
    all(name, reply.status, &text).into_iter().map(kind).collect()
}

/// Checks that a reply about `key` means the same if the key's name is made of Consul's words.
/// `choice` chooses the name.
pub(crate) fn check_that_no_word_decides(reply: &WireReply, key: &str, choice: usize) {
    let words = words();
    let name = &words[choice % words.len()];
    let text = String::from_utf8_lossy(&reply.body);
    assert_eq!(kinds(reply, key, name), kinds(reply, key, PLAIN), "{name}: {text}");
}

/// Consul's errors about the key `k-1` in a transaction.
fn errors() -> Vec<WireReply> {
    let key = "\"k-1\"";
    let texts = [
        format!("failed to lock key {key}, lock is already held"),
        format!("failed to lock key {key} due to lock delay"),
        format!("invalid session \"{ID}\""),
        format!("key {key} exists"),
        format!("key {key} doesn't exist"),
        format!("failed to check index, key {key} doesn't exist"),
        format!("failed index check for key {key}, current modify index 9 != 8"),
        format!("failed to check session, key {key} doesn't exist"),
        format!("failed session check for key {key}, current session \"{OTHER}\" != \"{ID}\""),
        format!("failed to delete key {key}, index is stale"),
        format!("failed to set key {key}, index is stale"),
        format!("failed to unlock key {key}, lock isn't held, or is held by another session"),
        format!("Permission denied: lacks 'key:write' on {key}"),
        format!("something new about {key}"),
    ];
    let each = texts.iter().flat_map(|text| (0..5).map(|op| failed(&[(op, text.as_str())])));
    each.map(|body| WireReply { status: 409, index: Some(9), body: body.into() }).collect()
}

#[test]
fn an_error_of_a_transaction_means_the_same_whatever_the_key_is_called() {
    for reply in errors() {
        (0..words().len()).for_each(|choice| check_that_no_word_decides(&reply, "k-1", choice));
    }
    let meant = |text: &str| {
        let body = failed(&[(1, text)]);
        kinds(&WireReply { status: 409, index: Some(9), body: body.into() }, "k-1", PLAIN)
    };
    assert!(meant("failed to delete key \"k-1\", index is stale").contains(&"FenceFailed".into()));
    Mutation::choose(Some(Mutation::ErrorsSearched));
    let finds = || errors().iter().for_each(|reply| check_that_no_word_decides(reply, "k-1", 0));
    assert!(std::panic::catch_unwind(finds).is_err(), "the test notices the broken rule");
    Mutation::choose(None);
}
