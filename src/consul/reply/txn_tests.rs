//! Every answer to a transaction that Consul was seen to give.

use super::*;
use crate::consul::{fact::Trouble, wire::WireReply};

const ID: &str = "ee474eed-262a-2872-71c3-42544dd66dce";
const FENCE: &str = ".dsync/ee474eed-262a-2872-71c3-42544dd66dce";

fn id() -> SessionId {
    ID.into()
}

fn ask<T>(status: u16, body: &str, parse: impl Fn(Answer<'_>) -> T) -> T {
    parse(Answer::new(&WireReply { status, index: None, body: body.into() }, None))
}

fn lock(status: u16, body: &str) -> Locked {
    lock_with(Fence::At(16), status, body)
}

fn lock_with(fence: Fence, status: u16, body: &str) -> Locked {
    ask(status, body, |answer| locked(answer, "k", FENCE, &id(), fence))
}

fn kv(key: &str, session: Option<&str>, index: u64) -> String {
    let session = session.map(|id| format!("\"Session\": \"{id}\",\n")).unwrap_or_default();
    format!(
        r#"{{ "KV": {{ "LockIndex": 1, "Key": "{key}", "Flags": 3304740253564472344, "Value": null,
            {session} "CreateIndex": 15, "ModifyIndex": {index} }} }}"#
    )
}

fn done(results: &[String]) -> String {
    format!("{{\n  \"Results\": [ {} ],\n  \"Errors\": null\n}}\n", results.join(", "))
}

fn failed(errors: &[(u64, &str)]) -> String {
    let errors: Vec<_> =
        errors.iter().map(|(op, what)| serde_json::json!({"OpIndex": op, "What": what})).collect();
    serde_json::to_string_pretty(&serde_json::json!({"Results": null, "Errors": errors})).unwrap()
}

