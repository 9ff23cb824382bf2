//! The requests of a lock, and every answer that Consul was observed to give.

use serde_json::json;

use super::{super::tests::fixtures::*, *};
use crate::consul::answer::NO_TOKEN;

fn a_lock(fence: Fence, expect: Expect) -> Lock {
    let key = Key::new("a b").unwrap();
    Lock { key, session: id(), value: b"a".to_vec(), flags: u64::MAX, fence, expect }
}

fn request_below_p(ask: &Lock) -> serde_json::Value {
    body(&ask.request(&Keyspace::below(Some("p"))))
}

#[test]
fn a_lock_checks_the_fence_then_the_key_then_locks() {
    let lock_op = json!({"KV": {"Verb": "lock", "Key": "p/a b", "Session": ID,
                                "Flags": u64::MAX, "Value": "YQ=="}});
    let fence = format!("p/{FENCE}");
    let ask = a_lock(Fence::Unraised, Expect::Missing);
    assert_eq!(
        request_below_p(&ask),
        json!([{"KV": {"Verb": "check-not-exists", "Key": fence}},
               {"KV": {"Verb": "check-not-exists", "Key": "p/a b"}}, lock_op])
    );
    let ask = a_lock(Fence::At(9), Expect::Index(5));
    assert_eq!(
        request_below_p(&ask),
        json!([{"KV": {"Verb": "check-index", "Key": fence, "Index": 9}},
               {"KV": {"Verb": "check-index", "Key": "p/a b", "Index": 5}}, lock_op])
    );
    let ask = a_lock(Fence::Unusable, Expect::Missing);
    assert_eq!(
        request_below_p(&ask),
        json!([{"KV": {"Verb": "check-not-exists", "Key": "p/a b"}}, lock_op])
    );
}

#[test]
fn the_same_lock_asked_twice_is_the_same_bytes() {
    let (ask, keys) = (a_lock(Fence::At(9), Expect::Missing), Keyspace::default());
    assert_eq!(ask.request(&keys), ask.clone().request(&keys));
}

fn lock_at(fence: Fence, expect: Expect, status: u16, body: &str) -> Locked {
    let key = Key::new("k").unwrap();
    read(&Lock { key, session: id(), value: vec![], flags: 7, fence, expect }, status, body)
}

fn lock_with(fence: Fence, status: u16, body: &str) -> Locked {
    lock_at(fence, Expect::Missing, status, body)
}

/// A lock of a key that exists, under a raised fence.
fn lock(status: u16, body: &str) -> Locked {
    lock_at(Fence::At(16), Expect::Index(1), status, body)
}

#[test]
fn locked_needs_our_key_with_our_session_as_the_last_result() {
    let first = done(&[kv("k", Some(ID), 15)]);
    assert_eq!(lock_with(Fence::Unraised, 200, &first), Locked::At(15));
    let again = done(&[kv(FENCE, None, 16), kv("k", None, 12), kv("k", Some(ID), 17)]);
    assert_eq!(lock(200, &again), Locked::At(17));
    assert_eq!(lock(200, &compact(&again)), Locked::At(17));

    for body in [
        done(&[kv("k", Some("other"), 15)]),
        done(&[kv("k", None, 15)]),
        done(&[kv("other", Some(ID), 15)]),
        done(&[kv("k", Some(ID), 0)]),
        done(&[kv("k", Some(ID), 15), kv(FENCE, None, 16)]),
        done(&[]),
        first.replace("\"Errors\": null", "\"Errors\": [{}]"),
        first[..120].to_owned(),
        "true".into(),
        "<html>OK</html>".into(),
        String::new(),
    ] {
        assert!(matches!(lock(200, &body), Locked::Unknown(Trouble::NotConsul(_))), "{body}");
    }
    assert!(matches!(lock(409, &first), Locked::Unknown(_)));
    assert!(matches!(lock(500, &first), Locked::Unknown(_)));
}

