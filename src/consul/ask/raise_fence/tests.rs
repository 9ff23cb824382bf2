use serde_json::json;

use super::{super::tests::fixtures::*, *};

fn raise(from: Fence, status: u16, body: &str) -> Raised {
    read(&RaiseFence { session: id(), from }, status, body)
}

#[test]
fn each_raise_of_a_fence_writes_another_value() {
    let raise = |from| body(&RaiseFence { session: id(), from }.request(&Keyspace::default()));
    let lock =
        |value| json!({"Verb": "lock", "Key": FENCE, "Session": ID, "Flags": 0, "Value": value});
    assert_eq!(
        raise(Fence::Unraised),
        json!([{"KV": {"Verb": "check-not-exists", "Key": FENCE}}, {"KV": lock("MA==")}])
    );
    assert_eq!(
        raise(Fence::At(16)),
        json!([{"KV": {"Verb": "check-index", "Key": FENCE, "Index": 16}},
                   {"KV": lock("MTY=")}])
    );
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
}

#[test]
fn a_raise_that_comes_too_late_says_so() {
    let exists = format!("key \"{FENCE}\" exists");
    let moved = format!("failed index check for key \"{FENCE}\", current modify index 9 != 3");
    let missing = format!("failed to check index, key \"{FENCE}\" doesn't exist");
    for (from, what) in
        [(Fence::Unraised, &exists), (Fence::At(3), &moved), (Fence::At(3), &missing)]
    {
        assert_eq!(raise(from, 409, &failed(&[(0, what)])), Raised::Stale, "{what}");
        let other = what.replace(FENCE, ".dsync/x");
        assert!(matches!(raise(from, 409, &failed(&[(0, &other)])), Raised::Unknown(_)));
    }
    let gone = failed(&[(1, &format!("invalid session \"{ID}\""))]);
    assert!(matches!(raise(Fence::Unraised, 409, &gone), Raised::Unknown(_)));
    let denied = Raised::Denied(format!("key:write on \"{FENCE}\""));
    assert_eq!(raise(Fence::Unraised, 409, &failed(&[(0, "Permission denied")])), denied);
    assert!(matches!(raise(Fence::Unraised, 500, "No cluster leader"), Raised::Unknown(_)));
}
