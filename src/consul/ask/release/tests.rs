use serde_json::json;

use super::{super::tests::fixtures::*, *};

fn keep() -> ReleaseHow {
    ReleaseHow::Keep { value: b"b".to_vec(), flags: 7 }
}

fn release(how: ReleaseHow) -> Release {
    Release { key: Key::new("k").unwrap(), session: id(), index: 8, how }
}

#[test]
fn a_release_is_fenced_by_session_and_index() {
    let request = |how| body(&release(how).request(&Keyspace::default()));
    let ours = json!({"KV": {"Verb": "check-session", "Key": "k", "Session": ID}});
    assert_eq!(
        request(ReleaseHow::Delete),
        json!([ours, {"KV": {"Verb": "delete-cas", "Key": "k", "Index": 8}}])
    );
    assert_eq!(
        request(keep()),
        json!([ours, {"KV": {"Verb": "check-index", "Key": "k", "Index": 8}},
                   {"KV": {"Verb": "unlock", "Key": "k", "Session": ID, "Flags": 7,
                           "Value": "Yg=="}}])
    );
}

#[test]
fn released_needs_the_entry_as_ours_and_if_kept_as_free() {
    let (delete, keep) = (release(ReleaseHow::Delete), release(keep()));
    let deleted = done(&[kv("k", Some(ID), 27)]);
    assert_eq!(read(&delete, 200, &deleted), Released::Done);
    let kept = done(&[kv("k", Some(ID), 15), kv("k", Some(ID), 15), kv("k", None, 26)]);
    assert_eq!(read(&keep, 200, &kept), Released::Done);
    assert_eq!(read(&keep, 200, &compact(&kept)), Released::Done);
    for body in [
        deleted.as_str(),
        &done(&[]),
        &done(&[kv("k", Some("other"), 15), kv("k", None, 26)]),
        &done(&[kv("other", Some(ID), 15), kv("other", None, 26)]),
        "true",
    ] {
        assert!(matches!(read(&keep, 200, body), Released::Unknown(_)), "{body}");
    }
    assert!(matches!(read(&delete, 200, &done(&[])), Released::Unknown(_)));
}

#[test]
fn a_release_that_consul_did_not_do_says_so() {
    let (delete, keep) = (release(ReleaseHow::Delete), release(keep()));
    for (ask, op, what) in [
        (
            &delete,
            0,
            format!("failed session check for key \"k\", current session \"a\" != \"{ID}\""),
        ),
        (&delete, 0, "failed to check session, key \"k\" doesn't exist".into()),
        (&delete, 1, "failed to delete key \"k\", index is stale".into()),
        (&keep, 1, "failed index check for key \"k\", current modify index 156 != 8".into()),
        (
            &keep,
            2,
            "failed to unlock key \"k\", lock isn't held, or is held by another session".into(),
        ),
    ] {
        assert_eq!(read(ask, 409, &failed(&[(op, &what)])), Released::FenceFailed, "{what}");
        // The text of another operation, and of another key.
        for (op, what) in [(op + 1, what.clone()), (op, what.replace("\"k\"", "\"l\""))] {
            let told = read(ask, 409, &failed(&[(op, &what)]));
            assert!(matches!(told, Released::Unknown(_)), "{what}: {told:?}");
        }
    }
    let denied = Released::Denied("key:write on \"k\"".into());
    assert_eq!(read(&delete, 409, &failed(&[(1, "Permission denied")])), denied);
    assert!(matches!(read(&delete, 409, &failed(&[(1, "new")])), Released::Unknown(_)));
    assert!(matches!(read(&delete, 500, "rpc error making call: EOF"), Released::Unknown(_)));
}
