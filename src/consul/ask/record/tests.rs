use serde_json::json;

use super::{super::tests::fixtures::*, *};

fn ask(after: Option<u64>) -> Record {
    Record { key: Key::new("k").unwrap(), session: id(), after, value: b"b".to_vec() }
}

#[test]
fn a_record_names_the_lock_and_what_it_replaces() {
    let ours = json!({"KV": {"Verb": "check-session", "Key": "k", "Session": ID}});
    for (after, index) in [(None, 0), (Some(8), 8)] {
        let cas = json!({"KV": {"Verb": "cas", "Key": ".dsync/every/k", "Index": index,
                                    "Flags": 0, "Value": "Yg=="}});
        assert_eq!(body(&ask(after).request(&Keyspace::default())), json!([ours, cas]));
    }
}

#[test]
fn a_record_is_written_only_beside_a_lock_that_is_ours() {
    let record = |status, body: &str| read(&ask(Some(16)), status, body);
    let written = |session, index| done(&[kv("k", session, 9), kv(".dsync/every/k", None, index)]);
    assert_eq!(record(200, &written(Some(ID), 17)), Recorded::Done);
    for other in [written(Some(ID), 16), written(None, 17), written(Some("other"), 17)] {
        assert!(matches!(record(200, &other), Recorded::Unknown(_)), "{other}");
    }
    let other = format!("failed session check for key \"k\", current session \"a\" != \"{ID}\"");
    for what in [&*other, "failed to check session, key \"k\" doesn't exist"] {
        // The other operation may fail as well.
        let stale = (1, "failed to set key \".dsync/every/k\", index is stale");
        assert_eq!(record(409, &failed(&[(0, what)])), Recorded::NotHeld);
        assert_eq!(record(409, &failed(&[(0, what), stale])), Recorded::NotHeld);
        assert_eq!(record(409, &failed(&[stale])), Recorded::Stale);
    }
    let denied = Recorded::Denied("key:write on \".dsync/every/k\"".into());
    assert_eq!(record(409, &failed(&[(1, "Permission denied")])), denied);
    assert!(matches!(record(500, "No cluster leader"), Recorded::Unknown(_)));
}
