use serde_json::Value;

use super::{super::tests::fixtures::ID, *};
use crate::consul::{
    fact::{SessionId, Trouble},
    wire::WireReply,
};

const HELD: &str = r#"[
    {
        "LockIndex": 1,
        "Key": "p/k",
        "Flags": 16210313421097356768,
        "Value": "YQ==",
        "Session": "ee474eed-262a-2872-71c3-42544dd66dce",
        "CreateIndex": 15,
        "ModifyIndex": 26
    }
]
"#;

fn read(status: u16, index: Option<u64>, body: &str) -> Seen {
    let reply = WireReply { status, index, body: body.into() };
    seen(Answer::new(&reply, None), "p/k")
}

fn held(value: &[u8], session: Option<&str>) -> Entry {
    Entry {
        session: session.map(SessionId::from),
        modify_index: 26,
        lock_index: 1,
        flags: 16_210_313_421_097_356_768,
        value: value.to_vec(),
    }
}

#[test]
fn a_held_key_reads_the_same_pretty_and_compact() {
    let found = Seen::Found { entry: held(b"a", Some(ID)), index: 26 };
    assert_eq!(read(200, Some(26), HELD), found);
    let compact = serde_json::from_str::<Value>(HELD).unwrap().to_string();
    assert_eq!(read(200, Some(26), &compact), found);
}

#[test]
fn a_free_key_has_no_session_and_may_have_no_value() {
    let free = Seen::Found { entry: held(b"", None), index: 27 };
    let null = HELD.replace("\"YQ==\"", "null");
    let no_session = null.replace(&format!("\"Session\": \"{ID}\","), "");
    assert_eq!(read(200, Some(27), &no_session), free);
    assert_eq!(read(200, Some(27), &null.replace(ID, "")), free);
}

#[test]
fn missing_is_an_empty_404_with_consuls_index() {
    assert_eq!(read(404, Some(29), ""), Seen::Missing { index: 29 });
    for (index, body) in
        [(None, ""), (Some(0), ""), (Some(29), "404 page not found"), (Some(29), " ")]
    {
        assert!(matches!(read(404, index, body), Seen::Unknown(_)), "{index:?} {body:?}");
    }
    assert!(matches!(read(200, Some(29), ""), Seen::Unknown(_)));
}

#[test]
fn found_needs_our_key_whole_and_alone() {
    let two = format!("[{0},{0}]", HELD.trim().trim_matches(['[', ']']));
    for body in [
        &*HELD.replace("p/k", "k"),
        &HELD.replace("\"ModifyIndex\": 26", "\"ModifyIndex\": 0"),
        &HELD.replace("\"ModifyIndex\": 26", "\"ModifyIndex\": -1"),
        &HELD.replace("\"ModifyIndex\"", "\"Other\""),
        &HELD.replace("16210313421097356768", "1.5"),
        &HELD.replace("YQ==", "!!"),
        &HELD.replace(&format!("\"{ID}\""), "7"),
        &two,
        "[]",
        &HELD[..90],
        "<html></html>",
    ] {
        let seen = read(200, Some(26), body);
        assert!(matches!(seen, Seen::Unknown(Trouble::NotConsul(_))), "{body}: {seen:?}");
    }
    assert!(matches!(read(200, None, HELD), Seen::Unknown(_)));
    assert!(matches!(read(200, Some(0), HELD), Seen::Unknown(_)));
    assert!(matches!(read(206, Some(26), HELD), Seen::Unknown(_)));
}

#[test]
fn a_refusal_names_the_whole_key() {
    let denied = Seen::Denied("key:read on \"p/k\"".into());
    assert_eq!(read(403, None, "Permission denied"), denied);
}

#[test]
fn a_redirect_or_an_election_is_no_news() {
    assert!(
        matches!(read(301, None, ""), Seen::Unknown(Trouble::NotConsul(what)) if what.contains("redirect"))
    );
    assert!(matches!(
        read(500, None, "rpc error making call: EOF"),
        Seen::Unknown(Trouble::Server { status: 500, .. })
    ));
}

#[test]
fn an_index_that_no_token_can_carry_is_no_answer() {
    let with =
        |index: u64| HELD.replace("\"ModifyIndex\": 26", &format!("\"ModifyIndex\": {index}"));
    let largest = (1 << 40) - 1;
    let found = read(200, Some(largest), &with(largest));
    assert!(matches!(found, Seen::Found { .. }), "{found:?}");
    let beyond = read(200, Some(1 << 40), &with(1 << 40));
    assert!(matches!(beyond, Seen::Unknown(_)), "{beyond:?}");
}
