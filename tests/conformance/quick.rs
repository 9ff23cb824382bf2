//! Cases without long waits: replies, indexes and what wakes a blocking read.

use super::{Case, script::Script};

const NO_SESSION: &str = "11111111-1111-1111-1111-111111111111";
const NO_DELAY: &str = r#"{"LockDelay":"0s"}"#;

pub const CASES: &[Case] = &[
    ("session create: bodies that are taken", session_bodies_taken),
    ("session create: bodies that are refused", session_bodies_refused),
    ("session renew, info, destroy, list", session_verbs),
    ("session ids that are none", session_ids),
    ("methods and unknown paths", methods),
    ("keys in paths", key_paths),
    ("keys that are redirected", key_redirects),
    ("keys that cannot be printed", key_unprintable),
    ("reads of keys", reads),
    ("options of reads", read_options),
    ("acquire and release", acquire_release),
    ("acquire and release with odd sessions", acquire_odd),
    ("conflicting and unreadable options of writes", write_options),
    ("check-and-set writes", cas),
    ("flags", flags),
    ("deletes", deletes),
    ("LockIndex is not monotonic", lock_index),
    ("an identical lock keeps its index", identical_lock),
    ("session ids in capitals", capitals),
    ("txn: bodies that cannot be read", txn_bodies),
    ("txn: writes", txn_writes),
    ("txn: locks", txn_locks),
    ("txn: checks", txn_checks),
    ("txn: deletes", txn_deletes),
    ("txn: all or nothing, and every fault is told", txn_atomic),
    ("txn: fence-style transactions", txn_fences),
    ("txn: keys as they stand", txn_keys),
    ("limits of sizes", limits),
    ("lock-delay is refused before anything else", delay_first),
    ("end of a session: release", end_releases),
    ("end of a session: delete", end_deletes),
    ("indexes after deletes", delete_indexes),
    ("index of a missing key and of other tables", table_indexes),
    ("failed writes move no table's index", failed_writes),
    ("wake: an existing key", wake_existing),
    ("wake: a held key is released, deleted, recreated", wake_lock),
    ("wake: a missing key", wake_missing),
    ("wake: prefixes", wake_prefixes),
    ("wake: keys only", wake_keys),
    ("wake: one session", wake_session),
    ("wake: the list of sessions", wake_sessions),
    ("wake: timeouts and odd waits", wake_timeouts),
];

fn session_bodies_taken(s: &mut Script) {
    for (place, body) in [
        "",
        "null",
        "{}",
        r#"{"TTL":null}"#,
        r#"{"TTL":""}"#,
        r#"{"TTL":"0"}"#,
        r#"{"TTL":"0s"}"#,
        r#"{"TTL":"15000ms"}"#,
        r#"{"TTL":"1m30s"}"#,
        r#"{"TTL":"10.5s"}"#,
        r#"{"TTL":"86400s"}"#,
        r#"{"LockDelay":"15s"}"#,
        r#"{"LockDelay":"250ms"}"#,
        r#"{"LockDelay":"0s"}"#,
        r#"{"LockDelay":0}"#,
        r#"{"LockDelay":15}"#,
        r#"{"LockDelay":999}"#,
        r#"{"LockDelay":1000}"#,
        r#"{"LockDelay":1.5}"#,
        r#"{"LockDelay":true}"#,
        r#"{"LockDelay":null}"#,
        r#"{"LockDelay":"1ns"}"#,
        r#"{"LockDelay":"5m"}"#,
        r#"{"LockDelay":"-5s"}"#,
        r#"{"LockDelay":-5}"#,
        r#"{"LockDelay":"500ms","LockDelay":"700ms"}"#,
        r#"{"Behavior":""}"#,
        r#"{"Behavior":"delete"}"#,
        r#"{"Checks":[]}"#,
        r#"{"Checks":null}"#,
        r#"{"Checks":["serfHealth"]}"#,
        r#"{"NodeChecks":[]}"#,
        r#"{"NodeChecks":null}"#,
        r#"{"Checks":[],"NodeChecks":["serfHealth"]}"#,
        r#"{"NodeChecks":["serfHealth"],"ServiceChecks":[]}"#,
        r#"{"Node":"conformance","Name":"größe \"<&>"}"#,
        r#"{"ID":"11111111-1111-1111-1111-111111111111","Foo":1}"#,
        r#"{"lockdelay":"3s","name":"z","ttl":"15s"}"#,
        r#"{"TTL":"10s"} junk"#,
    ]
    .iter()
    .enumerate()
    {
        let name = format!("S{place}");
        s.session(&name, body);
        s.get(&format!("session/info/<{name}>"));
        s.put(&format!("session/destroy/<{name}>"), "");
    }
}

