use super::*;
use crate::consul::wire::WireReply;

fn put<A: Ask>(ask: &A, status: u16, body: &str) -> A::Fact {
    let reply = WireReply { status, index: Some(7), body: body.into() };
    ask.read(&Keyspace::below(Some("app")), Answer::new(&reply, None))
}

#[test]
fn the_right_to_write_is_asked_for_by_a_transaction_that_writes_nothing() {
    let ask = MayWrite(Place::Prefix);
    let request = ask.request(&Keyspace::below(Some("app")));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let expected = serde_json::json!(
        [{"KV": {"Verb": "check-not-exists", "Key": "app/dsync-preflight"}}]
    );
    assert_eq!((request.target.as_str(), body), ("/v1/txn", expected));

    let exists = r#"{"Errors":[{"OpIndex":0,"What":"key \"app/dsync-preflight\" exists"}]}"#;
    let denied = r#"{"Errors":[{"OpIndex":0,"What":"Permission denied"}]}"#;
    assert_eq!(put(&ask, 200, r#"{"Results":null,"Errors":null}"#), Right::Granted);
    assert_eq!(put(&ask, 409, exists), Right::Granted);
    assert_eq!(put(&ask, 409, denied), Right::Denied("key:write".into()));
    assert_eq!(put(&ask, 403, "ACL not found"), Right::Unknown(Trouble::UnknownToken));
    for (status, body) in [(500, "no leader"), (409, "{}"), (200, "<html>"), (200, "[]")] {
        assert!(matches!(put(&ask, status, body), Right::Unknown(_)), "{status} {body}");
    }
}

#[test]
fn a_missing_key_may_be_read_and_a_denied_one_may_not() {
    for (status, body, right) in
        [(404, "", Right::Granted), (403, "Permission denied", Right::Denied("key:read".into()))]
    {
        assert_eq!(put(&MayRead(Place::Fences), status, body), right);
    }
    assert_eq!(put(&MayList, 404, ""), Right::Granted);
    assert_eq!(put(&MayList, 403, "Permission denied"), Right::Denied("key:list".into()));
    assert!(matches!(put(&MayList, 500, "x"), Right::Unknown(_)));
}

#[test]
fn an_agent_is_known_by_its_version_and_its_limits_where_it_tells_them() {
    let whole = r#"{"Config":{"Version":"1.8.7","NodeName":"n\n1"},"DebugConfig":
        {"HTTPMaxConnsPerClient":200,"KVMaxValueSize":524288,"SessionTTLMin":"0s"}}"#;
    let AgentSeen::Known { version, node, connections, value_bytes, shortest_ttl } =
        put(&Agent, 200, whole)
    else {
        panic!("it is known")
    };
    assert_eq!((version.as_str(), node.as_str()), ("1.8.7", "n 1"));
    assert_eq!((connections, value_bytes, shortest_ttl), (Some(200), Some(524_288), None));
    let longer =
        r#"{"Config":{"Version":"1","NodeName":"n"},"DebugConfig":{"SessionTTLMin":"1m"}}"#;
    let seen = put(&Agent, 200, longer);
    let minute = Some(Duration::from_secs(60));
    assert!(matches!(seen, AgentSeen::Known { shortest_ttl, .. } if shortest_ttl == minute));
    assert_eq!(put(&Agent, 403, "Permission denied"), AgentSeen::Denied);
    for body in ["", "{}", "[]", "true", r#"{"Config":{"Version":7}}"#] {
        assert!(matches!(put(&Agent, 200, body), AgentSeen::Unknown(_)), "{body}");
    }
    assert_eq!(put(&Leader, 200, "\"a:1\""), LeaderSeen::Answered { has_leader: true });
    assert_eq!(put(&Leader, 200, "\"\""), LeaderSeen::Answered { has_leader: false });
    assert!(matches!(put(&Leader, 200, "<html>"), LeaderSeen::Unknown(_)));
}
