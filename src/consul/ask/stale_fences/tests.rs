use serde_json::{Value, json};

use super::{super::tests::fixtures::*, *};

fn row(key: &str, session: Option<&str>, index: u64) -> Value {
    json!({"LockIndex": 1, "Key": key, "Flags": 0, "Value": "YQ==", "Session": session,
               "CreateIndex": 5, "ModifyIndex": index})
}

#[test]
fn only_fence_entries_of_sessions_that_have_ended_are_stale() {
    let other = ID.replace('e', "f");
    let rows = json!([
        row(FENCE, None, 7),
        row(&format!(".dsync/{other}"), Some(&other), 8),
        row(".dsync/every/nightly", None, 9),
        row(&format!("{FENCE}/x"), None, 10),
        row(".dsync/notes", None, 11),
    ]);
    let ours = StaleFences::Found(vec![(id(), 7)]);
    assert_eq!(read(&ListStaleFences, 200, &rows.to_string()), ours);
    assert_eq!(read(&ListStaleFences, 404, ""), StaleFences::Found(Vec::new()));
    let denied = read(&ListStaleFences, 403, "Permission denied");
    assert_eq!(denied, StaleFences::Denied("key:list on \".dsync/\"".into()));
    for (status, body) in [(404, "page not found"), (200, "<html>"), (200, "[{}]"), (500, "EOF")] {
        let seen = read(&ListStaleFences, status, body);
        assert!(matches!(seen, StaleFences::Unknown(_)), "{status} {body}");
    }
}

#[test]
fn an_entry_is_deleted_only_as_it_was_seen() {
    let keys = Keyspace::below(Some("env"));
    let request = ListStaleFences.request(&keys);
    assert_eq!(request.target, "/v1/kv/env/.dsync/?recurse&consistent");
    let request = DeleteStaleFences { stale: vec![(id(), 7)] }.request(&keys);
    let key = format!("env/{FENCE}");
    assert_eq!(body(&request), json!([{"KV": {"Verb": "delete-cas", "Key": key, "Index": 7}}]));
}
