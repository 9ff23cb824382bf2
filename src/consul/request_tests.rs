//! Golden requests: what Consul was measured to understand.

use super::*;

fn id() -> SessionId {
    "ee474eed-262a-2872-71c3-42544dd66dce".into()
}

fn body(request: &WireRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn a_lock(fence: Fence, expect: Expect) -> Lock {
    let key = Key::new("a b").unwrap();
    Lock { key, session: id(), value: b"a".to_vec(), flags: u64::MAX, fence, expect }
}

#[test]
fn durations_travel_as_texts_with_a_unit() {
    let new = NewSession {
        name: "orders \"7\"".into(),
        ttl: Duration::from_secs(15),
        lock_delay: Duration::ZERO,
        node_checks: vec![],
    };
    let request = create_session(&new);
    assert_eq!((request.method, &*request.target), (Method::Put, "/v1/session/create"));
    assert_eq!(
        body(&request),
        json!({"Name": "orders \"7\"", "TTL": "15000ms", "LockDelay": "0ms", "NodeChecks": [],
               "Behavior": "release"})
    );
}

#[test]
fn session_calls_name_the_session_in_the_path() {
    let path = |call| format!("/v1/session/{call}/ee474eed-262a-2872-71c3-42544dd66dce");
    assert_eq!(renew_session(&id()), put(path("renew"), vec![]));
    assert_eq!(destroy_session(&id()), put(path("destroy"), vec![]));
    assert_eq!(session_info(&id()), get(path("info")));
}

#[test]
fn every_byte_that_a_url_could_misread_is_escaped() {
    for (key, target) in [
        ("a/b-c_d.e~f", "/v1/kv/a/b-c_d.e~f?consistent"),
        ("a%2Fb", "/v1/kv/a%252Fb?consistent"),
        ("a b+c?d=1&e#f", "/v1/kv/a%20b%2Bc%3Fd%3D1%26e%23f?consistent"),
        ("größe", "/v1/kv/gr%C3%B6%C3%9Fe?consistent"),
    ] {
        assert_eq!(read(key).target, target);
    }
}

#[test]
fn a_watch_never_sends_the_zeros_that_consul_reads_as_not_given() {
    assert_eq!(watch("k", 7, Duration::from_secs(30)).target, "/v1/kv/k?index=7&wait=30000ms");
    assert_eq!(watch("k", 0, Duration::ZERO).target, "/v1/kv/k?index=1&wait=1ms");
}

#[test]
fn a_listing_waits_only_if_it_knows_from_where() {
    let wait = Duration::from_secs(30);
    assert_eq!(list("p/a b", None, wait).target, "/v1/kv/p/a%20b?recurse&consistent");
    assert_eq!(list("p/", Some(7), wait).target, "/v1/kv/p/?recurse&index=7&wait=30000ms");
    assert_eq!(list("", Some(0), Duration::ZERO).target, "/v1/kv/?recurse&index=1&wait=1ms");
}

#[test]
fn a_lock_checks_the_fence_then_the_key_then_locks() {
    let lock_op = json!({"KV": {"Verb": "lock", "Key": "p/a b", "Session": id().as_str(),
                                "Flags": u64::MAX, "Value": "YQ=="}});
    let ask = a_lock(Fence::Unraised, Expect::Missing);
    assert_eq!(
        body(&lock("p/a b", "p/.dsync/x", &ask)),
        json!([{"KV": {"Verb": "check-not-exists", "Key": "p/.dsync/x"}},
               {"KV": {"Verb": "check-not-exists", "Key": "p/a b"}}, lock_op])
    );
    let ask = a_lock(Fence::At(9), Expect::Index(5));
    assert_eq!(
        body(&lock("p/a b", "p/.dsync/x", &ask)),
        json!([{"KV": {"Verb": "check-index", "Key": "p/.dsync/x", "Index": 9}},
               {"KV": {"Verb": "check-index", "Key": "p/a b", "Index": 5}}, lock_op])
    );
    let ask = a_lock(Fence::Unusable, Expect::Missing);
    assert_eq!(
        body(&lock("p/a b", "p/.dsync/x", &ask)),
        json!([{"KV": {"Verb": "check-not-exists", "Key": "p/a b"}}, lock_op])
    );
}

#[test]
fn the_same_lock_asked_twice_is_the_same_bytes() {
    let ask = a_lock(Fence::At(9), Expect::Missing);
    assert_eq!(lock("k", "f", &ask), lock("k", "f", &ask.clone()));
}

#[test]
fn a_release_is_fenced_by_session_and_index() {
    let release_of = |how| {
        let key = Key::new("k").unwrap();
        body(&release("k", &Release { key, session: id(), index: 8, how }))
    };
    let ours = json!({"KV": {"Verb": "check-session", "Key": "k", "Session": id().as_str()}});
    assert_eq!(
        release_of(ReleaseHow::Delete),
        json!([ours, {"KV": {"Verb": "delete-cas", "Key": "k", "Index": 8}}])
    );
    assert_eq!(
        release_of(ReleaseHow::Keep { value: b"b".to_vec(), flags: 7 }),
        json!([ours, {"KV": {"Verb": "check-index", "Key": "k", "Index": 8}},
               {"KV": {"Verb": "unlock", "Key": "k", "Session": id().as_str(), "Flags": 7,
                       "Value": "Yg=="}}])
    );
}

#[test]
fn each_raise_of_a_fence_writes_another_value() {
    let raise = |from| body(&raise_fence("f", &id(), from));
    let lock =
        |value| json!({"Verb": "lock", "Key": "f", "Session": id().as_str(), "Value": value});
    assert_eq!(
        raise(Fence::Unraised),
        json!([{"KV": {"Verb": "check-not-exists", "Key": "f"}}, {"KV": lock("MA==")}])
    );
    assert_eq!(
        raise(Fence::At(16)),
        json!([{"KV": {"Verb": "check-index", "Key": "f", "Index": 16}}, {"KV": lock("MTY=")}])
    );
    assert_eq!(body(&delete_fence("f")), json!([{"KV": {"Verb": "delete", "Key": "f"}}]));
}

#[test]
fn a_record_names_the_lock_and_what_it_replaces() {
    let record_of = |after| {
        let key = Key::new("k").unwrap();
        body(&record("k", "r", &Record { key, session: id(), after, value: b"b".to_vec() }))
    };
    let ours = json!({"KV": {"Verb": "check-session", "Key": "k", "Session": id().as_str()}});
    for (after, index) in [(None, 0), (Some(8), 8)] {
        let cas = json!({"KV": {"Verb": "cas", "Key": "r", "Index": index, "Value": "Yg=="}});
        assert_eq!(record_of(after), json!([ours, cas]));
    }
}
