//! What a client without a right is answered.

use actix_dsync::embedded::{Embedded, EmbeddedRight};
use serde_json::json;

use super::{NO_DELAY, NO_SESSION, difference, script::Script, support, transcripts};

const MANAGEMENT: &str = "5f1c6b0e-8d0b-4c68-9d35-0d8f6f0f6a01";
const UNKNOWN: &str = "aaaaaaaa-2222-3333-4444-555555555555";

/// Each right, and the rules of a policy that lacks nothing else.
const CASES: [(EmbeddedRight, &str); 5] = [
    (EmbeddedRight::KeyRead, r#"session_prefix "" { policy = "write" }"#),
    (
        EmbeddedRight::KeyWrite,
        r#"session_prefix "" { policy = "write" } key_prefix "" { policy = "read" }"#,
    ),
    (EmbeddedRight::SessionRead, r#"key_prefix "" { policy = "write" }"#),
    (
        EmbeddedRight::SessionWrite,
        r#"session_prefix "" { policy = "read" } key_prefix "" { policy = "write" }"#,
    ),
    (EmbeddedRight::Token, ""),
];

#[test]
fn the_embedded_agent_denies_what_consul_denies() {
    let agent = support::consul::Agent::builder().acl(MANAGEMENT).start();
    let embedded = Embedded::new().node(agent.node());
    let server = embedded.serve("127.0.0.1:0").expect("a free port");
    let mut reports = Vec::new();
    for (right, rules) in CASES {
        let token = if rules.is_empty() { UNKNOWN.into() } else { token(&agent, right, rules) };
        let both = transcripts([agent.http_addr(), server.address()], "rights", |place| {
            let (token, embedded) = (token.clone(), (place == 1).then(|| embedded.clone()));
            move |script: &mut Script| {
                script.set("t", MANAGEMENT);
                script.session_at("A", "session/create?token=<t>", NO_DELAY);
                script.put("kv/<p>k?token=<t>&acquire=<A>", "v");
                script.set("t", &token);
                if let Some(embedded) = &embedded {
                    embedded.allow(right, false);
                }
                play(script);
                if let Some(embedded) = &embedded {
                    embedded.allow(right, true);
                }
                script.set("t", MANAGEMENT);
                script.put("session/destroy/<A>?token=<t>", "");
                script.delete("kv/<p>?recurse&token=<t>");
            }
        });
        reports.extend(difference(&format!("without {right:?}"), &both[0], &both[1]));
    }
    assert!(reports.is_empty(), "{}", reports.concat());
}

fn token(agent: &support::consul::Agent, right: EmbeddedRight, rules: &str) -> String {
    let put = |path: &str, body: serde_json::Value| {
        let answer = agent.operator().ask("PUT", path, body.to_string().as_bytes());
        answer.expect("an answer").json()
    };
    let name = format!("{right:?}");
    put("/v1/acl/policy", json!({ "Name": name, "Rules": rules }));
    let token = put("/v1/acl/token", json!({ "Policies": [{ "Name": name }] }));
    token["SecretID"].as_str().expect("a token").to_owned()
}

/// Every request of which locks consist, and what else may be denied.
fn play(s: &mut Script) {
    for target in [
        "kv/<p>k?token=<t>",
        "kv/<p>missing?token=<t>",
        "kv/<p>?recurse&token=<t>",
        "kv/<p>none/?recurse&token=<t>",
        "session/info/<A>?token=<t>",
        "session/list?token=<t>",
        "nothing?token=<t>",
    ] {
        s.get(target);
    }
    s.quiet_get("status/leader?token=<t>");
    for ops in [
        "check-not-exists f; check-not-exists k; lock k s=<A>",
        "check-not-exists f; check-index k i=1; lock k s=<A>",
        "check-index k i=1; lock other s=<A>",
        "check-session k s=<A>; set other v=1",
        "lock other s=<A>; unlock other s=<A>",
        "cas other i=0 v=1",
        "delete-cas k i=1",
        "delete other; set other v=2",
        "set other v=2; get-tree k",
    ] {
        s.txn_at("txn?token=<t>", ops);
    }
    for ops in ["get k", "get none", "get-tree k", "check-session k s=<A>", "check-not-exists none"]
    {
        s.txn_at("txn?token=<t>&consistent", ops);
    }
    for target in [
        "kv/<p>k?acquire=<A>&token=<t>",
        "kv/<p>free?token=<t>",
        "kv/<p>k?release=<A>&token=<t>",
        "session/renew/<A>?token=<t>",
        "session/destroy/<A>?token=<t>",
    ] {
        s.put(target, "x");
    }
    s.put(&format!("session/renew/{NO_SESSION}?token=<t>"), "");
    s.put(&format!("session/destroy/{NO_SESSION}?token=<t>"), "");
    s.session_at("B", "session/create?token=<t>", NO_DELAY);
    s.put("session/destroy/<B>?token=<t>", "");
    s.delete("kv/<p>k?token=<t>");
}
