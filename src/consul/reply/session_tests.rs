//! Every answer about sessions that Consul was seen to give.

use super::*;
use crate::consul::{fact::Trouble, wire::WireReply};

const ID: &str = "ee474eed-262a-2872-71c3-42544dd66dce";

fn id() -> SessionId {
    ID.into()
}

fn reply(status: u16, body: &str) -> WireReply {
    WireReply { status, index: None, body: body.into() }
}

fn ask<T>(status: u16, body: &str, parse: impl Fn(Answer<'_>) -> T) -> T {
    parse(Answer::new(&reply(status, body), None))
}

fn create(status: u16, body: &str) -> Created {
    ask(status, body, created)
}

fn renew(status: u16, body: &str) -> Renewed {
    ask(status, body, |answer| renewed(answer, &id()))
}

fn info(status: u16, body: &str) -> SessionSeen {
    ask(status, body, |answer| session_seen(answer, &id()))
}

fn destroy(status: u16, body: &str) -> Destroyed {
    ask(status, body, destroyed)
}

fn session(id: &str, ttl: &str, delay: &str) -> String {
    format!(
        r#"[
    {{
        "ID": "{id}",
        "Name": "a",
        "Node": "vm",
        "LockDelay": {delay},
        "Behavior": "release",
        "TTL": "{ttl}",
        "NodeChecks": [],
        "ServiceChecks": null,
        "CreateIndex": 13,
        "ModifyIndex": 13
    }}
]
"#
    )
}

fn compact(json: &str) -> String {
    serde_json::from_str::<Value>(json).unwrap().to_string()
}

fn says<T>(trouble: Trouble, words: &str, ok: T) -> T {
    assert!(trouble.to_string().contains(words), "{trouble}");
    ok
}

#[test]
fn a_created_session_is_the_id_that_consul_gives() {
    let body = format!("{{\n    \"ID\": \"{ID}\"\n}}\n");
    assert_eq!(create(200, &body), Created::Session(id()));
    assert_eq!(create(200, &compact(&body)), Created::Session(id()));
    for body in
        [r#"{"ID":""}"#, r#"{"ID":"../kv/x"}"#, r#"{"ID":7}"#, "[]", "{}", "", "{\"ID\":\"ee4"]
    {
        assert!(matches!(create(200, body), Created::Unknown(Trouble::NotConsul(_))), "{body}");
    }
}

#[test]
fn a_ttl_out_of_the_servers_range_is_told_with_that_range() {
    let text = "Invalid Session TTL '15000000000', must be between [30s=24h0m0s]";
    assert_eq!(create(500, text), Created::TtlRefused("30s=24h0m0s".into()));
}

#[test]
fn the_sessions_of_one_name_are_those_with_just_that_name() {
    let other = ID.replace('e', "f");
    let body = format!(
        r#"[{{"ID":"{ID}","Name":"orders#0000beef"}}, {{"ID":"{other}","Name":"orders"}},
            {{"ID":"../x","Name":"orders#0000beef"}}]"#
    );
    let listed = |status, body: &str| {
        let reply = WireReply { status, index: None, body: body.into() };
        sessions_of(Answer::new(&reply, None), "orders#0000beef")
    };
    assert_eq!(listed(200, &body), SessionsSeen::Found(vec![ID.into()]));
    assert_eq!(listed(200, "[]"), SessionsSeen::Found(Vec::new()));
    assert!(matches!(listed(403, "Permission denied"), SessionsSeen::Denied(_)));
    assert!(matches!(listed(200, "{}"), SessionsSeen::Unknown(_)));
    assert!(matches!(listed(500, "EOF"), SessionsSeen::Unknown(_)));
}

