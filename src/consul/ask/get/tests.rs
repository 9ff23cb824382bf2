use super::{super::tests::fixtures::*, *};
use crate::{
    consul::{
        ask::{List, ListNow, Read, Watch},
        wire::WireReply,
    },
    key::Key,
};

const KEY: &str = "orders/2024%2F17";

fn get() -> Get {
    Get { key: KEY.into() }
}

fn tree() -> GetTree {
    GetTree { prefix: "orders/".into() }
}

#[test]
fn the_request_is_one_operation_for_consuls_leader() {
    let request = get().request(&Keyspace::default());
    assert_eq!(request.target, "/v1/txn?consistent");
    assert_eq!(body(&request), serde_json::json!([{"KV": {"Verb": "get", "Key": KEY}}]));
    let request = tree().request(&Keyspace::below(Some("p")));
    assert_eq!(
        body(&request),
        serde_json::json!([{"KV": {"Verb": "get-tree", "Key": "p/orders/"}}])
    );
}

#[test]
fn an_entry_continues_from_its_own_index() {
    let Seen::Found { entry, index } = read(&get(), 200, &done(&[kv(KEY, Some(ID), 17)])) else {
        panic!("not found");
    };
    assert_eq!((entry.session, entry.modify_index, index), (Some(id()), 17, 17));
    let missing = failed(&[(0, &format!("key \"{KEY}\" doesn't exist"))]);
    assert_eq!(read(&get(), 409, &missing), Seen::Missing { index: u64::MAX });
}

#[test]
fn another_entry_or_an_unclear_reply_is_unknown() {
    for (status, body) in [
        (200, done(&[kv("orders/other", Some(ID), 17)])),
        (200, done(&[kv(KEY, Some(ID), 0)])),
        (200, "<html>".into()),
        (404, String::new()),
        (409, failed(&[(0, "key \"orders/other\" doesn't exist")])),
        (409, failed(&[(0, &format!("key \"{KEY}\" doesn't exist any more"))])),
        (400, "Failed to parse body".into()),
        (500, "No cluster leader".into()),
    ] {
        let seen = read(&get(), status, &body);
        assert!(matches!(seen, Seen::Unknown(_)), "{status} {body}: {seen:?}");
    }
}

#[test]
fn a_missing_right_is_denied() {
    for (status, body) in [
        // Consul omits what the token may not read.
        (200, done(&[])),
        (403, "Permission denied".into()),
        (409, failed(&[(0, "Permission denied")])),
    ] {
        let seen = read(&get(), status, &body);
        assert_eq!(seen, Seen::Denied(format!("key:read on \"{KEY}\"")), "{status} {body}");
    }
    let denied = Listed::Denied("key:list on \"orders/\"".into());
    assert_eq!(read(&tree(), 409, &failed(&[(0, "Permission denied")])), denied);
}

#[test]
fn a_name_that_transactions_refuse_too_is_refused_for_good() {
    for (status, text) in [
        (400, "Invalid key in transaction: invalid key name, must not begin with \"/\""),
        (500, "invalid key name, keys should respect the \"^[a-z]+$\" format"),
    ] {
        assert!(matches!(read(&get(), status, text), Seen::NameRefused(why) if why.contains(text)));
        assert!(matches!(read(&tree(), status, text), Listed::NameRefused(_)));
    }
}

#[test]
fn a_tree_shows_its_entries_without_our_own() {
    let keys = Keyspace::below(Some("p"));
    let rows = [kv("p/a", Some(ID), 17), kv("p/.dsync/x", Some(ID), 21), kv("p/b", None, 19)];
    let reply = |body: &str| WireReply { status: 200, index: None, body: body.into() };
    let told = |body: &str| {
        let tree = GetTree { prefix: "".into() };
        tree.read(&keys, Answer::new(&reply(body), None))
    };
    let Listed::Found { entries, index } = told(&done(&rows)) else { panic!("not listed") };
    let shown: Vec<_> = entries.iter().map(|(key, entry)| (&**key, entry.modify_index)).collect();
    assert_eq!((shown, index), (vec![("a", 17), ("b", 19)], 19));
    assert_eq!(told(&done(&[])), Listed::Found { entries: Vec::new(), index: 1 });
    assert!(matches!(told(&done(&[kv("q/a", None, 3)])), Listed::Unknown(_)));
}

#[test]
fn only_a_refused_name_is_read_otherwise_and_never_for_a_blocking_read() {
    let (keys, key) = (Keyspace::below(Some("p")), Key::new("k").unwrap());
    let wait = std::time::Duration::from_secs(1);
    let refused = Seen::NameRefused("status 400".into());
    let others = [Seen::Missing { index: 1 }, Seen::Denied("key:read".into())];
    for read in [Read::Key(key.clone()), Read::Fence(id()), Read::Record(key.clone())] {
        let other = read.otherwise(&keys, &refused).unwrap();
        let asked = body(&other.request(&keys))[0]["KV"]["Key"].clone();
        let path = read.request(&keys).target;
        assert_eq!(format!("/v1/kv/{}?consistent", asked.as_str().unwrap()), path);
        assert!(others.iter().all(|seen| read.otherwise(&keys, seen).is_none()));
    }
    let watch = |after| Watch { key: key.clone(), after, wait };
    assert!(watch(None).otherwise(&keys, &refused).is_some());
    assert!(watch(Some(7)).otherwise(&keys, &refused).is_none());
    let list = List { prefix: "".into(), after: None, wait };
    assert!(list.otherwise(&keys, &Listed::NameRefused(String::new())).is_none());
    let now = ListNow { prefix: "jobs:eu/".into() };
    let other = now.otherwise(&keys, &Listed::NameRefused(String::new())).unwrap();
    assert_eq!(body(&other.request(&keys))[0]["KV"]["Key"], "p/jobs:eu/");
    let others = [Listed::Denied("key:list".into()), Listed::Unknown(Trouble::TooLong)];
    assert!(others.iter().all(|listed| now.otherwise(&keys, listed).is_none()));
}
