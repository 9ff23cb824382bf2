//! Any bytes at all: no parser panics, and none says yes unless the reply does.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::consul::{
    fact::{
        Created, Destroyed, Fence, Listed, Locked, Raised, Recorded, Released, Renewed, Seen,
        SessionId, SessionSeen,
    },
    wire::WireReply,
};

const ID: &str = "ee474eed-262a-2872-71c3-42544dd66dce";
const KEY: &str = "jobs/nightly";
const FENCE: &str = ".dsync/ee474eed-262a-2872-71c3-42544dd66dce";
const RECORD: &str = ".dsync/every/jobs/nightly";

fn entry_json() -> Value {
    json!({"LockIndex": 1, "Key": KEY, "Flags": 7, "Value": "YQ==", "Session": ID,
           "CreateIndex": 15, "ModifyIndex": 15})
}

/// Replies that Consul would give, one of each positive kind.
fn genuine() -> Vec<WireReply> {
    let fence = json!({"LockIndex": 1, "Key": FENCE, "Flags": 0, "Value": "MA==",
                       "Session": ID, "CreateIndex": 16, "ModifyIndex": 16});
    let record = json!({"Key": RECORD, "Flags": 0, "Value": "MA==", "ModifyIndex": 27});
    let free = json!({"Key": KEY, "Flags": 7, "Value": null, "ModifyIndex": 26});
    let ok = |body: Value| (200, body.to_string());
    [
        ok(json!({"ID": ID})),
        ok(json!([{"ID": ID, "Name": "a", "Node": "vm", "LockDelay": 15_000_000_000_u64, "TTL": "15s"}])),
        ok(json!(true)),
        (404, format!("Session id '{ID}' not found")),
        (404, String::new()),
        ok(json!([entry_json()])),
        ok(json!({"Results": [{"KV": entry_json()}], "Errors": null})),
        ok(json!({"Results": [{"KV": entry_json()}, {"KV": free}], "Errors": null})),
        ok(json!({"Results": [{"KV": entry_json()}, {"KV": record}], "Errors": null})),
        ok(json!({"Results": [{"KV": fence}], "Errors": null})),
        ok(json!({"Results": [], "Errors": null})),
        (409, json!({"Results": null, "Errors": [{"OpIndex": 1, "What": format!("invalid session \"{ID}\"")}]}).to_string()),
    ]
    .into_iter()
    .map(|(status, body)| WireReply { status, index: Some(15), body: body.into() })
    .collect()
}

/// How many parsers say yes to `reply`, checking each yes against the bytes.
fn verdicts(reply: &WireReply) -> usize {
    let answer = Answer::new(reply, None);
    let id = SessionId::from(ID);
    let text = String::from_utf8_lossy(&reply.body);
    let json: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let names = |words: &str| text.contains(words);
    // An id may also be written with JSON's escapes.
    let holds = |words: &str| {
        names(words) || json.as_ref().is_some_and(|json| json.to_string().contains(words))
    };
    let mut said_yes = 0;
    let mut yes = |backed: bool| {
        assert!(backed, "said yes to {} {text}", reply.status);
        said_yes += 1;
    };
    if let Created::Session(created) = created(answer) {
        yes(reply.status == 200 && holds(created.as_str()));
    }
    match renewed(answer, &id) {
        Renewed::Alive { .. } => yes(reply.status == 200 && holds(ID)),
        Renewed::Gone => yes(reply.status == 404 && names(ID)),
        Renewed::Denied(_) | Renewed::Unknown(_) => {}
    }
    match session_seen(answer, &id) {
        SessionSeen::Exists { .. } => yes(reply.status == 200 && holds(ID)),
        SessionSeen::NotShown => yes(reply.status == 200 && json == Some(json!([]))),
        SessionSeen::Denied(_) | SessionSeen::Unknown(_) => {}
    }
    if destroyed(answer) == Destroyed::Done {
        yes(reply.status == 200 && json == Some(json!(true)));
    }
    if let Listed::Found { entries, .. } = listed(answer, "jobs/", 0) {
        let keys_hold = entries.iter().all(|(key, _)| key.starts_with("jobs/") && holds(key));
        yes((reply.status == 404 && text.is_empty()) || (reply.status == 200 && keys_hold));
    }
    match seen(answer, KEY) {
        Seen::Found { index, .. } => {
            yes(reply.status == 200 && holds(KEY) && Some(index) == reply.index);
        }
        Seen::Missing { .. } => yes(reply.status == 404 && reply.body.is_empty()),
        Seen::Denied(_) | Seen::Unknown(_) => {}
    }
    for fence in [Fence::Unraised, Fence::At(3), Fence::Unusable] {
        match locked(answer, KEY, FENCE, &id, fence) {
            Locked::At(index) => {
                yes(reply.status == 200 && index >= 1 && holds(ID) && holds(KEY));
            }
            Locked::SessionGone => yes(reply.status == 409 && holds(ID)),
            Locked::Held | Locked::Delayed | Locked::Changed | Locked::Fenced => {
                yes(reply.status == 409);
            }
            _ => {}
        }
        if let Raised::At(index) = raised(answer, FENCE, &id, fence) {
            yes(reply.status == 200 && index >= 1 && holds(FENCE));
        }
    }
    for keeps in [false, true] {
        match released(answer, KEY, &id, keeps) {
            Released::Done => yes(reply.status == 200 && holds(ID) && holds(KEY)),
            Released::FenceFailed => yes(reply.status == 409),
            Released::Denied(_) | Released::Unknown(_) => {}
        }
    }
    match recorded(answer, KEY, RECORD, &id, Some(3)) {
        Recorded::Done => yes(reply.status == 200 && holds(ID) && holds(RECORD)),
        Recorded::NotHeld | Recorded::Stale => yes(reply.status == 409),
        Recorded::Denied(_) | Recorded::Unknown(_) => {}
    }
    if fence_deleted(answer, FENCE) == Destroyed::Done {
        yes(reply.status == 200 && json.is_some());
    }
    said_yes
}

