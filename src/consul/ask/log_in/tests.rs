use super::*;
use crate::consul::wire::WireReply;

fn ask() -> LogIn {
    let meta = [("pod".to_owned(), "a".to_owned())].into();
    LogIn { auth_method: "jwt".into(), bearer: "b34r3r".into(), meta }
}

fn read(status: u16, body: &str) -> LoggedIn {
    let reply = WireReply { status, index: None, body: body.into() };
    ask().read(&Keyspace::default(), Answer::new(&reply, Some(&"b34r3r".into())))
}

#[test]
fn a_login_is_posted_and_its_token_lives_from_its_creation_to_its_expiry() {
    let request = ask().request(&Keyspace::default());
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/acl/login"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let expected = json!({"AuthMethod": "jwt", "BearerToken": "b34r3r", "Meta": {"pod": "a"}});
    assert_eq!(body, expected);

    for (created, expires, lifetime) in [
        ("2020-05-01T10:00:00.5Z", "2020-05-01T10:01:00.5Z", Some(60)),
        ("2020-05-01T10:00:00-04:00", "2020-05-01T14:01:00Z", Some(60)),
        ("2020-05-01T10:00:00.123456789+05:30", "2020-05-01T04:30:30.123456789Z", Some(30)),
        ("2020-05-01T10:00:00Z", "2020-05-01T09:00:00Z", Some(0)),
        ("2020-05-01T10:00:00Z", "tomorrow", None),
        ("2020-05-01T10:00:00Z", "2020-05-01T10:00:00+ab:cd", None),
        ("2020-05-01T10:00:00Z", "\u{e4}\u{e4}:00", None),
    ] {
        let body = json!({"SecretID": "t0k3n", "CreateTime": created, "ExpirationTime": expires});
        let lifetime = lifetime.map(Duration::from_secs);
        let expected = LoggedIn::Token { token: "t0k3n".into(), lifetime };
        assert_eq!(read(200, &body.to_string()), expected, "{created} {expires}");
    }
}

#[test]
fn what_is_no_login_gives_no_token_and_shows_no_secret() {
    for (status, body) in [
        (200, ""),
        (200, "true"),
        (200, r#"{"SecretID": ""}"#),
        (200, r#"{"AccessorID": "t0k3n"}"#),
        (500, "no leader: b34r3r"),
        (404, "<html>b34r3r"),
        (302, "b34r3r"),
    ] {
        let fact = read(status, body);
        assert!(matches!(fact, LoggedIn::Unknown(_)), "{status} {body}: {fact:?}");
        let shown = format!("{fact:?}");
        assert!(!shown.contains("b34r3r") && !shown.contains("t0k3n"), "{shown}");
    }
    let denied = read(403, "rpc error making call: Permission denied for b34r3r");
    assert!(matches!(&denied, LoggedIn::Denied(why) if !why.contains("b34r3r")), "{denied:?}");
    assert!(!format!("{:?}", ask()).contains("b34r3r"));
}
