//! The API, driven step by step as simulations do.

use std::time::{Duration, Instant};

use super::*;
use crate::{consul::wire::Method, embedded::EmbeddedRight};

fn at(millis: u64) -> Moment {
    Moment::from_nanos(3_600_000_000_000) + Duration::from_millis(millis)
}

fn request(method: Method, target: &str, body: &str) -> WireRequest {
    WireRequest { method, target: target.into(), body: body.into(), blocks: false }
}

fn now(api: &mut Api, millis: u64, method: Method, target: &str, body: &str) -> WireReply {
    match api.respond(at(millis), &request(method, target, body)) {
        Response::Now(reply) => reply,
        Response::Parked(parked) => panic!("{target} is parked: {parked:?}"),
    }
}

fn parked(api: &mut Api, millis: u64, target: &str) -> Parked {
    match api.respond(at(millis), &request(Method::Get, target, "")) {
        Response::Parked(parked) => parked,
        Response::Now(reply) => panic!("{target} is answered: {reply:?}"),
    }
}

#[test]
fn a_parked_read_is_answered_by_a_change_or_at_its_deadline() {
    let mut api = Api::new(Settings::default());
    now(&mut api, 0, Method::Put, "/v1/kv/k", "1");
    let index = now(&mut api, 0, Method::Get, "/v1/kv/k", "").index.unwrap();
    let read = parked(&mut api, 0, &format!("/v1/kv/k?index={index}&wait=16s"));
    assert!(read.deadline() >= at(16_000) && read.deadline() < at(17_000));
    assert_eq!(api.recheck(at(15_999), &read), None);
    let late = api.recheck(read.deadline(), &read).unwrap();
    assert_eq!(late.index, Some(index));
    now(&mut api, 17_000, Method::Put, "/v1/kv/k", "2");
    assert!(api.recheck(at(17_000), &read).unwrap().index.unwrap() > index);
}

#[test]
fn a_parked_read_is_answered_when_the_store_is_replaced() {
    let mut api = Api::new(Settings::default());
    now(&mut api, 0, Method::Put, "/v1/kv/k", "1");
    let read = parked(&mut api, 0, "/v1/kv/k?index=1000");
    api.engine.restart_empty(at(1));
    assert_eq!(api.recheck(at(1), &read).unwrap().status, 404);
}

#[test]
fn a_malformed_target_is_refused_without_a_panic() {
    let mut api = Api::new(Settings::default());
    for target in ["", "?", "/", "/v1/kv", "/v1/kv/%", "/v1/kv/%f", "v1", "/v1/kv/k?%", "/v1/kv/é"]
    {
        for method in [Method::Get, Method::Put] {
            assert_ne!(now(&mut api, 0, method, target, "").status, 0, "{target}");
        }
    }
}

#[test]
fn a_thousand_locks_and_releases_take_less_than_two_seconds() {
    let mut api = Api::new(Settings::default());
    let created = now(&mut api, 0, Method::Put, "/v1/session/create", r#"{"TTL":"15s"}"#);
    let id: serde_json::Value = serde_json::from_slice(&created.body).unwrap();
    let id = id["ID"].as_str().unwrap().to_owned();
    let lock = format!(
        r#"[{{"KV":{{"Verb":"check-not-exists","Key":"k"}}}},{{"KV":{{"Verb":"lock","Key":"k","Value":"eHg=","Session":"{id}"}}}}]"#
    );
    let delete = r#"[{"KV":{"Verb":"delete","Key":"k"}}]"#;
    let begin = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(now(&mut api, 0, Method::Put, "/v1/txn", &lock).status, 200);
        assert_eq!(now(&mut api, 0, Method::Put, "/v1/txn", delete).status, 200);
    }
    // Generous even for an unoptimised build on a busy machine.
    assert!(begin.elapsed() < Duration::from_secs(2), "took {:?}", begin.elapsed());
}

fn newer() -> Api {
    Api::new(Settings { newer: true, ..Settings::default() })
}

#[test]
fn a_newer_agent_takes_128_operations_and_says_its_version() {
    let checks = |count: usize| {
        let check = r#"{"KV":{"Verb":"check-not-exists","Key":"none"}}"#;
        format!("[{}]", vec![check; count].join(","))
    };
    for (mut api, most) in [(Api::new(Settings::default()), 64), (newer(), 128)] {
        let txn = |api: &mut Api, count| now(api, 0, Method::Put, "/v1/txn", &checks(count));
        assert_eq!(txn(&mut api, most).status, 200);
        let refused = txn(&mut api, most + 1);
        let text = format!("Transaction contains too many operations ({} > {most})", most + 1);
        assert_eq!((refused.status, refused.body), (413, text.into_bytes()));
    }
    let shown = now(&mut newer(), 0, Method::Get, "/v1/agent/self", "");
    assert!(String::from_utf8(shown.body).unwrap().contains(r#""Version":"1.21.0""#));
}

#[test]
fn other_writes_wake_a_read_of_what_does_not_exist_only_on_the_older_agent() {
    for (mut api, wakes) in [(Api::new(Settings::default()), true), (newer(), false)] {
        for target in ["missing", "none/?recurse"] {
            let index =
                now(&mut api, 0, Method::Get, &format!("/v1/kv/{target}"), "").index.unwrap();
            let join = if target.contains('?') { '&' } else { '?' };
            let read = parked(&mut api, 0, &format!("/v1/kv/{target}{join}index={index}&wait=60s"));
            now(&mut api, 1, Method::Put, "/v1/kv/other", "1");
            let woken = api.recheck(at(2), &read);
            assert_eq!(woken.is_some(), wakes && target == "missing", "{target}: {woken:?}");
            let key = target.replace("/?recurse", "/x");
            now(&mut api, 3, Method::Put, &format!("/v1/kv/{key}"), "1");
            assert_eq!(api.recheck(at(4), &read).unwrap().status, 200, "{target}");
            now(&mut api, 5, Method::Put, "/v1/kv/end", "1");
        }
    }
}

#[test]
fn requests_beyond_the_rate_are_refused_until_the_next_second() {
    let mut api = Api::new(Settings { request_rate: Some(2), ..Settings::default() });
    let mut status = |millis, method| now(&mut api, millis, method, "/v1/kv/k", "1").status;
    assert_eq!([0, 10, 20].map(|at| status(at, Method::Put)), [200, 200, 503]);
    assert_eq!(status(30, Method::Get), 429);
    assert_eq!(status(1_000, Method::Get), 200);
}

#[test]
fn a_newer_agents_denial_names_the_token_the_right_and_the_unescaped_key() {
    let mut api = newer();
    api.engine.allow(EmbeddedRight::KeyWrite, false);
    let written = now(&mut api, 0, Method::Put, "/v1/kv/a%22b", "1");
    let text = "Permission denied: token with AccessorID '8a2d52a0-6b41-7077-8374-09d4fafa2d30' \
                lacks permission 'key:write' on \"a\"b\"";
    assert_eq!(written.status, 403);
    assert_eq!(String::from_utf8(written.body).unwrap(), format!("rpc error making call: {text}"));
    let set = r#"[{"KV":{"Verb":"set","Key":"a\"b"}}]"#;
    let written = now(&mut api, 0, Method::Put, "/v1/txn", set);
    let json: serde_json::Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!((written.status, &json["Errors"][0]["What"]), (409, &text.into()));
}
