use super::*;
use crate::value::LONGEST_PARSED;

const OWN: &[u8] = br#"{"address":"own","port":80}"#;

fn holder(value: &str) -> Holder {
    Holder {
        session: "s-1".into(),
        session_name: None,
        node: Some("node-1".into()),
        value: value.as_bytes().into(),
        index: 3,
    }
}

fn to_all() -> LeaderConfig {
    LeaderConfig::redirect().only(|_, _| true)
}

fn authority(config: &LeaderConfig, value: &str) -> Result<String, NoWay> {
    config.authority(&holder(value), OWN)
}

fn at(address: &str, port: u16) -> String {
    serde_json::json!({ "address": address, "port": port }).to_string()
}

#[test]
fn a_redirection_keeps_path_and_query_and_is_counted() {
    let path = |config: &LeaderConfig, asked: &str| config.path(&asked.parse().unwrap());
    for (asked, to) in [
        ("/", "/?dsync-hops=1"),
        ("/a%2Fb?x=%20&y", "/a%2Fb?x=%20&y&dsync-hops=1"),
        ("/a?dsync-hops=1&x", "/a?x&dsync-hops=2"),
        ("*", "/?dsync-hops=1"),
        ("//evil.example/a", "//evil.example/a?dsync-hops=1"),
    ] {
        assert_eq!(path(&to_all(), asked).as_deref(), Some(to), "{asked}");
    }
    for circle in ["/?dsync-hops=2", "/?dsync-hops=1&dsync-hops=7", "/?dsync-hops=x"] {
        assert_eq!(path(&to_all(), circle), None, "{circle}");
    }
    assert_eq!(path(&to_all().hops(1), "/?dsync-hops=1"), None);
}

#[test]
fn an_address_is_a_host_and_nothing_else() {
    for (address, host) in
        [("10.0.0.7", "10.0.0.7"), ("::1", "[::1]"), ("one.internal.", "one.internal.")]
    {
        assert_eq!(authority(&to_all(), &at(address, 8080)), Ok(format!("{host}:8080")));
    }
    for useless in ["0.0.0.0", "::", "http://one", "one:8080", "one ", "user@evil.example", ""] {
        let why = authority(&to_all(), &at(useless, 8080));
        assert_eq!(why, Err(NoWay::Useless(useless.into(), 8080)));
    }
    assert_eq!(authority(&to_all(), &at("one", 0)), Err(NoWay::Useless("one".into(), 0)));
}

#[test]
fn a_process_does_not_redirect_to_itself() {
    assert_eq!(authority(&to_all(), &at("own", 80)), Err(NoWay::Own));
    assert_eq!(authority(&to_all(), &at("own.", 80)), Err(NoWay::Own));
    assert!(authority(&to_all(), &at("own", 81)).is_ok());
    assert!(authority(&to_all(), &at("other", 80)).is_ok());
}

#[test]
fn a_leader_without_an_address_is_not_redirected_to() {
    for value in [
        "",
        "{}",
        "text",
        "[]",
        r#"{"address":"a"}"#,
        r#"{"address":7,"port":80}"#,
        r#"{"address":"a","port":70000}"#,
        r#"{"address":"a","port":"80"}"#,
    ] {
        assert_eq!(authority(&to_all(), value), Err(NoWay::Unnamed), "{value}");
    }
}

#[test]
fn a_value_that_is_too_long_is_not_parsed() {
    let padded = |length: usize| format!("{}{}", at("one", 80), " ".repeat(length));
    assert!(authority(&to_all(), &padded(LONGEST_PARSED - 64)).is_ok());
    assert_eq!(authority(&to_all(), &padded(LONGEST_PARSED)), Err(NoWay::Unnamed));
}

#[test]
fn a_host_must_be_named_by_the_operator_or_be_the_node_of_the_leaders_session() {
    let default = LeaderConfig::redirect();
    assert_eq!(authority(&default, &at("NODE-1.", 80)), Ok("NODE-1.:80".into()));
    let evil = authority(&default, &at("evil.example", 80));
    assert_eq!(evil, Err(NoWay::NotAllowed("evil.example".into(), 80)));
    let nowhere = Holder { node: None, ..holder(&at("node-1", 80)) };
    assert!(default.authority(&nowhere, OWN).is_err());

    let inside = LeaderConfig::redirect().only(|host, port| host == "a.internal" && port == 80);
    assert!(authority(&inside, &at("a.internal", 80)).is_ok());
    assert!(authority(&inside, &at("a.internal.", 80)).is_ok());
    for (address, port) in [("b.internal", 80), ("a.internal", 81), ("node-1", 80)] {
        assert!(authority(&inside, &at(address, port)).is_err(), "{address}:{port}");
    }
}

#[test]
fn the_scheme_is_the_servers_unless_a_proxy_is_trusted() {
    let of = |config: LeaderConfig, secure, forwarded| config.scheme.name(secure, || forwarded);
    for (secure, forwarded) in [(true, true), (true, false), (false, true), (false, false)] {
        let named = |https: bool| if https { "https" } else { "http" };
        assert_eq!(of(to_all(), secure, forwarded), named(secure));
        assert_eq!(of(to_all().trust_proxy(), secure, forwarded), named(forwarded));
        assert_eq!(of(to_all().https(), secure, forwarded), "https");
    }
}