fn session_bodies_refused(s: &mut Script) {
    for body in [
        r#"{"TTL":"1s"}"#,
        r#"{"TTL":"9999ms"}"#,
        r#"{"TTL":"86401s"}"#,
        r#"{"TTL":"-5s"}"#,
        r#"{"TTL":"10"}"#,
        r#"{"TTL":"abc"}"#,
        r#"{"TTL":"10x"}"#,
        r#"{"TTL":10}"#,
        r#"{"LockDelay":"15"}"#,
        r#"{"LockDelay":"abc"}"#,
        r#"{"LockDelay":""}"#,
        r#"{"Behavior":"nonsense"}"#,
        r#"{"Behavior":5}"#,
        r#"{"Name":5}"#,
        r#"{"Name":[]}"#,
        r#"{"Node":true}"#,
        r#"{"Node":"nosuch"}"#,
        r#"{"Node":""}"#,
        r#"{"Checks":["x"]}"#,
        r#"{"Checks":"x"}"#,
        r#"{"Checks":[5]}"#,
        r#"{"NodeChecks":["x"]}"#,
        r#"{"NodeChecks":5}"#,
        r#"{"NodeChecks":[5]}"#,
        r#"{"ServiceChecks":[{"ID":"x"}]}"#,
        r#"{"ServiceChecks":[5]}"#,
        r#"{"ServiceChecks":5}"#,
        r#"{"TTL":"10s","Behavior":"nonsense","Node":"nosuch"}"#,
        r#"{"TTL":"1s","Node":""}"#,
        "[]",
        "\"x\"",
        "5",
        "{",
        "{\"a\"",
        "xx",
        "{\"a\" 1}",
        "{\"a\":1 2}",
        "{1:2}",
        "{\"TTL\":\"10s\",}",
        "[1 2]",
        "tru",
    ] {
        s.put("session/create", body);
    }
    s.put("session/create?dc=nope", "");
    s.put("session/create?dc=dc1&index=abc&wait=x", NO_DELAY);
}

