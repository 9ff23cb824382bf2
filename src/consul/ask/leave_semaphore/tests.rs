use serde_json::json;

use super::{super::tests::fixtures::*, *};

const OURS: &str = "jobs/ee474eed-262a-2872-71c3-42544dd66dce";

fn leave(left: Left) -> LeaveSemaphore {
    let key = Key::new("jobs/.lock").unwrap();
    LeaveSemaphore { key, session: id(), index: 8, own: None, left }
}

fn leaves() -> [LeaveSemaphore; 2] {
    [leave(Left::Roster(b"r".to_vec())), leave(Left::Nothing)]
}

#[test]
fn a_leave_is_fenced_by_the_index_of_the_semaphores_entry() {
    let held = json!({"KV": {"Verb": "lock", "Key": OURS, "Session": id().as_str(),
                             "Flags": SEMAPHORE_FLAGS, "Value": ""}});
    let ours = json!({"KV": {"Verb": "delete", "Key": OURS}});
    let [some, last] = leaves().map(|leave| body(&leave.request(&Keyspace::default())));
    let cas = json!({"KV": {"Verb": "cas", "Key": "jobs/.lock", "Index": 8,
                            "Flags": SEMAPHORE_FLAGS, "Value": "cg=="}});
    assert_eq!(some, json!([cas, held, ours]));
    let at = json!({"KV": {"Verb": "check-index", "Key": "jobs/.lock", "Index": 8}});
    let delete = json!({"KV": {"Verb": "delete", "Key": "jobs/.lock"}});
    assert_eq!(last, json!([at, delete, held, ours]));
}

#[test]
fn a_leave_requires_our_own_entry_at_its_index_if_that_is_known() {
    let leave = LeaveSemaphore { own: Some(5), ..leave(Left::Roster(b"r".to_vec())) };
    let cas = json!({"KV": {"Verb": "cas", "Key": "jobs/.lock", "Index": 8,
                            "Flags": SEMAPHORE_FLAGS, "Value": "cg=="}});
    let is_ours = json!({"KV": {"Verb": "check-index", "Key": OURS, "Index": 5}});
    let delete = json!({"KV": {"Verb": "delete", "Key": OURS}});
    assert_eq!(body(&leave.request(&Keyspace::default())), json!([cas, is_ours, delete]));
    let missing = format!("failed to check index, key \"{OURS}\" doesn't exist");
    let other = format!("failed index check for key \"{OURS}\", current modify index 6 != 5");
    for what in [missing, other] {
        assert_eq!(read(&leave, 409, &failed(&[(1, &what)])), Released::FenceFailed, "{what}");
    }
}

#[test]
fn a_leave_is_done_only_if_the_semaphores_entry_shows_it() {
    let [some, last] = leaves();
    let row = |index| done(&[kv("jobs/.lock", None, index)]);
    assert_eq!(read(&some, 200, &row(9)), Released::Done);
    assert_eq!(read(&last, 200, &row(8)), Released::Done);
    for (ask, body) in
        [(&some, row(8)), (&last, row(9)), (&some, done(&[])), (&last, done(&[kv("j", None, 8)]))]
    {
        assert!(matches!(read(ask, 200, &body), Released::Unknown(_)), "{body}");
    }
}

#[test]
fn a_leave_that_consul_did_not_do_says_so() {
    let [some, last] = leaves();
    let stale = "failed to set key \"jobs/.lock\", index is stale";
    assert_eq!(read(&some, 409, &failed(&[(0, stale)])), Released::FenceFailed);
    for what in [
        "failed to check index, key \"jobs/.lock\" doesn't exist",
        "failed index check for key \"jobs/.lock\", current modify index 9 != 8",
    ] {
        assert_eq!(read(&last, 409, &failed(&[(0, what)])), Released::FenceFailed);
    }
    let gone = format!("invalid session {:?}", id().as_str());
    let held = format!("failed to lock key \"{OURS}\", lock is already held");
    for what in [gone, held] {
        assert_eq!(read(&some, 409, &failed(&[(1, &what)])), Released::FenceFailed, "{what}");
    }
    let denied = Released::Denied(write_right("jobs/.lock"));
    assert_eq!(read(&some, 409, &failed(&[(1, "Permission denied")])), denied);
    assert!(matches!(read(&some, 409, &failed(&[(0, "new")])), Released::Unknown(_)));
    assert!(matches!(read(&last, 500, "rpc error making call: EOF"), Released::Unknown(_)));
}