fn compact(json: &str) -> String {
    serde_json::from_str::<Value>(json).unwrap().to_string()
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
    let held = (2, "failed to lock key \"k\", lock is already held");
    for (errors, fact) in [
        (vec![held], Locked::Held),
        (vec![(2, "failed to lock key \"k\" due to lock delay")], Locked::Delayed),
        (vec![(2, &*gone)], Locked::SessionGone),
        (
            vec![(1, "failed to check index, key \"k\" doesn't exist"), (2, &gone)],
            Locked::SessionGone,
        ),
        (vec![(1, "key \"k\" exists"), held], Locked::Changed),
        (
            vec![(1, "failed index check for key \"k\", current modify index 156 != 1")],
            Locked::Changed,
        ),
        (vec![(1, "failed to check index, key \"k\" doesn't exist")], Locked::Changed),
        (vec![(0, &fence_exists), (1, "key \"k\" exists"), held], Locked::Fenced),
        (
            vec![(0, "failed index check for key \"f\", current modify index 20 != 16")],
            Locked::Fenced,
        ),
        (vec![(0, "failed to check index, key \"f\" doesn't exist")], Locked::Fenced),
        (vec![(0, "Permission denied")], Locked::FenceDenied(format!("key:write on \"{FENCE}\""))),
        (
            vec![(0, "Permission denied"), (1, "Permission denied"), (2, "Permission denied")],
            Locked::Denied("key:write on \"k\"".into()),
        ),
        (
            vec![(2, "Permission denied: token with AccessorID 'x' lacks permission 'key:write'")],
            Locked::Denied("key:write on \"k\"".into()),
        ),
    ] {
        assert_eq!(lock(409, &failed(&errors)), fact, "{errors:?}");
        assert_eq!(lock(409, &compact(&failed(&errors))), fact, "{errors:?}");
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
    assert!(
        matches!(lock(403, "ACL not found"), Locked::Denied(right) if right.contains("ACL token"))
    );
}

fn release(keeps: bool, status: u16, body: &str) -> Released {
    ask(status, body, |answer| released(answer, "k", &id(), keeps))
}

#[test]
fn released_needs_the_entry_as_ours_and_if_kept_as_free() {
    let deleted = done(&[kv("k", Some(ID), 27)]);
    assert_eq!(release(false, 200, &deleted), Released::Done);
    let kept = done(&[kv("k", Some(ID), 15), kv("k", Some(ID), 15), kv("k", None, 26)]);
    assert_eq!(release(true, 200, &kept), Released::Done);
    assert_eq!(release(true, 200, &compact(&kept)), Released::Done);
    for body in [
        deleted.as_str(),
        &done(&[]),
        &done(&[kv("k", Some("other"), 15), kv("k", None, 26)]),
        &done(&[kv("other", Some(ID), 15), kv("other", None, 26)]),
        "true",
    ] {
        assert!(matches!(release(true, 200, body), Released::Unknown(_)), "{body}");
    }
    assert!(matches!(release(false, 200, &done(&[])), Released::Unknown(_)));
}

#[test]
fn a_release_that_consul_did_not_do_says_so() {
    for what in [
        "failed session check for key \"k\", current session \"a\" != \"b\"",
        "failed to check session, key \"k\" doesn't exist",
        "failed index check for key \"k\", current modify index 156 != 1",
        "failed to unlock key \"k\", lock isn't held, or is held by another session",
        "failed to delete key \"k\", index is stale",
    ] {
        assert_eq!(release(false, 409, &failed(&[(1, what)])), Released::FenceFailed, "{what}");
    }
    let denied = Released::Denied("key:write on \"k\"".into());
    assert_eq!(release(false, 409, &failed(&[(1, "Permission denied")])), denied);
    assert!(matches!(release(false, 409, &failed(&[(1, "new")])), Released::Unknown(_)));
    assert!(matches!(release(false, 500, "rpc error making call: EOF"), Released::Unknown(_)));
}

fn raise(from: Fence, status: u16, body: &str) -> Raised {
    ask(status, body, |answer| raised(answer, FENCE, &id(), from))
}

#[test]
fn a_fence_is_raised_only_to_a_higher_index() {
    let at_16 = done(&[kv(FENCE, Some(ID), 16)]);
    assert_eq!(raise(Fence::Unraised, 200, &at_16), Raised::At(16));
    assert_eq!(raise(Fence::At(15), 200, &at_16), Raised::At(16));
    assert!(matches!(raise(Fence::At(16), 200, &at_16), Raised::Unknown(_)));
    for other in [kv("k", Some(ID), 16), kv(FENCE, None, 16)] {
        assert!(matches!(raise(Fence::Unraised, 200, &done(&[other])), Raised::Unknown(_)));
    }
    for what in ["key \".dsync/x\" exists", "failed index check for key \".dsync/x\", current"] {
        assert_eq!(raise(Fence::Unraised, 409, &failed(&[(0, what)])), Raised::Stale);
    }
    let gone = failed(&[(1, "invalid session \"x\"")]);
    assert!(matches!(raise(Fence::Unraised, 409, &gone), Raised::Unknown(_)));
    let denied = Raised::Denied(format!("key:write on \"{FENCE}\""));
    assert_eq!(raise(Fence::Unraised, 409, &failed(&[(0, "Permission denied")])), denied);
    assert!(matches!(raise(Fence::Unraised, 500, "No cluster leader"), Raised::Unknown(_)));
}

#[test]
fn a_fence_is_deleted_whether_or_not_it_was_there() {
    let delete = |status, body: &str| ask(status, body, |answer| fence_deleted(answer, FENCE));
    assert_eq!(delete(200, "{\n  \"Results\": [],\n  \"Errors\": null\n}\n"), Destroyed::Done);
    let denied = Destroyed::Denied(format!("key:write on \"{FENCE}\""));
    assert_eq!(delete(409, &failed(&[(0, "Permission denied")])), denied);
    for body in ["[]", "{}", "true", "", "{\"Errors\":null}"] {
        assert!(matches!(delete(200, body), Destroyed::Unknown(_)), "{body}");
    }
}

#[test]
fn a_record_is_written_only_beside_a_lock_that_is_ours() {
    let record = |status, body: &str| {
        ask(status, body, |answer| recorded(answer, "k", ".dsync/every/k", &id(), Some(16)))
    };
    let written = |session, index| done(&[kv("k", session, 9), kv(".dsync/every/k", None, index)]);
    assert_eq!(record(200, &written(Some(ID), 17)), Recorded::Done);
    for other in [written(Some(ID), 16), written(None, 17), written(Some("other"), 17)] {
        assert!(matches!(record(200, &other), Recorded::Unknown(_)), "{other}");
    }
    for what in [
        "failed session check for key \"k\", current session \"a\" != \"b\"",
        "failed to check session, key \"k\" doesn't exist",
    ] {
        // The other operation may fail as well.
        let stale = (1, "failed to set key \"x\", index is stale");
        assert_eq!(record(409, &failed(&[(0, what)])), Recorded::NotHeld);
        assert_eq!(record(409, &failed(&[(0, what), stale])), Recorded::NotHeld);
        assert_eq!(record(409, &failed(&[stale])), Recorded::Stale);
    }
    let denied = Recorded::Denied("key:write on \".dsync/every/k\"".into());
    assert_eq!(record(409, &failed(&[(1, "Permission denied")])), denied);
    assert!(matches!(record(500, "No cluster leader"), Recorded::Unknown(_)));
}
