use std::time::Duration;

use super::{super::tests::fixtures::*, *};

fn renew(status: u16, body: &str) -> Renewed {
    read(&RenewSession { session: id() }, status, body)
}

#[test]
fn alive_needs_our_id_in_a_list() {
    let target = RenewSession { session: id() }.request(&Keyspace::default()).target;
    assert_eq!(target, format!("/v1/session/renew/{ID}"));

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
        (404, &format!("{words}: {words}")),
        (200, &*words),
        (500, &words),
    ] {
        assert!(matches!(renew(status, body), Renewed::Unknown(_)), "{status} {body}");
    }
}

#[test]
fn an_election_says_nothing_about_a_session() {
    let unreachable = "rpc error getting client: failed to get conn:";
    for (status, text) in [
        (500, &*format!("{unreachable} dial tcp 127.0.0.1:8300: connect: connection refused")),
        (500, &format!("{unreachable} rpc error: lead thread didn't get connection")),
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
    assert_eq!(renew(403, "ACL not found"), Renewed::Unknown(Trouble::UnknownToken));
    assert!(matches!(renew(403, "<html>no</html>"), Renewed::Unknown(Trouble::NotConsul(_))));
}