fn session_verbs(s: &mut Script) {
    s.session("A", r#"{"TTL":"10s","Name":"a"}"#);
    s.session("B", NO_DELAY);
    s.put("session/renew/<A>", "");
    s.put("session/renew/<B>", "ignored");
    s.put(&format!("session/renew/{NO_SESSION}"), "");
    s.get("session/info/<A>");
    s.get(&format!("session/info/{NO_SESSION}"));
    s.put("session/destroy/<A>", "");
    s.put("session/destroy/<A>", "");
    s.put("session/renew/<A>", "");
    s.get("session/info/<A>");
    s.put(&format!("session/destroy/{NO_SESSION}"), "");
    s.get("session/info/<B>?stale");
    s.get("session/info/<B>?consistent");
    s.get("session/info/<B>?stale&consistent");
    s.get("session/info/<B>?index=abc");
    s.get("session/info/<B>?dc=nope");
    s.get("session/list?index=abc");
    s.get("session/list?dc=nope");
    s.put("session/renew/<B>?dc=nope", "");
    s.put("session/destroy/<B>?dc=nope", "");
    s.put("session/renew/<B>?index=abc", "");
    s.put("session/renew/<B>?wait=abc", "");
    s.put("session/destroy/<B>?index=abc", "");
    s.put("session/destroy/<B>?dc=nope&wait=abc", "");
}

fn session_ids(s: &mut Script) {
    s.session("A", NO_DELAY);
    for verb in ["renew", "destroy"] {
        for id in ["abc", "", "<A>/", "<A>x", &"z".repeat(36), &"-".repeat(36), &"a".repeat(36)] {
            s.put(&format!("session/{verb}/{id}"), "");
        }
    }
    for id in ["abc", "", "<A>/", &"z".repeat(36), &"-".repeat(36), &"a".repeat(36)] {
        s.get(&format!("session/info/{id}"));
    }
    s.put("session/renew", "");
    s.get("session/info");
}

fn methods(s: &mut Script) {
    for path in [
        "session/create",
        "session/renew/x",
        "session/destroy/x",
        "session/info/x",
        "session/list",
        "kv/<p>x",
        "txn",
        "status/leader",
    ] {
        for method in ["POST", "PATCH", "HEAD", "OPTIONS"] {
            s.send(method, path, "");
        }
    }
    s.get("session/create");
    s.get("session/renew/x");
    s.get("session/destroy/x");
    s.delete("session/destroy/x");
    s.put("session/info/x", "");
    s.put("session/list", "");
    s.get("txn");
    s.delete("txn");
    s.put("status/leader", "");
    s.get("nope");
    s.put("nope", "");
    s.get("session/nope");
    s.get("status/leader?index=5&wait=abc");
    s.get("status/leader?stale&consistent");
}

fn key_paths(s: &mut Script) {
    for key in [
        "a",
        "a/",
        "a/b",
        "a%2Fc",
        "a%20b",
        "a+b",
        "a%2Bc",
        "q%3Fx",
        "h%23x",
        "p%25x",
        "a;b",
        "gr%C3%B6%C3%9Fe",
        "%E6%97%A5",
        "%ff",
        "a%ffb%fe",
        "...",
        "a..b",
        "a,b:c@d&e=f$g'(h)*!~",
        "%22quoted%22",
        "back%5Cslash",
        "%3Ctag%3E",
    ] {
        s.put(&format!("kv/<p>{key}"), "v");
        s.get(&format!("kv/<p>{key}"));
    }
    s.get("kv/<p>?keys");
    s.get("kv/<p>a?keys");
    s.get("kv/<p>?recurse");
}

fn key_redirects(s: &mut Script) {
    s.session("A", NO_DELAY);
    for target in [
        "/v1/kv//lead",
        "/v1/kv/%2Flead",
        "/v1/kv/a//b",
        "/v1/kv/a%2F%2Fb",
        "/v1/kv/a/./b",
        "/v1/kv/a/../b",
        "/v1/kv/%2e%2e",
        "/v1/kv/..",
        "/v1/kv/.",
        "/v1/kv/a/.",
        "/v1/kv//",
        "//v1/kv/a",
        "/v1/kv",
        "/v1/kv/x//a%20b%3Fc%25d%22e'f%3Cg&h+i;j?x=%41&y=a+b",
        "/v1/./txn",
    ] {
        s.get(target);
        s.put(target, "v");
        s.delete(target);
    }
    s.put("/v1/kv/a//b?acquire=<A>", "v");
    s.get("/v1/kv/");
    s.put("/v1/kv/", "v");
    s.delete("/v1/kv/");
}

fn key_unprintable(s: &mut Script) {
    for key in
        ["%00", "%0a", "%09", "%7f", "%c2%85", "%c2%a0", "%e2%80%8b", "%ef%bb%bf", "%zz", "%"]
    {
        s.put(&format!("kv/<p>x{key}"), "v");
        s.get(&format!("kv/<p>x{key}"));
    }
}

fn reads(s: &mut Script) {
    s.put("kv/<p>r/1?flags=7", "hello");
    s.put("kv/<p>r/2", "");
    s.put("kv/<p>r/d/3", "x");
    s.put("kv/<p>r/d/4", "x");
    s.put("kv/<p>rr", "x");
    for target in [
        "r/1",
        "r/1?raw",
        "r/1?raw=false",
        "r/1?raw&recurse",
        "r/2",
        "r/2?raw",
        "r?recurse",
        "r/?recurse",
        "r/?recurse&raw",
        "r/?keys",
        "r/?keys&separator=/",
        "r/?keys&separator=",
        "r?keys&separator=/",
        "?keys&separator=/",
        "r?keys&separator=d/",
        "nope",
        "nope?recurse",
        "nope?keys",
        "nope?raw",
        "r/1?keys&recurse",
    ] {
        s.get(&format!("kv/<p>{target}"));
    }
    s.put("kv/<p>a?recurse", "q");
    s.put("kv/<p>a?keys", "q");
    s.get("kv/<p>a");
}

fn read_options(s: &mut Script) {
    s.put("kv/<p>k", "v");
    for options in [
        "index=0",
        "index=-1",
        "index=abc",
        "index=",
        "index=1",
        "index=1&wait=5",
        "wait=abc",
        "index=1&wait=",
        "index=1&wait=-5s",
        "index=99999999999999999999",
        "stale",
        "consistent",
        "stale&consistent",
        "dc=dc1",
        "dc=",
        "dc=nope",
        "near=_agent",
        "max_stale=5",
        "wait=0",
        "index=1&wait=%zz",
        "a=%zz",
        "index=abc&wait=abc",
        "index=1;wait=5",
        "unknown=1",
        "&&",
    ] {
        s.get(&format!("kv/<p>k?{options}"));
        s.get(&format!("kv/<p>missing?{options}"));
    }
}

fn acquire_release(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    let all = [
        ("acquire=<A>&flags=5", "1"),
        ("acquire=<B>", "2"),
        ("acquire=<A>&flags=5", "1"),
        ("acquire=<A>", "3"),
        ("release=<B>", ""),
        ("release=<A>", ""),
        ("release=<A>", "zz"),
        ("acquire=<B>", "4"),
        ("", "plain"),
        ("acquire=<A>", "5"),
        ("release=<B>&flags=9", "left"),
        ("acquire=<A>", "6"),
    ];
    for (options, body) in all {
        s.put(&format!("kv/<p>k?{options}"), body);
        s.get("kv/<p>k");
    }
    s.delete("kv/<p>k");
    s.put("kv/<p>k?release=<A>", "");
    s.put("kv/<p>k?acquire=<B>", "7");
    s.get("kv/<p>k");
}

fn acquire_odd(s: &mut Script) {
    s.put("kv/<p>k", "v");
    for session in ["", "abc", NO_SESSION, &"z".repeat(36)] {
        s.put(&format!("kv/<p>k?acquire={session}"), "x");
        s.put(&format!("kv/<p>k?release={session}"), "x");
        s.put(&format!("kv/<p>missing?release={session}"), "x");
    }
    s.get("kv/<p>k");
    s.get("kv/<p>missing");
}

fn write_options(s: &mut Script) {
    s.session("A", NO_DELAY);
    for options in [
        "acquire=<A>&cas=1",
        "acquire=<A>&release=<A>",
        "release=<A>&cas=1&acquire=<A>",
        "acquire=a+b&cas=%2F%41~%22",
        "cas=",
        "cas=x",
        "cas=-1",
        "flags=",
        "flags=abc",
        "flags=-1",
        "flags=+5",
        "flags=%2B5",
        "flags=0x10",
        "flags=1_0",
        "flags=18446744073709551616",
        "acquire=<A>&flags=x",
        "index=abc",
        "wait=abc",
        "stale&consistent",
        "dc=nope",
        "dc=nope&flags=x",
        "acquire=abc&dc=nope",
    ] {
        s.put(&format!("kv/<p>k?{options}"), "v");
    }
    for options in ["cas=1&recurse", "cas=abc", "cas=", "dc=nope", "index=abc", "stale&consistent"]
    {
        s.delete(&format!("kv/<p>k?{options}"));
    }
    s.get("kv/<p>k");
}

fn cas(s: &mut Script) {
    s.put("kv/<p>k?cas=0", "x");
    s.put("kv/<p>k?cas=0", "y");
    s.keep_index("I", "k");
    s.put("kv/<p>k?cas=<I>", "x");
    s.put("kv/<p>k?cas=<I>", "z");
    s.put("kv/<p>k?cas=<I>", "w");
    s.put("kv/<p>other?cas=5", "w");
    s.get("kv/<p>k");
    s.session("A", NO_DELAY);
    s.put("kv/<p>k?acquire=<A>", "held");
    s.keep_index("J", "k");
    s.put("kv/<p>k?cas=<J>", "written");
    s.get("kv/<p>k");
}

fn flags(s: &mut Script) {
    for flags in ["9223372036854775808", "18446744073709551615", "0", "007"] {
        s.put(&format!("kv/<p>k?flags={flags}"), "v");
        s.get("kv/<p>k");
    }
    s.put("kv/<p>k", "v");
    s.get("kv/<p>k");
}

fn deletes(s: &mut Script) {
    s.session("A", r#"{"LockDelay":"20s"}"#);
    s.session("B", NO_DELAY);
    s.put("kv/<p>k?acquire=<A>", "v");
    s.keep_index("I", "k");
    s.delete("kv/<p>k?cas=1");
    s.delete("kv/<p>k?cas=0");
    s.delete("kv/<p>missing?cas=5");
    s.delete("kv/<p>missing?cas=0");
    s.delete("kv/<p>missing");
    s.delete("kv/<p>k?cas=<I>");
    s.get("kv/<p>k");
    s.put("kv/<p>k?acquire=<B>", "now");
    s.get("kv/<p>k");
    s.put("kv/<p>kk", "");
    s.put("kv/<p>j", "");
    s.delete("kv/<p>k?recurse");
    s.get("kv/<p>?keys");
    s.delete("kv/<p>nothing?recurse");
    s.delete("kv/<p>j?acquire=<A>");
    s.get("kv/<p>?keys");
}

fn lock_index(s: &mut Script) {
    s.session("A", NO_DELAY);
    let step = |s: &mut Script, options: &str| {
        s.put(&format!("kv/<p>k?{options}"), "");
        s.get("kv/<p>k");
    };
    for options in [
        "acquire=<A>",
        "release=<A>",
        "acquire=<A>",
        "release=<A>",
        "acquire=<A>",
        "",
        "acquire=<A>",
    ] {
        step(s, options);
    }
    step(s, "release=<A>");
    step(s, "acquire=<A>");
    s.delete("kv/<p>k");
    step(s, "acquire=<A>");
}

fn identical_lock(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.txn("lock k s=<A> v=x f=3");
    s.txn("lock k s=<A> v=x f=3");
    s.keep_index("I", "k");
    s.txn("lock k s=<A> v=y f=3");
    s.delete("kv/<p>k?cas=<I>");
    s.txn("lock k s=<A> v=y f=3");
    s.keep_index("J", "k");
    s.delete("kv/<p>k?cas=<J>");
    s.txn("lock k s=<B> v=z");
}

fn capitals(s: &mut Script) {
    // A name is filled in as it is, so the capitals are made here.
    s.session("A", NO_DELAY);
    s.put("kv/<p>k?acquire=<A>", "v");
    s.capitals("A", "C");
    s.put("session/renew/<C>", "");
    s.get("session/info/<C>");
    s.put("kv/<p>k?acquire=<C>", "v");
    s.txn("lock other s=<C>");
    s.put("kv/<p>k?release=<C>", "v");
    s.put("session/destroy/<C>", "");
    s.get("kv/<p>?recurse");
}

fn txn_bodies(s: &mut Script) {
    for body in [
        "",
        " ",
        "null",
        "[]",
        "{}",
        "5",
        "\"x\"",
        "[",
        "xx",
        "[5]",
        "[{}]",
        r#"[{"KV":null}]"#,
        r#"[{"KV":{}}]"#,
        r#"[{"KV":5}]"#,
        r#"[{"KV":{"Verb":"nope","Key":"a"}}]"#,
        r#"[{"KV":{"Verb":"SET","Key":"a"}}]"#,
        r#"[{"KV":{"Verb":"get-or-empty","Key":"a"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":""}}]"#,
        r#"[{"KV":{"Verb":"set"}}]"#,
        r#"[{"KV":{"Verb":"lock","Key":""}}]"#,
        r#"[{"KV":{"Verb":5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":"!!!"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":"eA"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":"eHh4eHh"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":"eHh4eH!="}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":"_-=="}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Flags":"5"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Flags":-5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Flags":1.5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Flags":18446744073709551616}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Index":"x"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Session":5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Bogus":1}}]"#,
        r#"[{"Foo":{}}]"#,
    ] {
        s.put_filled("txn", body);
    }
    s.put("txn?stale&consistent", "[]");
    s.put("txn?dc=nope", "[]");
    s.put("txn?index=abc&wait=abc", "[]");
}

fn txn_writes(s: &mut Script) {
    for body in [
        r#"[{"kv":{"verb":"set","key":"<p>low","value":"eA=="}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>n","Value":null,"Flags":null,"Index":null}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>n","Value":"eA==\n"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>n","Flags":18446744073709551615}}]"#,
        r#"[{"KV":{"Verb":"get","Key":"<p>n"}}] junk"#,
    ] {
        s.put_filled("txn", body);
    }
    s.txn("set a v=val f=3");
    s.txn("set a v=val f=3");
    s.txn("get a");
    s.txn("cas a v=new i=1");
    s.txn("cas a v=new");
    s.keep_index("I", "a");
    s.txn("cas a v=new i=<I>");
    s.txn("cas b v=new i=7");
    s.txn("cas b v=new");
    s.txn("get a; get b");
    s.txn("get a; get missing");
    s.txn("get-tree a; get-tree b");
    s.txn("get-tree nothing");
    s.txn("get a; set a v=other; get a");
}

fn txn_locks(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.txn("lock k s=<A> v=x f=7");
    s.txn("lock k s=<A> v=x f=7");
    s.txn("lock k s=<B> v=x");
    s.txn("get k; lock k s=<A> v=y; get k");
    s.txn(&format!("lock k2 s={NO_SESSION}"));
    s.txn("lock k2 s=abc");
    s.txn("lock k2");
    s.txn("unlock k s=<B>");
    s.txn("unlock none s=<A>");
    s.txn("unlock k");
    s.txn("unlock k s=abc");
    s.txn("unlock k s=<A> v=left f=1");
    s.txn("unlock k s=<A>");
    s.txn("lock k s=<B>");
    s.txn("set k v=z");
    s.get("kv/<p>k");
    s.txn("lock k s=<B> v=z");
    s.txn("unlock k s=<B>; lock k s=<A> v=passed");
    s.get("kv/<p>k");
}

fn txn_checks(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.txn("lock k s=<A> v=x");
    s.put("kv/<p>free", "x");
    s.keep_index("I", "k");
    s.txn("check-session k s=<A>");
    s.txn("check-session k s=<B>");
    s.txn("check-session k");
    s.txn("check-session free");
    s.txn("check-session free s=abc");
    s.txn("check-session none s=<A>");
    s.txn("check-index k i=<I>");
    s.txn("check-index k i=1");
    s.txn("check-index k");
    s.txn("check-index none i=1");
    s.txn("check-not-exists none");
    s.txn("check-not-exists k");
    s.txn("check-session k s=<A>; set data v=fenced");
    s.txn("check-session k s=<B>; set data v=refused");
    s.txn("check-session k s=<A>; delete k");
    s.txn("check-not-exists k; get-tree data");
}

fn txn_deletes(s: &mut Script) {
    s.put("kv/<p>a", "");
    s.put("kv/<p>ab", "");
    s.put("kv/<p>b", "");
    s.txn("delete none");
    s.txn("delete-cas none i=1");
    s.txn("delete-cas a i=1");
    s.txn("delete-cas a");
    s.keep_index("I", "a");
    s.txn("delete-cas a i=<I>");
    s.txn("delete b");
    s.txn("delete-tree a");
    s.get("kv/<p>?keys");
    s.txn("delete-tree nothing");
}

fn txn_atomic(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.put("kv/<p>held?acquire=<B>", "b");
    s.put("kv/<p>old", "o");
    s.txn("lock a s=<A>; lock held s=<A>; set old v=new; delete old; set b v=x");
    s.get("kv/<p>?recurse");
    s.txn("check-not-exists a; check-not-exists old; get none; lock a s=<A>");
    s.txn(&format!("get none; lock a s={NO_SESSION}"));
    s.txn(&format!("lock a s={NO_SESSION}; get none"));
    s.txn("set a v=1; check-not-exists a; check-session a s=<A>");
    s.txn("nope a; set a; set a v=1");
    s.txn("delete-tree old; set none2 v=x; get missing");
    s.get("kv/<p>?recurse");
    s.get("kv/<p>missing");
    s.txn("check-not-exists m; lock m s=<A>; get m; delete m");
    s.get("kv/<p>?recurse");
}

fn txn_fences(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.txn("check-not-exists F; check-not-exists k; lock k s=<A> v=v f=1");
    s.txn("check-not-exists F; check-not-exists k; lock k s=<A> v=v f=1");
    s.keep_index("K", "k");
    s.txn("check-session k s=<A>; delete-cas k i=<K>");
    s.txn("cas F v=raised");
    s.keep_index("F", "F");
    s.txn("check-not-exists F; check-not-exists k; lock k s=<A> v=v f=1");
    s.txn("check-index F i=<F>; check-not-exists k; lock k s=<A> v=v f=1");
    s.txn("cas F v=again i=<F>");
    s.txn("cas F v=again i=<F>");
    s.txn("check-index F i=<F>; check-index k i=<K>; lock k s=<A> v=v f=1");
    s.keep_index("K", "k");
    s.txn("check-session k s=<A>; unlock k s=<A>; lock k2 s=<B>");
    s.txn("check-index k i=<K>; unlock k s=<A>");
    s.keep_index("K", "k");
    s.txn("check-index k i=<K>; lock k s=<B> v=w f=1");
    s.get("kv/<p>?recurse");
}

fn txn_keys(s: &mut Script) {
    for key in ["/lead", "a//b", "..", "with\\\"quote", "new\\nline", "nul\\u0000", "größe", " "]
    {
        let body = |verb: &str| format!(r#"[{{"KV":{{"Verb":"{verb}","Key":"<p>{key}"}}}}]"#);
        s.put_filled("txn", &body("set"));
        s.put_filled("txn", &body("get"));
        s.put_filled("txn", &body("check-not-exists"));
        s.put_filled("txn", &body("delete"));
        s.put_filled("txn", &body("get"));
    }
}

fn limits(s: &mut Script) {
    let value = |length| "v".repeat(length);
    s.put("kv/<p>k", &value(524_288));
    s.put("kv/<p>k", &value(524_289));
    s.get("kv/<p>k?keys");
    let txn = |length| {
        format!(r#"[{{"KV":{{"Verb":"set","Key":"k","Value":"{}"}}}}]"#, "eHh4".repeat(length))
    };
    s.put("txn", &txn(120_000));
    s.put("txn", &txn(140_000));
    s.put("kv/<p>small", "x");
    s.txn(&vec!["get small"; 64].join(";"));
    s.txn(&vec!["get small"; 65].join(";"));
    let long = "k".repeat(5000);
    s.put(&format!("kv/<p>{long}"), "x");
    s.get(&format!("kv/<p>{long}?raw"));
    s.delete("kv/k");
}

fn delay_first(s: &mut Script) {
    s.session("A", r#"{"LockDelay":"30s"}"#);
    s.session("B", NO_DELAY);
    s.txn("lock k s=<A> v=x");
    s.put("session/destroy/<A>", "");
    s.txn("get none; lock k s=<B>");
    s.txn("lock k s=abc");
    s.txn(&format!("lock k s={NO_SESSION}"));
    s.txn("lock k");
    s.txn("check-not-exists k; lock k s=<B>; lock k s=<B>; set");
    s.put(&format!("kv/<p>k?acquire={NO_SESSION}"), "");
    s.put("kv/<p>k?acquire=abc", "");
    s.put("kv/<p>k?acquire=<B>", "");
    s.put("kv/<p>k?acquire=", "");
    s.txn("unlock k s=<B>");
    s.txn("set k v=written");
    s.delete("kv/<p>k");
    s.put("kv/<p>k?acquire=<B>", "");
    s.get("kv/<p>k");
    s.session("C", r#"{"LockDelay":"-5s"}"#);
    s.txn("lock j s=<C>");
    s.put("session/destroy/<C>", "");
    s.txn("lock j s=<B>");
}

fn end_releases(s: &mut Script) {
    s.session("A", r#"{"LockDelay":"30s"}"#);
    s.session("B", NO_DELAY);
    s.put("kv/<p>a?acquire=<A>&flags=4", "x");
    s.put("kv/<p>b?acquire=<A>", "y");
    s.put("kv/<p>c?acquire=<B>", "z");
    s.put("session/destroy/<A>", "");
    s.get("kv/<p>?recurse");
    s.put("session/destroy/<B>", "");
    s.get("kv/<p>?recurse");
    s.get("session/info/<A>");
}

fn end_deletes(s: &mut Script) {
    s.session("A", r#"{"LockDelay":"30s","Behavior":"delete"}"#);
    s.session("B", NO_DELAY);
    s.put("kv/<p>a?acquire=<A>", "x");
    s.put("kv/<p>b?acquire=<A>", "y");
    s.put("kv/<p>b?release=<A>", "y");
    s.put("session/destroy/<A>", "");
    s.get("kv/<p>?recurse");
    s.get("kv/<p>a");
    s.txn("lock a s=<B>");
    s.txn("lock b s=<B>");
}

fn delete_indexes(s: &mut Script) {
    s.put("kv/<p>t/a", "1");
    s.put("kv/<p>t/b", "2");
    s.put("kv/<p>u", "3");
    s.get("kv/<p>t/?recurse");
    s.delete("kv/<p>t/a");
    s.get("kv/<p>t/?recurse");
    s.get("kv/<p>t/?keys");
    s.get("kv/<p>t/b");
    s.get("kv/<p>t/a");
    s.put("kv/<p>u", "4");
    s.get("kv/<p>t/?recurse");
    s.get("kv/<p>t/a");
    s.get("kv/<p>t/a?recurse");
    s.delete("kv/<p>t/?recurse");
    s.put("kv/<p>u", "5");
    s.get("kv/<p>t/?recurse");
    s.get("kv/<p>t/b?recurse");
    s.get("kv/<p>?keys");
}

fn table_indexes(s: &mut Script) {
    s.put("kv/<p>k", "1");
    s.get("kv/<p>missing");
    s.session("A", NO_DELAY);
    s.get("kv/<p>missing");
    s.get(&format!("session/info/{NO_SESSION}"));
    s.get("session/info/<A>");
    s.put("kv/<p>k", "2");
    s.get("session/info/<A>");
    s.get("kv/<p>missing");
    s.put("session/renew/<A>", "");
    s.get("session/info/<A>");
    s.put("kv/<p>k?acquire=<A>", "2");
    s.get("session/info/<A>");
    s.put("session/destroy/<A>", "");
    s.get("session/info/<A>");
    s.get("kv/<p>missing");
    s.put(&format!("session/destroy/{NO_SESSION}"), "");
    s.get("session/info/<A>");
}

fn failed_writes(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.put("kv/<p>k?acquire=<A>", "1");
    s.get("kv/<p>missing");
    s.put("kv/<p>k?acquire=<B>", "2");
    s.put("kv/<p>k?cas=1", "2");
    s.put("kv/<p>k?acquire=<A>", "1");
    s.txn("set new v=x; get none");
    s.txn("lock k s=<B>");
    s.delete("kv/<p>none");
    s.get("kv/<p>missing");
    s.get("kv/<p>k");
    s.put("kv/<p>j", "1");
    s.get("kv/<p>missing");
}

fn wake_existing(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.put("kv/<p>k", "1");
    s.keep_header("I", "kv/<p>k");
    s.wait("k", "kv/<p>k?index=<I>");
    s.put("kv/<p>sibling", "x");
    s.put("kv/<p>k/longer", "x");
    s.put("kv/elsewhere/<p>x", "x");
    s.put("kv/<p>k", "1");
    s.delete("kv/<p>sibling");
    s.session("B", NO_DELAY);
    s.put("session/destroy/<B>", "");
    s.txn("set k v=2; get none");
    s.sleeps("k");
    s.put("kv/<p>k", "2");
    s.wakes("k");
    s.keep_header("I", "kv/<p>k");
    s.wait("deleted", "kv/<p>k?index=<I>");
    s.delete("kv/<p>k");
    s.wakes("deleted");
    s.put("kv/<p>k", "2");
    s.wait("recreated", "kv/<p>k?index=<I>");
    s.wakes("recreated");
    s.wait("passed", "kv/<p>k?index=1");
    s.wakes("passed");
    s.wait("beyond", "kv/<p>k?index=99999999&wait=2s");
    s.put("kv/<p>k", "3");
    s.sleeps("beyond");
    s.wakes("beyond");
    s.keep_header("I", "kv/<p>k");
    s.wait("txn", "kv/<p>k?index=<I>&consistent");
    s.txn("set k v=4");
    s.wakes("txn");
}

fn wake_lock(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.put("kv/<p>k?acquire=<A>", "a");
    s.keep_header("I", "kv/<p>k");
    s.wait("released", "kv/<p>k?index=<I>");
    s.put("kv/<p>k?acquire=<B>", "b");
    s.put("session/renew/<A>", "");
    s.sleeps("released");
    s.put("kv/<p>k?release=<A>", "a");
    s.wakes("released");
    s.put("kv/<p>k?acquire=<B>", "b");
    s.keep_header("I", "kv/<p>k");
    s.wait("ended", "kv/<p>k?index=<I>");
    s.put("session/destroy/<B>", "");
    s.wakes("ended");
    s.session("D", r#"{"LockDelay":"0s","Behavior":"delete"}"#);
    s.put("kv/<p>k?acquire=<D>", "d");
    s.keep_header("I", "kv/<p>k");
    s.wait("gone", "kv/<p>k?index=<I>");
    s.put("session/destroy/<D>", "");
    s.wakes("gone");
}

fn wake_missing(s: &mut Script) {
    s.put("kv/<p>m/sibling", "1");
    s.keep_header("I", "kv/<p>m/missing");
    s.wait("sibling", "kv/<p>m/missing?index=<I>");
    s.put("kv/<p>m/sibling", "1");
    s.sleeps("sibling");
    s.put("kv/<p>m/sibling", "2");
    s.wakes("sibling");
    s.keep_header("I", "kv/<p>m/missing");
    s.wait("created", "kv/<p>m/missing?index=<I>");
    s.session("A", NO_DELAY);
    s.sleeps("created");
    s.put("kv/<p>m/missing", "1");
    s.wakes("created");
    s.keep_header("I", "kv/<p>m/none?recurse");
    s.wait("prefix", "kv/<p>m/none?recurse&index=<I>");
    s.put("kv/<p>m/none/x", "1");
    s.wakes("prefix");
}

fn wake_prefixes(s: &mut Script) {
    s.put("kv/<p>in/a", "1");
    s.put("kv/<p>out", "1");
    s.keep_header("I", "kv/<p>in/?recurse");
    s.wait("changed", "kv/<p>in/?recurse&index=<I>");
    s.put("kv/<p>out", "2");
    s.put("kv/<p>in/a", "1");
    s.sleeps("changed");
    s.put("kv/<p>in/a", "2");
    s.wakes("changed");
    s.keep_header("I", "kv/<p>in/?recurse");
    s.wait("added", "kv/<p>in/?recurse&index=<I>");
    s.put("kv/<p>in/b", "1");
    s.wakes("added");
    s.keep_header("I", "kv/<p>in/?recurse");
    s.wait("removed", "kv/<p>in/?recurse&index=<I>");
    s.delete("kv/<p>in/b");
    s.wakes("removed");
    s.keep_header("I", "kv/<p>in/?recurse");
    s.wait("emptied", "kv/<p>in/?recurse&index=<I>");
    s.delete("kv/<p>in/?recurse");
    s.wakes("emptied");
}

fn wake_keys(s: &mut Script) {
    s.put("kv/<p>in/a", "1");
    s.keep_header("I", "kv/<p>in/?keys");
    s.wait("keys", "kv/<p>in/?keys&index=<I>");
    s.put("kv/<p>out", "2");
    s.sleeps("keys");
    s.put("kv/<p>in/a", "2");
    s.wakes("keys");
}

fn wake_session(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.keep_header("I", "session/info/<A>");
    s.wait("info", "session/info/<A>?index=<I>");
    s.session("B", NO_DELAY);
    s.put("session/renew/<A>", "");
    s.put("kv/<p>k?acquire=<A>", "x");
    s.put("session/destroy/<B>", "");
    s.sleeps("info");
    s.put("session/destroy/<A>", "");
    s.wakes("info");
    s.keep_header("I", "session/info/<A>");
    s.wait("gone", "session/info/<A>?index=<I>");
    s.put("kv/<p>k", "y");
    s.sleeps("gone");
    s.session("C", NO_DELAY);
    s.wait("passed", "session/info/<C>?index=<I>");
    s.wakes("passed");
    s.keep_header("J", "session/info/<C>");
    s.wait("timeout", "session/info/<C>?index=<J>&wait=1s");
    s.session("D", NO_DELAY);
    s.wakes("timeout");
}

fn wake_sessions(s: &mut Script) {
    s.destroy_all();
    s.session("A", NO_DELAY);
    s.keep_header("I", "session/list");
    s.wait("created", "session/list?index=<I>");
    s.put("session/renew/<A>", "");
    s.put("kv/<p>k?acquire=<A>", "x");
    s.sleeps("created");
    s.session("B", NO_DELAY);
    s.wakes_unordered("created");
    s.keep_header("I", "kv/<p>missing");
    s.put("session/destroy/<A>", "");
    s.get("session/list");
    s.put("session/destroy/<B>", "");
    s.get("session/list");
}

fn wake_timeouts(s: &mut Script) {
    s.put("kv/<p>k", "1");
    s.keep_header("I", "kv/<p>k");
    s.wait("zero", "kv/<p>k?index=<I>&wait=0s");
    s.wait("0", "kv/<p>k?index=<I>&wait=0");
    s.wait("short", "kv/<p>k?index=<I>&wait=1ms");
    s.wakes("short");
    s.wait("negative", "kv/<p>k?index=<I>&wait=-1s");
    s.wait("fraction", "kv/<p>k?index=<I>&wait=0.5s");
    s.wakes("fraction");
    s.wait("missing", "kv/<p>missing?index=99999999&wait=200ms");
    s.wakes("missing");
    s.sleeps("zero");
    s.sleeps("0");
    s.sleeps("negative");
    s.put("kv/<p>k", "2");
    s.wakes("zero");
    s.wakes("0");
    s.wakes("negative");
}
