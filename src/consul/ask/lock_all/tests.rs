//! The transaction of a set, and what its answers mean for each key.

use super::{super::tests::fixtures::*, *};

fn set(keys: &[&str]) -> LockAll {
    let lock = |key: &&str| Lock {
        key: Key::new(key).unwrap(),
        session: id(),
        value: vec![],
        flags: 7,
        fence: Fence::At(16),
        expect: Expect::Missing,
    };
    LockAll(keys.iter().map(lock).collect())
}

#[test]
fn all_keys_are_locked_by_one_transaction() {
    let answer = done(&[
        kv(FENCE, Some(ID), 16),
        kv("a", Some(ID), 30),
        kv("b", Some(ID), 30),
        kv("c", Some(ID), 30),
    ]);
    let locked = read(&set(&["a", "b", "c"]), 200, &answer);
    assert_eq!(locked, [Locked::At(30), Locked::At(30), Locked::At(30)]);
}

#[test]
fn a_key_that_is_not_at_fault_is_told_so() {
    // The fence is operation 0; each key has a check and a lock.
    let answer =
        failed(&[(3, "key \"b\" exists"), (4, "failed to lock key \"b\", lock is already held")]);
    let locked = read(&set(&["a", "b", "c"]), 409, &answer);
    assert_eq!(locked, [Locked::Aside, Locked::Changed, Locked::Aside]);
    let answer = failed(&[(2, "failed to lock key \"a\" due to lock delay")]);
    assert_eq!(read(&set(&["a", "b"]), 409, &answer), [Locked::Delayed, Locked::Aside]);
}

#[test]
fn a_set_that_consul_refuses_as_a_whole_is_refused_for_each_key() {
    for (status, body) in [
        (413, "Request body(600000 bytes) too large, max size: 524288 bytes. See x."),
        (413, "Transaction contains too many operations (65 > 64)"),
        (400, "Failed to parse body: nonsense"),
    ] {
        let locked = read(&set(&["a", "b"]), status, body);
        assert!(locked.iter().all(|locked| matches!(locked, Locked::Refused(_))), "{locked:?}");
    }
}

#[test]
fn an_unclear_answer_is_unknown_for_each_key() {
    for (status, body) in [(500, "rpc error"), (200, "<html>"), (409, "{}"), (200, "")] {
        let locked = read(&set(&["a", "b"]), status, body);
        assert!(locked.iter().all(|locked| matches!(locked, Locked::Unknown(_))), "{locked:?}");
    }
}

#[test]
fn the_length_of_a_transaction_is_known_before_it_is_sent() {
    let keys: Vec<Key> = (0..LockAll::MOST).map(|n| Key::new(format!("k{n}")).unwrap()).collect();
    assert_eq!(LockAll::too_long(None, &keys, 1_000), None);
    let length = LockAll::too_long(Some("prefix"), &keys, 13_000).unwrap();
    assert!(length > 31 * 13_000 * 4 / 3, "{length}");
    // Each quote is escaped, twice a key.
    let long: Vec<Key> =
        (0..31).map(|n| Key::new(format!("{n:02}{}", "\"".repeat(1_000))).unwrap()).collect();
    assert_eq!(LockAll::too_long(None, &long, 0), None);
    let length = LockAll::too_long(Some(&"\"".repeat(200)), &long, 10_000);
    assert!(length.is_some());
}
