use serde_json::json;

use super::{super::tests::fixtures::*, *};

#[test]
fn a_fence_is_deleted_whether_or_not_it_was_there() {
    let ask = DeleteFence { session: id() };
    let request = ask.request(&Keyspace::default());
    assert_eq!(body(&request), json!([{"KV": {"Verb": "delete", "Key": FENCE}}]));

    let deleted = "{\n  \"Results\": [],\n  \"Errors\": null\n}\n";
    assert_eq!(read(&ask, 200, deleted), Destroyed::Done);
    let denied = Destroyed::Denied(format!("key:write on \"{FENCE}\""));
    assert_eq!(read(&ask, 409, &failed(&[(0, "Permission denied")])), denied);
    for body in ["[]", "[[]]", "[null]", "[null,null]", "{}", "true", "", "{\"Errors\":null}"] {
        assert!(matches!(read(&ask, 200, body), Destroyed::Unknown(_)), "{body}");
    }
}