#[test]
fn the_failed_operation_and_its_words_decide() {
    let gone = format!("invalid session \"{ID}\"");
    let fence_exists = format!("key \"{FENCE}\" exists");
    let fence_moved =
        format!("failed index check for key \"{FENCE}\", current modify index 20 != 16");
    let fence_missing = format!("failed to check index, key \"{FENCE}\" doesn't exist");
    let held = (2, "failed to lock key \"k\", lock is already held");
    let (exists, missing) =
        ((1, "key \"k\" exists"), (1, "failed to check index, key \"k\" doesn't exist"));
    let moved = (1, "failed index check for key \"k\", current modify index 156 != 1");
    let new = (Fence::Unraised, Expect::Missing);
    let again = (Fence::At(16), Expect::Index(1));
    let denied = || Locked::Denied("key:write on \"k\"".into());
    let fence_denied = || Locked::FenceDenied(format!("key:write on \"{FENCE}\""));
    for ((fence, expect), errors, fact) in [
        (new, vec![held], Locked::Held),
        (again, vec![held], Locked::Held),
        (again, vec![(2, "failed to lock key \"k\" due to lock delay")], Locked::Delayed),
        (again, vec![(2, &*gone)], Locked::SessionGone),
        (again, vec![missing, (2, &gone)], Locked::SessionGone),
        (new, vec![exists, held], Locked::Changed),
        (again, vec![moved], Locked::Changed),
        (again, vec![missing], Locked::Changed),
        (new, vec![(0, &fence_exists), exists, held], Locked::Fenced),
        (again, vec![(0, &fence_moved)], Locked::Fenced),
        (again, vec![(0, &fence_missing)], Locked::Fenced),
        (again, vec![(0, "Permission denied")], fence_denied()),
        (
            again,
            vec![(0, "Permission denied"), (1, "Permission denied"), (2, "Permission denied")],
            denied(),
        ),
        (
            again,
            vec![(2, "Permission denied: token with AccessorID 'x' lacks permission 'key:write'")],
            denied(),
        ),
        (again, vec![(2, "ACL not found")], Locked::Denied(NO_TOKEN.into())),
    ] {
        let lock = |body: &str| lock_at(fence, expect, 409, body);
        assert_eq!(lock(&failed(&errors)), fact, "{errors:?}");
        assert_eq!(lock(&compact(&failed(&errors))), fact, "{errors:?}");
    }
}

#[test]
fn a_text_about_another_index_or_operation_proves_nothing() {
    for (op, what) in [
        (1, "failed index check for key \"k\", current modify index 156 != 2"),
        (1, "key \"k\" exists"),
        (1, "failed to lock key \"k\", lock is already held"),
        (2, "failed to check index, key \"k\" doesn't exist"),
    ] {
        let fact = lock(409, &failed(&[(op, what)]));
        assert!(matches!(fact, Locked::Unknown(Trouble::Server { .. })), "{what}: {fact:?}");
    }
}

#[test]
fn without_a_fence_the_key_is_the_first_operation() {
    let lock = |errors: &[(u64, &str)]| lock_with(Fence::Unusable, 409, &failed(errors));
    assert_eq!(lock(&[(0, "key \"k\" exists")]), Locked::Changed);
    assert_eq!(lock(&[(1, "failed to lock key \"k\", lock is already held")]), Locked::Held);
    let denied = Locked::Denied("key:write on \"k\"".into());
    assert_eq!(lock(&[(0, "Permission denied"), (1, "Permission denied")]), denied);
}

#[test]
fn words_about_another_session_or_operation_prove_nothing() {
    for errors in [
        vec![(2, "invalid session \"ee474eed-262a-2872-71c3-42544dd66dcf\"")],
        vec![(7, "failed to lock key \"k\", lock is already held")],
        vec![(2, "something new")],
        vec![(0, "something new")],
    ] {
        let fact = lock(409, &failed(&errors));
        assert!(matches!(fact, Locked::Unknown(Trouble::Server { status: 409, .. })), "{fact:?}");
    }
    for body in ["", "{}", "{\"Errors\":[]}", "{\"Errors\":[{\"OpIndex\":2}]}", "<html>"] {
        assert!(matches!(lock(409, body), Locked::Unknown(_)), "{body}");
    }
}

#[test]
fn what_consul_will_never_take_is_refused_with_its_words() {
    for (status, text) in [
        (
            413,
            "Request body(533420 bytes) too large, max size: 524288 bytes. See https://example.org#txn_max_req_len.",
        ),
        (413, "Transaction contains too many operations (65 > 64)"),
        (413, "Value for key \"jobs/nightly\" is too large (102400 > 65536 bytes)"),
        (400, "Failed to parse body: illegal base64 data at input byte 0"),
    ] {
        assert_eq!(lock(status, text), Locked::Refused(text.into()));
    }
    for what in [
        "failed session lookup: index error: UUID must be 36 characters",
        "missing session",
        "Must provide key",
    ] {
        assert_eq!(lock(409, &failed(&[(2, what)])), Locked::Refused(what.into()));
    }
    assert!(matches!(lock(413, "<html>413</html>"), Locked::Unknown(Trouble::NotConsul(_))));
    assert!(matches!(
        lock(500, "rpc error making call: EOF"),
        Locked::Unknown(Trouble::Server { .. })
    ));
    assert_eq!(lock(403, "ACL not found"), Locked::Unsent(Trouble::UnknownToken));
}