#[test]
fn every_genuine_reply_is_understood_by_somebody() {
    for reply in genuine() {
        assert!(verdicts(&reply) > 0, "{}", String::from_utf8_lossy(&reply.body));
    }
}

#[test]
fn a_cut_reply_says_nothing() {
    for reply in genuine() {
        // The shorter texts of an empty body are genuine replies themselves.
        for end in 1..reply.body.len() {
            let cut = WireReply { body: reply.body[..end].to_vec(), ..reply.clone() };
            assert_eq!(verdicts(&cut), 0, "{}", String::from_utf8_lossy(&cut.body));
        }
    }
}

#[test]
fn a_reply_about_another_session_is_no_word_on_ours() {
    for reply in genuine() {
        let text = String::from_utf8(reply.body.clone()).unwrap();
        for place in ID.char_indices().map(|(place, _)| place) {
            let mut other = ID.to_owned();
            other.replace_range(place..=place, if &ID[place..=place] == "0" { "1" } else { "0" });
            let other = WireReply { body: text.replace(ID, &other).into(), ..reply.clone() };
            let answer = Answer::new(&other, None);
            let id = SessionId::from(ID);
            if !text.contains(ID) {
                continue;
            }
            assert!(matches!(renewed(answer, &id), Renewed::Unknown(_)));
            assert!(matches!(session_seen(answer, &id), SessionSeen::Unknown(_)));
            assert!(matches!(locked(answer, KEY, FENCE, &id, Fence::Unusable), Locked::Unknown(_)));
            assert!(matches!(released(answer, KEY, &id, true), Released::Unknown(_)));
            let recorded = recorded(answer, KEY, RECORD, &id, None);
            assert!(matches!(recorded, Recorded::Unknown(_)));
            assert!(matches!(raised(answer, FENCE, &id, Fence::Unraised), Raised::Unknown(_)));
        }
    }
}

fn status() -> impl Strategy<Value = u16> {
    prop_oneof![
        prop::sample::select(vec![200_u16, 204, 301, 400, 403, 404, 409, 413, 429, 500, 502]),
        any::<u16>(),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_a_parser(
        status in status(),
        index in any::<Option<u64>>(),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        verdicts(&WireReply { status, index, body });
    }

    #[test]
    fn a_mutated_reply_says_only_what_it_still_says(
        which in any::<prop::sample::Index>(),
        status in prop_oneof![Just(None), status().prop_map(Some)],
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let replies = genuine();
        let mut reply = which.get(&replies).clone();
        for (place, byte, kind) in edits {
            if reply.body.is_empty() { break; }
            let place = place.index(reply.body.len());
            match kind {
                0 => reply.body[place] = byte,
                1 => reply.body.insert(place, byte),
                _ => { reply.body.remove(place); }
            }
        }
        reply.status = status.unwrap_or(reply.status);
        verdicts(&reply);
    }

    #[test]
    fn strange_json_in_the_right_shape_never_panics_a_parser(
        text in "[\\PC]{0,40}", number in any::<u64>(), float in any::<f64>(), status in status(),
    ) {
        for value in [json!(text), json!(number), json!(float), json!([text]), json!({"KV": text}), Value::Null] {
            for body in [
                json!([{"ID": value, "LockDelay": value, "TTL": value}]),
                json!([{"ID": ID, "LockDelay": value, "TTL": value}]),
                json!([{"Key": KEY, "Flags": value, "Value": value, "Session": value, "ModifyIndex": value}]),
                json!({"Results": [value], "Errors": value}),
                json!({"Results": [{"KV": value}], "Errors": [value]}),
                json!({"Errors": [{"OpIndex": value, "What": value}]}),
            ] {
                verdicts(&WireReply { status, index: Some(number), body: body.to_string().into() });
            }
        }
    }
}
