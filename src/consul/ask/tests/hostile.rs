//! Arbitrary replies: no parser panics, and none returns a positive answer that the reply
//! does not contain.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{get::GetTree, *},
    fixtures::{FENCE, ID, id},
    names::check_that_no_word_decides,
};
use crate::consul::{
    fact::{
        AgentSeen, Created, Destroyed, Expect, Fence, LeaderSeen, Listed, Locked, Pruned, Raised,
        Recorded, Released, Renewed, Right, Seen, SessionSeen, SessionsSeen, StaleFences, Written,
    },
    wire::WireReply,
};

pub(crate) const KEY: &str = "jobs/nightly";
const RECORD: &str = ".dsync/every/jobs/nightly";

fn key() -> Key {
    Key::new(KEY).unwrap()
}

/// Returns the fact of a question for this reply.
fn read<A: Ask>(ask: &A, reply: &WireReply) -> A::Fact {
    ask.read(&Keyspace::default(), Answer::new(reply, None))
}

fn create() -> CreateSession {
    let (ttl, lock_delay) = (Duration::from_secs(15), Duration::ZERO);
    CreateSession {
        name: String::new(),
        ttl,
        lock_delay,
        checks: Checks::default(),
        patience: Duration::ZERO,
    }
}

fn lock(fence: Fence, expect: Expect) -> Lock {
    Lock { key: key(), session: id(), value: vec![], flags: 7, fence, expect }
}

fn release(keeps: bool) -> Release {
    let keep = ReleaseHow::Keep { value: vec![], flags: 7 };
    let how = if keeps { keep } else { ReleaseHow::Delete };
    Release { key: key(), session: id(), index: 15, how }
}

fn join(fence: Fence) -> JoinSemaphore {
    let (roster, value, expect) = (vec![], vec![], Expect::Missing);
    JoinSemaphore { key: key(), session: id(), fence, expect, roster, value }
}

fn leave() -> LeaveSemaphore {
    LeaveSemaphore { key: key(), session: id(), index: 15, own: Some(15), left: Left::Nothing }
}

fn prune() -> PruneSemaphore {
    let (left, ended) = (Left::Roster(vec![]), vec![(id(), Some(15))]);
    PruneSemaphore { key: key(), index: 15, left, ended }
}

fn record() -> Record {
    Record { key: key(), session: id(), after: Some(3), value: vec![] }
}

fn writes() -> [Write; 2] {
    let put = EntryOp::Put { key: Key::new("d").unwrap(), value: vec![], flags: 9 };
    let value = What::Value { value: [].into(), flags: 7 };
    [value, What::Entries([put].into())].map(|what| Write {
        key: key(),
        session: id(),
        index: 15,
        what,
    })
}

fn list() -> List {
    List { prefix: "jobs/".into(), after: None, wait: Duration::ZERO }
}

fn entry_json() -> Value {
    json!({"LockIndex": 1, "Key": KEY, "Flags": 7, "Value": "YQ==", "Session": ID,
           "CreateIndex": 15, "ModifyIndex": 15})
}

/// Replies of Consul, one of each positive kind.
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
        ok(json!({"Results": [{"KV": entry_json()}, {"KV": entry_json()}, {"KV": entry_json()}], "Errors": null})),
        ok(json!({"Results": [{"KV": fence}], "Errors": null})),
        ok(json!({"Results": [], "Errors": null})),
        (409, json!({"Results": null, "Errors": [{"OpIndex": 0, "What": format!("key \"{KEY}\" doesn't exist")}]}).to_string()),
        (409, json!({"Results": null, "Errors": [{"OpIndex": 1, "What": format!("invalid session \"{ID}\"")}]}).to_string()),
    ]
    .into_iter()
    .map(|(status, body)| WireReply { status, index: Some(15), body: body.into() })
    .collect()
}

fn refused_name() -> Seen {
    Seen::NameRefused(String::new())
}

/// The keys of a listing. Other fields may hold anything, also numbers beyond every type.
fn listed_keys(body: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "Key")]
        key: String,
    }
    let listed: Vec<Named> = serde_json::from_slice(body).unwrap_or_default();
    listed.into_iter().map(|named| named.key).collect()
}

/// Whether a text in the JSON contains the words.
fn has_text(json: &Value, words: &str) -> bool {
    match json {
        Value::String(text) => text.contains(words),
        Value::Array(list) => list.iter().any(|value| has_text(value, words)),
        Value::Object(map) => map.values().any(|value| has_text(value, words)),
        _ => false,
    }
}

