//! What the client adds to requests and replies: prefix, time limit, secrecy.

mod script;

use std::cell::Cell;

use futures::future::LocalBoxFuture;

use super::*;
use crate::{
    consul::{
        ask::{
            Checks, CreateSession, DeleteFence, DestroySession, Lock, RaiseFence, Read, Release,
            ReleaseHow, RenewSession, SessionInfo, Watch,
        },
        fact::{Expect, Fence, Locked, Renewed, Seen, SessionId},
    },
    key::Key,
};

const LIMIT: Duration = Duration::from_secs(2);

fn id() -> SessionId {
    "ee474eed-262a-2872-71c3-42544dd66dce".into()
}

/// A client of a scripted Consul.
pub(crate) struct Scripted {
    consul: Consul,
    script: Rc<script::Script>,
}

impl std::ops::Deref for Scripted {
    type Target = Consul;

    fn deref(&self) -> &Consul {
        &self.consul
    }
}

impl Scripted {
    /// The requests, in order.
    pub(crate) fn asked(&self) -> Vec<WireRequest> {
        self.script.asked.borrow().clone()
    }

    /// Every reply comes after so long.
    pub(crate) fn replies_after(&self, pace: Duration) {
        self.script.pace.set(pace);
    }
}

pub(crate) fn scripted(replies: Vec<Option<WireReply>>, prefix: Option<&str>) -> Scripted {
    let script =
        Rc::new(script::Script { replies: RefCell::new(replies.into()), ..Default::default() });
    let link = Link::Backend(Box::new(script.clone()));
    let token = TokenSource::Fixed(Some("s3cr3t-t0k3n".into()));
    let first = token.first().unwrap();
    let consul = Consul::over(link, token, first, Keyspace::below(prefix));
    Scripted { consul, script }
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
    assert!(matches!(consul.ask(&Read::Key(key.clone()), LIMIT).await, Seen::Found { .. }));
    assert!(matches!(
        consul.ask(&Read::Key(key.clone()), LIMIT).await,
        Seen::Unknown(Trouble::NotConsul(_))
    ));
    tokio::time::pause();
    consul.lock(&lock("a b"), LIMIT).await;

    let asked = consul.asked();
    assert_eq!(asked[0].target, "/v1/kv/env/eu/a%20b?consistent");
    let ops: serde_json::Value = serde_json::from_slice(&asked[2].body).unwrap();
    assert_eq!(ops[0]["KV"]["Key"], "env/eu/.dsync/ee474eed-262a-2872-71c3-42544dd66dce");
    assert_eq!(ops[2]["KV"]["Key"], "env/eu/a b");
}

#[actix::test]
async fn without_a_prefix_keys_stand_as_they_are() {
    let consul = scripted(vec![reply(404, ""), reply(404, "")], None);
    let read = Read::Key(Key::new("k").unwrap());
    assert_eq!(consul.ask(&read, LIMIT).await, Seen::Missing { index: 9 });
    assert_eq!(consul.ask(&Read::Fence(id()), LIMIT).await, Seen::Missing { index: 9 });
    let asked = consul.asked();
    assert_eq!(asked[0].target, "/v1/kv/k?consistent");
    assert_eq!(asked[1].target, "/v1/kv/.dsync/ee474eed-262a-2872-71c3-42544dd66dce?consistent");
}

#[actix::test]
async fn silence_is_unknown_at_the_limit_and_a_watch_is_given_its_wait() {
    tokio::time::pause();
    let consul = scripted(vec![], None);
    let from = Instant::now();
    let renewed = consul.ask(&RenewSession { session: id() }, LIMIT).await;
    assert_eq!(renewed, Renewed::Unknown(Trouble::Timeout(LIMIT)));
    assert_eq!(from.elapsed().as_secs(), 2);

    let from = Instant::now();
    let wait = Duration::from_secs(32);
    let watch = Watch { key: Key::new("k").unwrap(), after: Some(7), wait };
    let seen = consul.ask(&watch, LIMIT).await;
    assert!(matches!(seen, Seen::Unknown(Trouble::Timeout(_))));
    assert_eq!(from.elapsed().as_secs(), 32 + 2 + 4 + 2);
}

