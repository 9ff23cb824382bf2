use serde_json::json;

use super::{super::tests::fixtures::*, *};

const OURS: &str = "jobs/ee474eed-262a-2872-71c3-42544dd66dce";

fn join(fence: Fence, expect: Expect) -> JoinSemaphore {
    let (roster, value) = (b"r".to_vec(), b"v".to_vec());
    JoinSemaphore {
        key: Key::new("jobs/.lock").unwrap(),
        session: id(),
        fence,
        expect,
        roster,
        value,
    }
}

fn usual() -> JoinSemaphore {
    join(Fence::Unraised, Expect::Index(8))
}

#[test]
fn a_join_checks_the_fence_and_locks_its_own_entry_and_compares_the_semaphores() {
    let fence = json!({"KV": {"Verb": "check-not-exists", "Key": FENCE}});
    let lock = json!({"KV": {"Verb": "lock", "Key": OURS, "Session": ID, "Flags": SEMAPHORE_FLAGS,
                             "Value": "dg=="}});
    let cas = |index| {
        json!({"KV": {"Verb": "cas", "Key": "jobs/.lock", "Index": index,
                      "Flags": SEMAPHORE_FLAGS, "Value": "cg=="}})
    };
    assert_eq!(body(&usual().request(&Keyspace::default())), json!([fence, lock, cas(8)]));
    let first = join(Fence::Unusable, Expect::Missing);
    assert_eq!(body(&first.request(&Keyspace::default())), json!([lock, cas(0)]));
}

#[test]
fn a_grant_has_the_index_of_the_semaphores_entry() {
    let fenced = |rows: &[String]| read(&usual(), 200, &done(rows));
    let rows = [kv(OURS, Some(ID), 20), kv("jobs/.lock", None, 21)];
    assert_eq!(fenced(&rows), Locked::At(21));
    let checked = [kv(FENCE, Some(ID), 5), kv(OURS, Some(ID), 20), kv("jobs/.lock", None, 21)];
    assert_eq!(fenced(&checked), Locked::At(21));
    for rows in [
        vec![],
        rows[..1].to_vec(),
        rows[1..].to_vec(),
        vec![kv(OURS, None, 20), kv("jobs/.lock", None, 21)],
        vec![kv(OURS, Some("other"), 20), kv("jobs/.lock", None, 21)],
        vec![kv(OURS, Some(ID), 20), kv("jobs/.lick", None, 21)],
    ] {
        assert!(matches!(fenced(&rows), Locked::Unknown(_)), "{rows:?}");
    }
}

#[test]
fn a_join_that_consul_did_not_do_says_why() {
    let told = |errors: &[(u64, &str)]| read(&usual(), 409, &failed(errors));
    let stale = "failed to set key \"jobs/.lock\", index is stale";
    assert_eq!(told(&[(2, stale)]), Locked::Changed);
    let raised = format!("key \"{FENCE}\" exists");
    assert_eq!(told(&[(0, &raised), (2, stale)]), Locked::Fenced);
    let gone = format!("invalid session \"{ID}\"");
    assert_eq!(told(&[(0, &raised), (1, &gone), (2, stale)]), Locked::SessionGone);
    let delayed = format!("failed to lock key \"{OURS}\" due to lock delay");
    assert_eq!(told(&[(1, &delayed)]), Locked::Delayed);
    let held = format!("failed to lock key \"{OURS}\", lock is already held");
    assert!(matches!(told(&[(1, &held)]), Locked::Refused(_)));
    let denied = "Permission denied";
    assert_eq!(told(&[(0, denied)]), Locked::FenceDenied(write_right(FENCE)));
    assert_eq!(told(&[(1, denied)]), Locked::Denied(write_right(OURS)));
    assert_eq!(told(&[(2, denied)]), Locked::Denied(write_right("jobs/.lock")));
    assert!(matches!(told(&[(2, "new")]), Locked::Unknown(_)));
    assert!(matches!(told(&[(7, stale)]), Locked::Unknown(_)));
    assert!(matches!(read(&usual(), 500, "rpc error making call: EOF"), Locked::Unknown(_)));
}
