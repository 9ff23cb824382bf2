use serde_json::json;

use super::{super::tests::fixtures::*, *};

fn info(status: u16, body: &str) -> SessionSeen {
    read(&SessionInfo { session: id() }, status, body)
}

#[test]
fn a_lock_delay_is_what_consul_enforces() {
    let target = SessionInfo { session: id() }.request(&Keyspace::default()).target;
    assert_eq!(target, format!("/v1/session/info/{ID}"));
    for (shown, millis) in [
        ("15000000000", 15_000),
        ("250000000", 250),
        ("0", 0),
        ("-5000000000", 0),
        ("300000000000", 60_000),
        ("18446744073709551615", 60_000),
    ] {
        let SessionSeen::Exists { name, node, lock_delay, .. } = info(200, &session(ID, "", shown))
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
    assert_eq!(info(403, "Permission denied"), SessionSeen::Denied("session:read".into()));
}

#[test]
fn long_names_of_others_are_cut() {
    let long = "n".repeat(100_000);
    let body = json!([{"ID": ID, "Name": long, "Node": long, "LockDelay": 0, "TTL": ""}]);
    let SessionSeen::Exists { name, node, .. } = info(200, &body.to_string()) else {
        panic!("it exists")
    };
    assert_eq!((name.chars().count(), node.chars().count()), (LONGEST_NAME, LONGEST_NAME));
}