#[actix::test]
async fn no_outcome_carries_the_token_that_an_answer_repeats() {
    let echo = "you sent X-Consul-Token: s3cr3t-t0k3n";
    let errors = format!("{{\"Errors\":[{{\"OpIndex\":2,\"What\":\"missing session {echo}\"}}]}}");
    for body in [echo, &format!("<p>{echo}</p>"), &errors] {
        for status in [200, 400, 403, 404, 409, 413, 500] {
            let replies = (0..10).map(|_| reply(status, body)).collect();
            let consul = scripted(replies, None);
            let new = CreateSession {
                name: String::new(),
                ttl: LIMIT,
                lock_delay: LIMIT,
                checks: Checks::default(),
                patience: Duration::ZERO,
            };
            let release = Release {
                key: Key::new("k").unwrap(),
                session: id(),
                index: 1,
                how: ReleaseHow::Delete,
            };
            let facts = format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                consul.ask(&new, LIMIT).await,
                consul.ask(&RenewSession { session: id() }, LIMIT).await,
                consul.ask(&SessionInfo { session: id() }, LIMIT).await,
                consul.ask(&DestroySession { session: id() }, LIMIT).await,
                consul.lock(&lock("k"), LIMIT).await,
                consul.ask(&release, LIMIT).await,
                consul.ask(&Read::Key(release.key.clone()), LIMIT).await,
                consul.ask(&RaiseFence { session: id(), from: Fence::Unraised }, LIMIT).await,
                consul.ask(&DeleteFence { session: id() }, LIMIT).await,
            );
            assert!(!facts.contains("s3cr3t"), "{status}: {facts}");
            assert!(facts.contains("(secret)"), "{status}: {facts}");
            assert!(!format!("{:?}", *consul).contains("s3cr3t"));
        }
    }
}

#[actix::test]
async fn a_key_whose_name_a_path_may_not_have_is_read_by_transaction() {
    tokio::time::pause();
    let refusal = |status| reply(status, "invalid key name, keys should respect the format");
    let missing =
        r#"{"Results": null, "Errors": [{"OpIndex": 0, "What": "key \"a\" doesn't exist"}]}"#;
    let ask = Read::Key(Key::new("a").unwrap());

    let consul = scripted(vec![refusal(500), reply(409, missing)], None);
    assert_eq!(consul.ask(&ask, LIMIT).await, Seen::Missing { index: u64::MAX });
    let targets: Vec<_> = consul.asked().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/v1/kv/a?consistent", "/v1/txn?consistent"]);

    // Refused there, too: that is final. What says nothing is not.
    let consul = scripted(vec![refusal(500), refusal(400)], None);
    assert!(matches!(consul.ask(&ask, LIMIT).await, Seen::NameRefused(_)));
    let consul = scripted(vec![refusal(400), reply(500, "No cluster leader")], None);
    assert!(matches!(consul.ask(&ask, LIMIT).await, Seen::Unknown(Trouble::Server { .. })));
    let consul = scripted(vec![refusal(400), None], None);
    let asked = Instant::now();
    assert!(matches!(consul.ask(&ask, LIMIT).await, Seen::Unknown(Trouble::Timeout(_))));
    assert_eq!(asked.elapsed().as_secs(), LIMIT.as_secs(), "one limit for both");

    // Without time for an answer, it is not asked again, and the name is not yet refused.
    let consul = scripted(vec![refusal(500), reply(409, missing)], None);
    consul.replies_after(LIMIT - LIMIT / 8);
    assert_eq!(consul.ask(&ask, LIMIT).await, Seen::Unknown(Trouble::Timeout(LIMIT)));
    assert_eq!(consul.asked().len(), 1);
}

/// A Consul that does not know the token of the first request, and cannot be reached after it.
struct Leaving {
    has_answered: Cell<bool>,
}

impl Backend for Leaving {
    fn exchange(&self, _: WireRequest) -> LocalBoxFuture<'_, Result<WireReply, Trouble>> {
        let answer = if self.has_answered.replace(true) {
            Err(Trouble::Connect("refused".into()))
        } else {
            Ok(WireReply { status: 403, index: None, body: "ACL not found".into() })
        };
        Box::pin(std::future::ready(answer))
    }
}

#[actix::test]
async fn a_request_that_cannot_be_sent_again_has_been_sent_all_the_same() {
    let path = std::env::temp_dir().join(format!("dsync-next-token-{}", std::process::id()));
    std::fs::write(&path, "t2").unwrap();
    let leaving = || {
        let first = TokenSource::Fixed(Some("t1".into())).first().unwrap();
        let source = TokenSource::File { path: path.clone(), fallback: None };
        let link = Link::Backend(Box::new(Leaving { has_answered: Cell::default() }));
        Consul::over(link, source, first, Keyspace::below(None))
    };
    let consul = leaving();
    let locked = consul.lock(&lock("k"), LIMIT).await;
    assert!(matches!(locked, Locked::Unknown(Trouble::Broken(_))), "{locked:?}");
    // A read has no effect.
    let consul = leaving();
    let seen = consul.ask(&Read::Key(Key::new("k").unwrap()), LIMIT).await;
    assert!(matches!(seen, Seen::Unknown(Trouble::Connect(_))), "{seen:?}");
    std::fs::remove_file(&path).unwrap();
}
