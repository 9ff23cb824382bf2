use serde_json::json;

use super::{super::tests::fixtures::*, *};

fn prune() -> PruneSemaphore {
    let key = Key::new("jobs/.lock").unwrap();
    let ended = vec![(SessionId::from("a"), Some(5)), (SessionId::from("b"), None)];
    PruneSemaphore { key, index: 8, left: Left::Roster(b"r".to_vec()), ended }
}

#[test]
fn a_prune_requires_that_no_ended_sessions_entry_is_locked() {
    let cas = json!({"KV": {"Verb": "cas", "Key": "jobs/.lock", "Index": 8,
                            "Flags": crate::consul::roster::SEMAPHORE_FLAGS, "Value": "cg=="}});
    let is_a = json!({"KV": {"Verb": "check-index", "Key": "jobs/a", "Index": 5}});
    let a = json!({"KV": {"Verb": "delete", "Key": "jobs/a"}});
    let b = json!({"KV": {"Verb": "check-not-exists", "Key": "jobs/b"}});
    assert_eq!(body(&prune().request(&Keyspace::default())), json!([cas, is_a, a, b]));
}

#[test]
fn the_largest_prune_fits_into_a_transaction() {
    let ended = vec![(SessionId::from("a"), Some(5)); PruneSemaphore::MOST];
    let largest = PruneSemaphore { left: Left::Nothing, ended, ..prune() };
    assert_eq!(body(&largest.request(&Keyspace::default())).as_array().unwrap().len(), MOST_OPS);
}

#[test]
fn the_outcome_of_a_prune_is_read_with_its_names() {
    let told = |errors: &[(u64, &str)]| read(&prune(), 409, &failed(errors));
    assert_eq!(read(&prune(), 200, &done(&[kv("jobs/.lock", None, 9)])), Pruned::Done);
    assert!(matches!(read(&prune(), 200, &done(&[])), Pruned::Unknown(_)));
    assert_eq!(told(&[(0, "failed to set key \"jobs/.lock\", index is stale")]), Pruned::Stale);
    let gone = "failed to check index, key \"jobs/a\" doesn't exist";
    assert_eq!(told(&[(1, gone)]), Pruned::Stale);
    assert_eq!(told(&[(3, "key \"jobs/b\" exists")]), Pruned::Stale);
    assert!(matches!(told(&[(3, "key \"jobs/c\" exists")]), Pruned::Unknown(_)));
    assert_eq!(told(&[(3, "Permission denied")]), Pruned::Denied(write_right("jobs/.lock")));
}
