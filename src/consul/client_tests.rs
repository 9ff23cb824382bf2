//! What the seam adds to requests and replies: prefix, limit, secrecy.

use super::*;
use crate::consul::fact::Expect;

const LIMIT: Duration = Duration::from_secs(2);

fn id() -> SessionId {
    "ee474eed-262a-2872-71c3-42544dd66dce".into()
}

pub(crate) fn scripted(replies: Vec<Option<WireReply>>, prefix: Option<&str>) -> Consul {
    let script =
        script::Script { replies: std::cell::RefCell::new(replies.into()), ..Default::default() };
    Consul::over(Transport::Scripted(script), Some(Secret::new("s3cr3t-t0k3n")), prefix)
}

pub(crate) fn asked(consul: &Consul) -> Vec<WireRequest> {
    match &consul.0.transport {
        Transport::Scripted(script) => script.asked.borrow().clone(),
        _ => unreachable!(),
    }
}

fn reply(status: u16, body: &str) -> Option<WireReply> {
    Some(WireReply { status, index: Some(9), body: body.into() })
}

fn lock(key: &str) -> Lock {
    Lock {
        key: Key::new(key).unwrap(),
        session: id(),
        value: vec![],
        flags: 1,
        fence: Fence::Unraised,
        expect: Expect::Missing,
    }
}

#[actix::test]
async fn the_prefix_stands_before_keys_and_fences_and_is_expected_back() {
    let entry = |key: &str| {
        let json = serde_json::json!([{"Key": key, "Flags": 0, "Value": null, "ModifyIndex": 9}]);
        reply(200, &json.to_string())
    };
    let consul = scripted(vec![entry("env/eu/a b"), entry("a b"), None], Some("env/eu"));
    let key = Key::new("a b").unwrap();
    assert!(matches!(consul.read(&key, LIMIT).await, Seen::Found { .. }));
    assert!(matches!(consul.read(&key, LIMIT).await, Seen::Unknown(Trouble::NotConsul(_))));
    tokio::time::pause();
    consul.lock(&lock("a b"), LIMIT).await;

    let asked = asked(&consul);
    assert_eq!(asked[0].target, "/v1/kv/env/eu/a%20b?consistent");
    let ops: serde_json::Value = serde_json::from_slice(&asked[2].body).unwrap();
    assert_eq!(ops[0]["KV"]["Key"], "env/eu/.dsync/ee474eed-262a-2872-71c3-42544dd66dce");
    assert_eq!(ops[2]["KV"]["Key"], "env/eu/a b");
}

#[actix::test]
async fn without_a_prefix_keys_stand_as_they_are() {
    let consul = scripted(vec![reply(404, ""), reply(404, "")], None);
    assert_eq!(consul.read(&Key::new("k").unwrap(), LIMIT).await, Seen::Missing { index: 9 });
    assert_eq!(consul.read_fence(&id(), LIMIT).await, Seen::Missing { index: 9 });
    let asked = asked(&consul);
    assert_eq!(asked[0].target, "/v1/kv/k?consistent");
    assert_eq!(asked[1].target, "/v1/kv/.dsync/ee474eed-262a-2872-71c3-42544dd66dce?consistent");
}

#[actix::test]
async fn silence_is_unknown_at_the_limit_and_a_watch_is_given_its_wait() {
    tokio::time::pause();
    let consul = scripted(vec![], None);
    let from = Instant::now();
    assert_eq!(consul.renew_session(&id(), LIMIT).await, Renewed::Unknown(Trouble::Timeout(LIMIT)));
    assert_eq!(from.elapsed().as_secs(), 2);

    let from = Instant::now();
    let wait = Duration::from_secs(32);
    let seen = consul.watch(&Key::new("k").unwrap(), 7, wait, LIMIT).await;
    assert!(matches!(seen, Seen::Unknown(Trouble::Timeout(_))));
    assert_eq!(from.elapsed().as_secs(), 32 + 2 + 2);
}

#[actix::test]
async fn no_outcome_carries_the_token_that_an_answer_repeats() {
    let echo = "you sent X-Consul-Token: s3cr3t-t0k3n";
    let errors = format!("{{\"Errors\":[{{\"OpIndex\":2,\"What\":\"missing session {echo}\"}}]}}");
    for body in [echo, &format!("<p>{echo}</p>"), &errors] {
        for status in [200, 400, 403, 404, 409, 413, 500] {
            let replies = (0..10).map(|_| reply(status, body)).collect();
            let consul = scripted(replies, None);
            let new = NewSession {
                name: String::new(),
                ttl: LIMIT,
                lock_delay: LIMIT,
                node_checks: vec![],
            };
            let release = Release {
                key: Key::new("k").unwrap(),
                session: id(),
                index: 1,
                how: ReleaseHow::Delete,
            };
            let facts = format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                consul.create_session(&new, LIMIT).await,
                consul.renew_session(&id(), LIMIT).await,
                consul.session_info(&id(), LIMIT).await,
                consul.destroy_session(&id(), LIMIT).await,
                consul.lock(&lock("k"), LIMIT).await,
                consul.release(&release, LIMIT).await,
                consul.read(&release.key, LIMIT).await,
                consul.raise_fence(&id(), Fence::Unraised, LIMIT).await,
                consul.delete_fence(&id(), LIMIT).await,
            );
            assert!(!facts.contains("s3cr3t"), "{status}: {facts}");
            assert!(facts.contains("(secret)"), "{status}: {facts}");
            assert!(!format!("{consul:?}").contains("s3cr3t"));
        }
    }
}
