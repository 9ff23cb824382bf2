use serde_json::json;

use super::{super::tests::fixtures::*, *};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn ask(what: What) -> Write {
    Write { key: key("k"), session: id(), index: 16, what }
}

fn value() -> Write {
    ask(What::Value { value: b"b"[..].into(), flags: 7 })
}

fn entries() -> Write {
    let put = EntryOp::Put { key: key("d"), value: b"b".to_vec(), flags: 9 };
    let require = |index| EntryOp::Require { key: key("r"), index };
    let ops = [require(Some(4)), require(None), put, EntryOp::Delete { key: key("e") }];
    ask(What::Entries(ops.into()))
}

#[test]
fn a_write_first_checks_the_session_and_the_index_of_the_lock() {
    let held = json!({"KV": {"Verb": "check-session", "Key": "k", "Session": ID}});
    let at = json!({"KV": {"Verb": "check-index", "Key": "k", "Index": 16}});
    let lock = json!({"KV": {"Verb": "lock", "Key": "k", "Session": ID, "Flags": 7,
                             "Value": "Yg=="}});
    assert_eq!(body(&value().request(&Keyspace::default())), json!([held, at, lock]));

    let others = [
        json!({"KV": {"Verb": "check-index", "Key": "r", "Index": 4}}),
        json!({"KV": {"Verb": "check-not-exists", "Key": "r"}}),
        json!({"KV": {"Verb": "set", "Key": "d", "Flags": 9, "Value": "Yg=="}}),
        json!({"KV": {"Verb": "delete", "Key": "e"}}),
    ];
    let [r4, r, d, e] = others;
    assert_eq!(body(&entries().request(&Keyspace::default())), json!([held, at, r4, r, d, e]));
}

#[test]
fn a_write_is_done_only_if_the_lock_is_shown_as_ours() {
    let updated = |session, index| {
        done(&[kv("k", session, 16), kv("k", Some(ID), 16), kv("k", session, index)])
    };
    assert_eq!(read(&value(), 200, &updated(Some(ID), 17)), Written::Done { index: 17 });
    let rows = [kv("k", Some(ID), 16), kv("k", Some(ID), 16), kv("r", None, 4), kv("d", None, 17)];
    assert_eq!(read(&entries(), 200, &done(&rows)), Written::Done { index: 16 });
    for other in [
        updated(None, 17),
        updated(Some("other"), 17),
        done(&[kv("k", Some(ID), 16), kv("k", Some(ID), 16)]),
        done(&[kv("k", Some(ID), 16), kv("k", Some(ID), 16), kv("d", None, 17)]),
        done(&[]),
    ] {
        assert!(matches!(read(&value(), 200, &other), Written::Unknown(_)), "{other}");
    }
    for other in [done(&rows[2..]), done(&[]), done(&rows[..1])] {
        assert!(matches!(read(&entries(), 200, &other), Written::Unknown(_)), "{other}");
    }
}

#[test]
fn a_refused_write_says_which_check_failed() {
    let other = format!("failed session check for key \"k\", current session \"a\" != \"{ID}\"");
    let moved = "failed index check for key \"k\", current modify index 18 != 16";
    let missing = "failed to check session, key \"k\" doesn't exist";
    let no_index = "failed to check index, key \"k\" doesn't exist";
    for write in [value(), entries()] {
        let failed_with = |errors: &[(u64, &str)]| read(&write, 409, &failed(errors));
        for what in [&*other, missing] {
            assert_eq!(failed_with(&[(0, what), (1, moved)]), Written::NotHeld);
            assert_eq!(failed_with(&[(0, what), (1, no_index)]), Written::NotHeld);
        }
        assert_eq!(failed_with(&[(1, moved)]), Written::Moved(18));
        assert!(matches!(failed_with(&[(1, no_index)]), Written::Unknown(_)));
        assert!(matches!(failed_with(&[(1, "new: 5 != 6")]), Written::Unknown(_)));
        assert!(matches!(failed_with(&[(2, "something new")]), Written::Unknown(_)));
        assert!(matches!(read(&write, 500, "No cluster leader"), Written::Unknown(_)));
        let too_long = "Request body(524289 bytes) too large, max size: 524288 bytes. See x.";
        assert!(matches!(read(&write, 413, too_long), Written::Refused(_)));
        assert!(matches!(write.unanswered(Trouble::Connect("no".into())), Written::Failed(_)));
        let silence = Trouble::Broken("end of file".into());
        assert_eq!(write.unanswered(silence.clone()), Written::Unknown(silence));
    }
    let delayed = failed(&[(2, "failed to lock key \"k\" due to lock delay")]);
    assert!(matches!(read(&value(), 409, &delayed), Written::Failed(_)));
}

#[test]
fn a_lock_passes_to_another_session_in_one_transaction() {
    let pass = ask(What::PassTo { session: "other".into(), value: b"b".to_vec(), flags: 7 });
    let request = body(&pass.request(&Keyspace::default()));
    let unlock = json!({"KV": {"Verb": "unlock", "Key": "k", "Session": ID, "Flags": 7,
                               "Value": ""}});
    let lock = json!({"KV": {"Verb": "lock", "Key": "k", "Session": "other", "Flags": 7,
                             "Value": "Yg=="}});
    assert_eq!((&request[2], &request[3], request.get(4)), (&unlock, &lock, None));
    let guards = || [kv("k", Some(ID), 16), kv("k", Some(ID), 16), kv("k", None, 17)];
    let passed = |to| done(&[&guards()[..], &[kv("k", to, 17)]].concat());
    assert_eq!(read(&pass, 200, &passed(Some("other"))), Written::Done { index: 17 });
    for other in [passed(Some(ID)), passed(None), done(&guards())] {
        assert!(matches!(read(&pass, 200, &other), Written::Unknown(_)), "{other}");
    }
    let delayed = failed(&[(3, "failed to lock key \"k\" due to lock delay")]);
    assert!(matches!(read(&pass, 409, &delayed), Written::Failed(_)));
    let denied = failed(&[(3, "Permission denied")]);
    assert_eq!(read(&pass, 409, &denied), Written::Denied("key:write on \"k\"".into()));
}

#[test]
fn an_unmet_requirement_and_a_missing_right_name_their_entry() {
    let failed_with = |op, what: &str| read(&entries(), 409, &failed(&[(op, what)]));
    let moved = "failed index check for key \"r\", current modify index 5 != 4";
    assert_eq!(failed_with(2, moved), Written::Conflict(key("r")));
    assert_eq!(failed_with(3, "key \"r\" exists"), Written::Conflict(key("r")));
    for (op, right) in [(0, "key:read on \"k\""), (4, "key:write on \"d\"")] {
        assert_eq!(failed_with(op, "Permission denied"), Written::Denied(right.into()));
    }
    let denied = read(&value(), 409, &failed(&[(2, "Permission denied")]));
    assert_eq!(denied, Written::Denied("key:write on \"k\"".into()));
}
