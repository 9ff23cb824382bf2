use serde_json::{Value, json};

use super::{super::tests::fixtures::ID, *};
use crate::consul::wire::WireReply;

fn row(key: &str, index: u64) -> Value {
    json!({"LockIndex": 1, "Key": key, "Flags": 16_210_313_421_097_356_768_u64, "Value": "YQ==",
           "Session": ID, "CreateIndex": 5, "ModifyIndex": index})
}

fn list_of(prefix: &str, within: Option<&str>, reply: &WireReply) -> Listed {
    let list = List { prefix: prefix.into(), after: None, wait: Duration::ZERO };
    list.read(&Keyspace::below(within), Answer::new(reply, None))
}

fn list(status: u16, index: Option<u64>, body: &str) -> Listed {
    list_of("jobs/", Some("env"), &WireReply { status, index, body: body.into() })
}

#[test]
fn a_listing_waits_only_if_it_knows_from_where() {
    let target = |within, prefix: &str, after, wait| {
        List { prefix: prefix.into(), after, wait }.request(&Keyspace::below(within)).target
    };
    let wait = Duration::from_secs(30);
    let waits = target(Some("p"), "", Some(7), wait);
    assert_eq!(target(Some("p"), "a b", None, wait), "/v1/kv/p/a%20b?recurse&consistent");
    assert_eq!(waits, "/v1/kv/p/?recurse&index=7&wait=30000ms");
    let zeros = target(None, "", Some(0), Duration::ZERO);
    assert_eq!(zeros, "/v1/kv/?recurse&index=1&wait=1ms");
}

fn keys(listed: &Listed) -> Vec<&str> {
    match listed {
        Listed::Found { entries, .. } => entries.iter().map(|(key, _)| &**key).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_are_given_as_the_runtime_names_them() {
    let mut free = row("env/jobs/b", 8);
    free["Session"] = "".into();
    free["Value"] = Value::Null;
    let body = json!([row("env/jobs/a", 7), free]);
    for text in [body.to_string(), serde_json::to_string_pretty(&body).unwrap()] {
        let Listed::Found { entries, index: 9 } = list(200, Some(9), &text) else { panic!() };
        let held = Entry {
            session: Some(ID.into()),
            modify_index: 7,
            lock_index: 1,
            flags: 16_210_313_421_097_356_768,
            value: b"a".to_vec(),
        };
        let free = Entry { session: None, modify_index: 8, value: Vec::new(), ..held.clone() };
        assert_eq!(entries, [("jobs/a".into(), held), ("jobs/b".into(), free)]);
    }
}

#[test]
fn nothing_under_the_prefix_is_an_empty_404_with_consuls_index() {
    assert_eq!(list(404, Some(9), ""), Listed::Found { entries: vec![], index: 9 });
    for (status, index, body) in
        [(404, None, ""), (404, Some(0), ""), (404, Some(9), "not found"), (200, Some(9), "[]")]
    {
        assert!(matches!(list(status, index, body), Listed::Unknown(_)), "{status} {body:?}");
    }
}

#[test]
fn fence_entries_are_passed_over() {
    let body = json!([row(&format!(".dsync/{ID}"), 7), row("jobs", 8)]).to_string();
    let reply = WireReply { status: 200, index: Some(9), body: body.into() };
    assert_eq!(keys(&list_of("", None, &reply)), ["jobs"]);
}

#[test]
fn a_listing_is_believed_whole_or_not_at_all() {
    let good = json!([row("env/jobs/a", 7), row("env/jobs/b", 8)]).to_string();
    assert_eq!(keys(&list(200, Some(8), &good)), ["jobs/a", "jobs/b"]);
    for body in [
        &*good.replace("env/jobs/b", "env/job/b"),
        &good.replace("env/jobs/b", "x/env/jobs/b"),
        &good.replace("\"ModifyIndex\":8", "\"ModifyIndex\":0"),
        &good.replace("\"ModifyIndex\":8", "\"ModifyIndex\":9"),
        &good.replace("ModifyIndex", "Other"),
        &good.replace("YQ==", "!!"),
        &good[..good.len() - 1],
        "{}",
        "null",
        "<html></html>",
    ] {
        let listed = list(200, Some(8), body);
        assert!(matches!(listed, Listed::Unknown(Trouble::NotConsul(_))), "{body}: {listed:?}");
    }
    assert!(matches!(list(200, None, &good), Listed::Unknown(_)));
}

#[test]
fn a_refusal_names_the_right_and_an_election_is_no_news() {
    let denied = Listed::Denied("key:list on \"env/jobs/\"".into());
    assert_eq!(list(403, None, "Permission denied"), denied);
    let listed = list(500, None, "rpc error making call: EOF");
    assert!(matches!(listed, Listed::Unknown(Trouble::Server { status: 500, .. })));
}