#[test]
fn what_consul_says_against_a_session_is_handed_on() {
    for (status, text) in [
        (500, "Session TTL '10' invalid: time: missing unit in duration \"10\""),
        (500, "Invalid Behavior setting 'nonsense'"),
        (500, "Missing node registration"),
        (500, "Missing check 'x' registration"),
        (400, "Request decode failed: invalid character 'x' looking for beginning of value"),
    ] {
        match create(status, text) {
            Created::Unknown(trouble) => says(trouble, text, ()),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(create(403, "Permission denied"), Created::Denied("session:write".into()));
}

#[test]
fn alive_needs_our_id_in_a_list() {
    let ttl = |seconds| Renewed::Alive { ttl: Some(Duration::from_secs(seconds)) };
    assert_eq!(renew(200, &session(ID, "15000ms", "15000000000")), ttl(15));
    assert_eq!(renew(200, &compact(&session(ID, "1m30s", "0"))), ttl(90));
    assert_eq!(renew(200, &session(ID, "", "0")), Renewed::Alive { ttl: None });

    let other = session("ee474eed-262a-2872-71c3-42544dd66dcf", "15s", "0");
    let truncated = &session(ID, "15s", "0")[..100];
    let bare = session(ID, "15s", "0").replace(['[', ']'], "");
    for body in [&other, truncated, &bare, "[]", "true", "<html>ok</html>", "", "[[\"x\"]]"] {
        assert!(matches!(renew(200, body), Renewed::Unknown(Trouble::NotConsul(_))), "{body}");
    }
}

#[test]
fn gone_needs_consuls_own_words_about_our_session() {
    let words = format!("Session id '{ID}' not found");
    assert_eq!(renew(404, &words), Renewed::Gone);
    assert_eq!(renew(404, &format!("{words}\n")), Renewed::Gone);
    for (status, body) in [
        (404, ""),
        (404, "404 page not found"),
        (404, "Session id 'ee474eed-262a-2872-71c3-42544dd66dcf' not found"),
        (404, &format!("<html>{words}</html>")),
        (200, &*words),
        (500, &words),
    ] {
        assert!(matches!(renew(status, body), Renewed::Unknown(_)), "{status} {body}");
    }
}

#[test]
fn an_election_says_nothing_about_a_session() {
    for (status, text) in [
        (
            500,
            "rpc error getting client: failed to get conn: dial tcp 127.0.0.1:8300: connect: connection refused",
        ),
        (
            500,
            "rpc error getting client: failed to get conn: rpc error: lead thread didn't get connection",
        ),
        (500, "rpc error making call: EOF"),
        (500, "No cluster leader"),
        (429, "Your IP is issuing too many concurrent connections, please rate limit your calls"),
        (500, "failed session lookup: index error: UUID must be 36 characters"),
        (400, "Missing session"),
    ] {
        let unknown = Renewed::Unknown(Trouble::Server { status, text: text.into() });
        assert_eq!(renew(status, text), unknown);
    }
}

#[test]
fn refusals_are_neither_life_nor_death() {
    assert_eq!(renew(403, "Permission denied"), Renewed::Denied("session:write".into()));
    assert!(matches!(renew(403, "ACL not found"), Renewed::Denied(right) if right.contains("ACL")));
    assert!(matches!(renew(403, "<html>no</html>"), Renewed::Unknown(Trouble::NotConsul(_))));
    assert_eq!(info(403, "Permission denied"), SessionSeen::Denied("session:read".into()));
    assert_eq!(destroy(403, "Permission denied"), Destroyed::Denied("session:write".into()));
}

#[test]
fn a_lock_delay_is_what_consul_enforces() {
    for (shown, millis) in [
        ("15000000000", 15_000),
        ("250000000", 250),
        ("0", 0),
        ("-5000000000", 0),
        ("300000000000", 60_000),
        ("18446744073709551615", 60_000),
    ] {
        let SessionSeen::Exists { name, node, lock_delay } = info(200, &session(ID, "", shown))
        else {
            panic!("{shown}")
        };
        assert_eq!((&*name, &*node), ("a", "vm"));
        assert_eq!(lock_delay, Duration::from_millis(millis), "{shown}");
    }
    assert!(matches!(info(200, &session(ID, "", "1.5")), SessionSeen::Unknown(_)));
    assert!(matches!(info(200, &session("other", "", "0")), SessionSeen::Unknown(_)));
}

#[test]
fn an_empty_list_shows_nothing() {
    assert_eq!(info(200, "[]"), SessionSeen::NotShown);
    assert_eq!(info(200, "[]\n"), SessionSeen::NotShown);
    for body in ["null", "{}", "", "[null]", "false"] {
        assert!(matches!(info(200, body), SessionSeen::Unknown(_)), "{body}");
    }
    assert!(matches!(info(404, "[]"), SessionSeen::Unknown(_)));
}

#[test]
fn destroyed_is_the_word_true() {
    assert_eq!(destroy(200, "true"), Destroyed::Done);
    assert_eq!(destroy(200, "true\n"), Destroyed::Done);
    for body in ["false", "\"true\"", "[true]", "", "truetrue", "<html>true</html>"] {
        assert!(matches!(destroy(200, body), Destroyed::Unknown(Trouble::NotConsul(_))), "{body}");
    }
}
