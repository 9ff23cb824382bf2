//! ACLs: the required rights, the error for a missing right, and the secrecy of the token.

use std::sync::OnceLock;
use std::time::Duration;

use actix_dsync::{
    Acquire, Campaign, Dsync, Error, List, LossReason, Release, Released, TryAcquire,
    events::LockLost,
};
use serde_json::json;

use crate::locks::{acquire, at, is_of_the_session, key, next, pending, short_delay};
use crate::process::log_of_a_talk;
use crate::support::consul::Agent;
use crate::support::proxy::{Mode, Proxy};
use crate::support::stalls::Stalls;

const MANAGEMENT: &str = "5f1c6b0e-8d0b-4c68-9d35-0d8f6f0f6a01";

fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| Agent::builder().acl(MANAGEMENT).start())
}

fn put(path: &str, body: &serde_json::Value) -> serde_json::Value {
    let answer = agent().operator().ask("PUT", path, body.to_string().as_bytes());
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Creates a token with exactly these rules.
fn token(name: &str, rules: &str) -> String {
    changeable_token(name, rules).0
}

/// Like [`token`], and also returns the id of its policy.
fn changeable_token(name: &str, rules: &str) -> (String, String) {
    let policy = put("/v1/acl/policy", &json!({ "Name": name, "Rules": rules }));
    let token = put("/v1/acl/token", &json!({ "Policies": [{ "Name": name }] }));
    let text = |json: &serde_json::Value| json.as_str().expect("text").to_owned();
    (text(&token["SecretID"]), text(&policy["ID"]))
}

fn runtime(url: String, prefix: &str, token: &str) -> Dsync {
    at(url, prefix).token(token).timing(short_delay()).start().expect("valid settings")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_below_the_prefix_and_sessions_are_all_the_rights_it_takes() {
    let token = token("enough", &enough("app"));
    let proxy = Proxy::to(agent().http_addr());
    let (one, two) = (runtime(proxy.url(), "app", &token), runtime(agent().url(), "app", &token));
    let mut lost = one.events::<LockLost>(actix_dsync::events::Filter::All);
    one.ready().await.expect("enough rights");
    let lease = acquire(&one, "k").await;
    let Err(Error::Held { holder, .. }) = two.send(TryAcquire::new(key("k"))).await else {
        panic!("it is held")
    };
    let waiting = tokio::spawn({
        let two = two.clone();
        async move { acquire(&two, "k").await }
    });
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let stalls = Stalls::watch();
    agent().operator().destroy_session(&holder.session);
    let event = next(&mut lost, Duration::from_secs(4)).await;
    assert_eq!(event.token, lease.token());
    assert!(is_of_the_session(event.reason, &stalls), "{event:?}");
    let second = waiting.await.expect("granted");
    assert!(second.token() > lease.token());
    assert_eq!(two.send(Release(second)).await, Ok(Released::Confirmed));

    // These rights also suffice to void a late attempt.
    proxy.set(Mode::OneWay);
    let asked = one.send(Acquire::new(key("k")).within(Duration::from_millis(300)));
    asked.await.expect_err("no reply passes");
    proxy.set(Mode::Reset);
    proxy.set(Mode::Forward);
    let again = acquire(&two, "k").await;
    assert_eq!(two.send(Release(again)).await, Ok(Released::Confirmed));
    assert_eq!(pending(&mut lost), []);
    for dsync in [one, two] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
    assert_eq!(agent().operator().kv_keys("app/"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named_at_once() {
    let sessions = r#"session_prefix "" { policy = "write" }"#;
    let reads = r#"key_prefix "" { policy = "read" } session_prefix "" { policy = "write" }"#;
    let keys = r#"key_prefix "" { policy = "write" }"#;
    let cases = [
        ("anonymous", None, "session:write", "session"),
        ("keys-only", Some(token("keys-only", keys)), "session:write", "session"),
        ("sessions-only", Some(token("sessions-only", sessions)), "key:write", "key"),
        ("reads-only", Some(token("reads-only", reads)), "key:write", "key"),
    ];
    for (name, token, right, at_what) in cases {
        let mut builder = at(agent().url(), "denied");
        if let Some(token) = &token {
            builder = builder.token(token.as_str());
        }
        let dsync = builder.start().expect("valid settings");
        let limit = Duration::from_secs(5);
        let ready = tokio::time::timeout(limit, dsync.ready()).await.expect("in time");
        assert_eq!(ready.is_err(), at_what != "key", "{name}: {ready:?}");
        let tried = tokio::time::timeout(limit, dsync.send(TryAcquire::new(key("k")))).await;
        let asked = tokio::time::timeout(limit, dsync.send(Acquire::new(key("k")))).await;
        for answer in [tried, asked] {
            let error = answer.expect("in time").expect_err(name);
            eprintln!("{name}: {error}");
            assert!(matches!(error, Error::Denied { .. }), "{name}: {error:?}");
            assert!(error.to_string().contains(right), "{name}: {error}");
            assert!(token.as_ref().is_none_or(|token| !format!("{error:?}").contains(token)));
        }
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

/// The rights that a runtime below `prefix` needs.
fn enough(prefix: &str) -> String {
    format!(
        "key_prefix \"{prefix}/\" {{ policy = \"write\" }} \
         session_prefix \"\" {{ policy = \"write\" }}"
    )
}

/// Creates a token with this secret and enough rights. Returns its accessor.
fn token_of(secret: &str, prefix: &str) -> String {
    let policy = json!({ "Name": prefix, "Rules": enough(prefix) });
    let listed = agent().operator().ask("GET", &format!("/v1/acl/policy/name/{prefix}"), b"");
    if listed.is_ok_and(|listed| listed.status != 200) {
        put("/v1/acl/policy", &policy);
    }
    let token =
        put("/v1/acl/token", &json!({ "SecretID": secret, "Policies": [{ "Name": prefix }] }));
    token["AccessorID"].as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_consul_does_not_know_yet_is_waited_for_within_the_caller_s_limit() {
    let secret = "aaaaaaaa-2222-3333-4444-555555555555";
    let dsync = at(agent().url(), "fresh").token(secret).start().expect("valid settings");
    let tried = dsync.send(TryAcquire::new(key("k"))).await;
    let limited = dsync.send(Acquire::new(key("k")).within(Duration::from_secs(1))).await;
    let ready = dsync.ready().await;
    for error in [tried.map(drop), limited.map(drop), ready].map(|answer| answer.unwrap_err()) {
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert_eq!(actix_web::ResponseError::status_code(&error).as_u16(), 503);
        let text = error.to_string();
        assert!(text.contains("ACL token") && !text.contains(secret), "{text}");
    }
    let mut waiting = Box::pin(dsync.send(Acquire::new(key("k"))));
    let early = tokio::time::timeout(Duration::from_secs(2), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");
    token_of(secret, "fresh");
    let lease = tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("in time");
    let lease = lease.expect("granted");
    // The next lock is no exception.
    assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
    assert_eq!(dsync.health().trouble, None);
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_deleted_in_use_is_an_incident_until_it_is_back() {
    let secret = "bbbbbbbb-2222-3333-4444-555555555555";
    let accessor = token_of(secret, "deleted");
    let dsync = runtime(agent().url(), "deleted", secret);
    let lease = acquire(&dsync, "k").await;
    agent().operator().ask("DELETE", &format!("/v1/acl/token/{accessor}"), b"").expect("deleted");
    assert_eq!(lease.lost().await, LossReason::DeadlinePassed);
    assert_eq!(dsync.health().blocked, None, "a token may need some seconds");
    let asked = std::time::Instant::now();
    while dsync.health().blocked.is_none() {
        assert!(asked.elapsed() < Duration::from_secs(90), "{:?}", dsync.health());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let health = dsync.health();
    assert!(health.live && !health.ready, "{health:?}");
    let report = dsync.list().to_string();
    let words = "no locks until an operator acts: denied for more than 30s";
    assert!(report.contains(words) && report.contains("ACL token"), "{report}");
    let incidents = dsync.list().incidents;
    let told = incidents.iter().filter(|incident| incident.what.contains(words)).count();
    assert_eq!(told, 1, "{incidents:?}");
    let why = dsync.explain(&key("other")).last_error;
    assert!(why.is_some_and(|why| why.contains("ACL token")));

    token_of(secret, "deleted");
    let lease = acquire(&dsync, "k").await;
    assert_eq!(dsync.health().blocked, None);
    assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_freed_though_the_right_to_release_it_is_taken_away() {
    let rules = |right: &str| {
        format!(
            "key_prefix \"taken/\" {{ policy = \"{right}\" }} \
             session_prefix \"\" {{ policy = \"write\" }}"
        )
    };
    let (secret, policy) = changeable_token("taken", &rules("write"));
    let (one, two) =
        (runtime(agent().url(), "taken", &secret), runtime(agent().url(), "taken", MANAGEMENT));
    let lease = acquire(&one, "k").await;
    let changed = json!({ "ID": policy, "Name": "taken", "Rules": rules("read") });
    put(&format!("/v1/acl/policy/{policy}"), &changed);
    let takes_effect = async {
        while !matches!(one.send(TryAcquire::new(key("f"))).await, Err(Error::Denied { .. })) {}
    };
    tokio::time::timeout(Duration::from_secs(60), takes_effect).await.expect("the right is gone");
    let reply = one.send(Release(lease)).await;
    assert_eq!(reply, Ok(Released::AlreadyLost(LossReason::SessionGone)));
    let incidents = one.send(List).await.expect("a report").incidents;
    let told = incidents.iter().find(|incident| incident.key == Some(key("k")));
    assert!(told.is_some_and(|it| it.what.contains("release failed: ")), "{incidents:?}");
    let lease = acquire(&two, "k").await;
    assert_eq!(two.send(Release(lease)).await, Ok(Released::Confirmed));
    for dsync in [one, two] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_writes_its_own_value_once_it_has_the_right_again() {
    let rules = |right: &str| {
        format!(
            "key_prefix \"handed/\" {{ policy = \"{right}\" }} \
             session_prefix \"\" {{ policy = \"write\" }}"
        )
    };
    let (secret, policy) = changeable_token("handed", &rules("write"));
    let allow = |right: &str| {
        let changed = json!({ "ID": policy, "Name": "handed", "Rules": rules(right) });
        put(&format!("/v1/acl/policy/{policy}"), &changed);
    };
    let may_write = async |dsync: &Dsync, may: bool| {
        let takes_effect =
            async { while dsync.send(TryAcquire::new(key("f"))).await.is_ok() != may {} };
        tokio::time::timeout(Duration::from_secs(60), takes_effect).await.expect("a new right");
    };
    let dsync = runtime(agent().url(), "handed", &secret);
    let lease = dsync.send(Acquire::new(key("k")).value("a caller's")).await.expect("a lease");
    let tenure = dsync.send(Campaign::on(key("k")).value("the leader's")).await.expect("a tenure");
    allow("read");
    may_write(&dsync, false).await;
    drop(lease);
    let term = tenure.elected().await;
    assert!(term.token().as_u64() & 0xFFFF > 0, "it was handed over");
    let value = || agent().operator().kv_get("handed/k").expect("it is locked").value;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(value(), b"a caller's");
    allow("write");
    may_write(&dsync, true).await;
    let written = async {
        while value() != b"the leader's" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), written).await.expect("the leader's value");
    assert!(term.is_valid());
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[test]
fn the_token_is_in_no_log_no_error_and_no_debug_text() {
    let enough = token("secret", &enough("log"));
    let nothing = token("nothing", r#"key_prefix "other/" { policy = "read" }"#);
    let unknown = "77777777-2222-3333-4444-555555555555".to_owned();
    for secret in [enough, nothing, unknown] {
        let log = log_of_a_talk(&agent().url(), "log", &secret);
        assert!(log.len() > 10, "it logged nothing: {log:?}");
        assert!(log.iter().any(|line| line.contains("TRACE")), "{log:#?}");
        let leaks: Vec<_> = log.iter().filter(|line| line.contains(&secret)).collect();
        assert!(leaks.is_empty(), "{leaks:#?}");
    }
}