/// Counts the parsers that return a positive answer, and checks each against the bytes.
pub(crate) fn verdicts(reply: &WireReply) -> usize {
    let text = String::from_utf8_lossy(&reply.body);
    let json: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let names = |words: &str| text.contains(words);
    // An id may also be written with JSON's escapes.
    let holds =
        |words: &str| names(words) || json.as_ref().is_some_and(|json| has_text(json, words));
    let keys = listed_keys(&reply.body);
    let mut said_yes = 0;
    let mut yes = |backed: bool| {
        assert!(backed, "said yes to {} {text}", reply.status);
        said_yes += 1;
    };
    if let Created::Session(created) = read(&create(), reply) {
        yes(reply.status == 200 && holds(created.as_str()));
    }
    match read(&RenewSession { session: id() }, reply) {
        Renewed::Alive { .. } => yes(reply.status == 200 && holds(ID)),
        Renewed::Gone => yes(reply.status == 404 && names(ID)),
        Renewed::Denied(_) | Renewed::Unknown(_) => {}
    }
    match read(&SessionInfo { session: id() }, reply) {
        SessionSeen::Exists { .. } => yes(reply.status == 200 && holds(ID)),
        SessionSeen::NotShown => yes(reply.status == 200 && json == Some(json!([]))),
        SessionSeen::Denied(_) | SessionSeen::Unknown(_) => {}
    }
    if read(&DestroySession { session: id() }, reply) == Destroyed::Done {
        yes(reply.status == 200 && json == Some(json!(true)));
    }
    if let Listed::Found { entries, .. } = read(&list(), reply) {
        let is_listed = |key: &str| keys.iter().any(|listed| *listed == key);
        let keys_hold = entries.iter().all(|(key, _)| key.starts_with("jobs/") && is_listed(key));
        yes((reply.status == 404 && text.is_empty()) || (reply.status == 200 && keys_hold));
    }
    let by_transaction = Read::Key(key()).otherwise(&Keyspace::default(), &refused_name());
    match by_transaction.unwrap().read(&Keyspace::default(), Answer::new(reply, None)) {
        Seen::Found { index, entry } => {
            yes(reply.status == 200 && holds(KEY) && index == entry.modify_index);
        }
        Seen::Missing { .. } => yes(reply.status == 409 && holds("doesn't exist")),
        Seen::NameRefused(_) => yes(matches!(reply.status, 400 | 500)),
        Seen::Denied(_) | Seen::Unknown(_) => {}
    }
    if let Listed::Found { entries, .. } = read(&GetTree { prefix: "jobs/".into() }, reply) {
        yes(reply.status == 200 && entries.iter().all(|(key, _)| holds(key)));
    }
    match read(&Read::Key(key()), reply) {
        Seen::Found { index, .. } => {
            yes(reply.status == 200 && holds(KEY) && Some(index) == reply.index);
        }
        Seen::Missing { .. } => yes(reply.status == 404 && reply.body.is_empty()),
        Seen::NameRefused(_) => yes(matches!(reply.status, 400 | 500)),
        Seen::Denied(_) | Seen::Unknown(_) => {}
    }
    for fence in [Fence::Unraised, Fence::At(3), Fence::Unusable] {
        let alone = read(&lock(fence, Expect::Missing), reply);
        let of_set = read(&LockAll(vec![lock(fence, Expect::Missing)]), reply);
        for locked in [alone, read(&join(fence), reply)].into_iter().chain(of_set) {
            match locked {
                Locked::At(index) => {
                    yes(reply.status == 200 && index >= 1 && holds(ID) && holds(KEY));
                }
                Locked::SessionGone => yes(reply.status == 409 && holds(ID)),
                Locked::Held | Locked::Delayed | Locked::Changed | Locked::Fenced => {
                    yes(reply.status == 409);
                }
                _ => {}
            }
        }
        if let Raised::At(index) = read(&RaiseFence { session: id(), from: fence }, reply) {
            yes(reply.status == 200 && index >= 1 && holds(FENCE));
        }
    }
    for keeps in [false, true] {
        match read(&release(keeps), reply) {
            Released::Done => yes(reply.status == 200 && holds(ID) && holds(KEY)),
            Released::FenceFailed => yes(reply.status == 409),
            Released::Denied(_) | Released::Unknown(_) => {}
        }
    }
    // A semaphore's entry is known by its index.
    match read(&leave(), reply) {
        Released::Done => yes(reply.status == 200 && holds(KEY)),
        Released::FenceFailed => yes(reply.status == 409),
        Released::Denied(_) | Released::Unknown(_) => {}
    }
    match read(&prune(), reply) {
        Pruned::Done => yes(reply.status == 200 && holds(KEY)),
        Pruned::Stale => yes(reply.status == 409),
        Pruned::Denied(_) | Pruned::Unknown(_) => {}
    }
    match read(&record(), reply) {
        Recorded::Done => yes(reply.status == 200 && holds(ID) && holds(RECORD)),
        Recorded::NotHeld | Recorded::Stale => yes(reply.status == 409),
        Recorded::Denied(_) | Recorded::Unknown(_) => {}
    }
    for write in writes() {
        match read(&write, reply) {
            Written::Done { .. } => yes(reply.status == 200 && holds(ID) && holds(KEY)),
            Written::NotHeld | Written::Moved(_) | Written::Conflict(_) => yes(reply.status == 409),
            _ => {}
        }
    }
    if read(&DeleteFence { session: id() }, reply) == Destroyed::Done {
        yes(reply.status == 200 && text.trim_start().starts_with('{') && holds("Results"));
    }
    if let SessionsSeen::Found(found) = read(&ListSessions { name: "orders".into() }, reply) {
        yes(reply.status == 200 && found.iter().all(|id| holds(id.as_str())));
    }
    if let StaleFences::Found(found) = read(&ListStaleFences, reply) {
        let is_listed = |id: &SessionId| keys.iter().any(|key| key.ends_with(id.as_str()));
        yes(matches!(reply.status, 200 | 404) && found.iter().all(|(id, _)| is_listed(id)));
    }
    said_yes += other_verdicts(reply);
    said_yes
}

