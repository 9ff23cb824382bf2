//! Sessions, methods and unknown paths.

use super::{Case, NO_DELAY, NO_SESSION, script::Script};

pub(crate) const CASES: &[Case] = &[
    ("session create: accepted bodies", session_bodies_accepted),
    ("session create: refused bodies", session_bodies_refused),
    ("session renew, info, destroy, list", session_verbs),
    ("malformed session ids", session_ids),
    ("methods and unknown paths", methods),
];

fn session_bodies_accepted(s: &mut Script) {
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