/// The questions that no lock depends on.
fn other_verdicts(reply: &WireReply) -> usize {
    let log_in =
        LogIn { auth_method: "jwt".into(), bearer: "b34r3r".into(), meta: Default::default() };
    let token = read(&log_in, reply);
    if let LoggedIn::Token { token, .. } = &token {
        assert!(reply.status == 200 && !token.is_blank());
    }
    let agent = read(&Agent, reply);
    if let AgentSeen::Known { version, .. } = &agent {
        assert!(version.chars().all(crate::escape::is_printable));
    }
    let may_write = read(&MayWrite(Place::Key(key())), reply);
    let granted = may_write == Right::Granted;
    assert!(!granted || matches!(reply.status, 200 | 409));
    let may_read = read(&MayRead(Place::Key(key())), reply);
    assert!(may_read != Right::Granted || matches!(reply.status, 200 | 404));
    let _ = (read(&MayList, reply), read(&LogOut, reply), read(&IsVisible, reply));
    let led = read(&Leader, reply);
    [
        matches!(token, LoggedIn::Token { .. }),
        matches!(agent, AgentSeen::Known { .. }),
        matches!(led, LeaderSeen::Answered { .. }),
    ]
    .into_iter()
    .filter(|yes| *yes)
    .count()
}

#[test]
fn every_genuine_reply_is_accepted_by_a_parser() {
    for reply in genuine() {
        assert!(verdicts(&reply) > 0, "{}", String::from_utf8_lossy(&reply.body));
        (0..100).for_each(|choice| check_that_no_word_decides(&reply, KEY, choice));
    }
}

#[test]
fn a_truncated_reply_proves_nothing() {
    for reply in genuine() {
        // An empty body can be a genuine reply itself.
        for end in 1..reply.body.len() {
            let cut = WireReply { body: reply.body[..end].to_vec(), ..reply.clone() };
            assert_eq!(verdicts(&cut), 0, "{}", String::from_utf8_lossy(&cut.body));
        }
    }
}

#[test]
fn a_reply_about_another_session_proves_nothing_about_ours() {
    for reply in genuine() {
        let text = String::from_utf8(reply.body.clone()).unwrap();
        for place in ID.char_indices().map(|(place, _)| place) {
            let mut other = ID.to_owned();
            other.replace_range(place..=place, if &ID[place..=place] == "0" { "1" } else { "0" });
            let other = WireReply { body: text.replace(ID, &other).into(), ..reply.clone() };
            if !text.contains(ID) {
                continue;
            }
            let renewed = read(&RenewSession { session: id() }, &other);
            assert!(matches!(renewed, Renewed::Unknown(_)));
            let seen = read(&SessionInfo { session: id() }, &other);
            assert!(matches!(seen, SessionSeen::Unknown(_)));
            let locked = read(&lock(Fence::Unusable, Expect::Missing), &other);
            assert!(matches!(locked, Locked::Unknown(_)));
            assert!(matches!(read(&release(true), &other), Released::Unknown(_)));
            assert!(matches!(read(&record(), &other), Recorded::Unknown(_)));
            for write in writes() {
                assert!(matches!(read(&write, &other), Written::Unknown(_)));
            }
            let raised = read(&RaiseFence { session: id(), from: Fence::Unraised }, &other);
            assert!(matches!(raised, Raised::Unknown(_)));
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
        check_that_no_word_decides(&reply, KEY, reply.body.len());
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
