//! The preflight names what is missing, and its policy is enough.

use std::sync::OnceLock;
use std::time::Duration;

use actix_dsync::report::{Check, Finding, Preflight, Verdict};
use actix_dsync::{Builder, Error, List, TryAcquire};
use serde_json::json;

use crate::locks::{acquire, at, key};
use crate::support::consul::{Agent, free_port};

const MANAGEMENT: &str = "5f1c6b0e-8d0b-4c68-9d35-0d8f6f0f6a01";

fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| Agent::builder().acl(MANAGEMENT).start())
}

fn token(name: &str, rules: &str) -> String {
    let put = |path: &str, body: serde_json::Value| {
        let answer = agent().operator().ask("PUT", path, body.to_string().as_bytes());
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    put("/v1/acl/policy", json!({ "Name": name, "Rules": rules }));
    let token = put("/v1/acl/token", json!({ "Policies": [{ "Name": name }] }));
    token["SecretID"].as_str().expect("a token").to_owned()
}

async fn preflight(builder: Builder) -> Preflight {
    let dsync = builder.start().expect("valid settings");
    let found = dsync.preflight().await.expect("it runs");
    eprintln!("{found}");
    assert_eq!(dsync.send(List).await.expect("a report").preflight.as_ref(), Some(&found));
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    found
}

/// The findings that are not good.
fn faults(found: &Preflight) -> Vec<(Check, Verdict)> {
    let bad = found.findings.iter().filter(|finding| finding.verdict != Verdict::Good);
    bad.map(|finding| (finding.check, finding.verdict)).collect()
}

const SESSIONS: &str = r#"session_prefix "" { policy = "write" } "#;
const KEYS: &str = r#"key_prefix "app/" { policy = "write" } "#;
const AGENTS: &str = r#"agent_prefix "" { policy = "read" } "#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_that_is_taken_away_is_named_and_the_policy_it_gives_is_enough() {
    let with = |name: &str, rules: String| at(agent().url(), "app").token(token(name, &rules));
    let found = preflight(with("all", [SESSIONS, KEYS, AGENTS].concat())).await;
    assert!(found.passed && found.policy.is_none(), "{found}");
    assert_eq!(faults(&found), []);
    assert!(found.version.is_some_and(|version| version.contains('.')));
    assert_eq!(found.node.as_deref(), Some(agent().node()));

    let fence = r#"key_prefix "app/.dsync/" { policy = "read" } "#;
    let reads = r#"key_prefix "app/" { policy = "read" } "#;
    for (name, rules, check, verdict, right) in [
        ("no-agent", [SESSIONS, KEYS].concat(), Check::Limits, Verdict::Warning, "agent:read"),
        ("no-session", [AGENTS, KEYS].concat(), Check::Session, Verdict::Failed, "session:write"),
        ("no-write", [AGENTS, SESSIONS, reads].concat(), Check::Keys, Verdict::Failed, "key:write"),
        ("no-read", [AGENTS, SESSIONS].concat(), Check::Keys, Verdict::Failed, "key:read"),
        (
            "no-fence",
            [AGENTS, SESSIONS, KEYS, fence].concat(),
            Check::Fences,
            Verdict::Warning,
            "key:write",
        ),
    ] {
        let found = preflight(with(name, rules)).await;
        let finding = found.findings.iter().find(|finding| finding.check == check);
        let finding = finding.expect("it is checked");
        assert_eq!(finding.verdict, verdict, "{name}: {found}");
        let mut named = found.findings.iter().filter(|finding| finding.check == check);
        assert!(named.any(|finding| finding.detail.contains(right)), "{name}: {found}");
        assert_eq!(found.passed, verdict != Verdict::Failed, "{name}: {found}");
        if name == "no-agent" {
            continue;
        }
        let policy = found.policy.expect("a right is missing");
        let enough = preflight(with(&format!("{name}-pasted"), policy)).await;
        assert_eq!(faults(&enough), [(Check::Limits, Verdict::Warning)], "{enough}");
    }
    let left: Vec<_> = agent().operator().sessions();
    assert!(left.iter().all(|session| !session.name.contains("preflight")), "{left:?}");
    assert_eq!(agent().operator().kv_keys("app/"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_use_are_checked_where_there_is_no_prefix() {
    let rules = [SESSIONS, r#"key_prefix "jobs/" { policy = "write" } "#].concat();
    let builder = actix_dsync::Dsync::builder("test").address(agent().url());
    let dsync = builder.token(token("jobs", &rules)).start().expect("valid settings");
    let lease = acquire(&dsync, "jobs/1").await;
    let found = dsync.preflight().await.expect("it runs");
    assert!(found.passed, "{found}");
    let found = dsync.preflight_for([key("other/2")]).await.expect("it runs");
    assert!(!found.passed, "{found}");
    let policy = found.policy.as_deref().expect("a right is missing");
    for line in ["\"jobs/\"", "\"other/\"", "\".dsync/\""] {
        assert!(policy.contains(&format!("key_prefix {line}")), "{policy}");
    }
    drop(lease);
    let refused = dsync.send(TryAcquire::new(key("other/2"))).await;
    assert!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!(dsync.preflight().await, Err(Error::Stopped));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_that_is_asked_for_is_checked() {
    let rules = [SESSIONS, r#"key_prefix "jobs/" { policy = "write" } "#].concat();
    let builder = actix_dsync::Dsync::builder("test").address(agent().url());
    let dsync = builder.token(token("many-jobs", &rules)).start().expect("valid settings");
    let jobs = (0..30).map(|job| key(&format!("jobs/{job}")));
    let found = dsync.preflight_for(jobs.chain([key("other/2")])).await.expect("it runs");
    let mut failed = found.findings.iter().filter(|it| it.verdict == Verdict::Failed);
    let is_other = |it: &Finding| it.check == Check::Keys && it.detail.contains("\"other/2\"");
    assert!(failed.any(is_other), "{found}");
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_not_there_and_a_token_that_is_not_known_are_findings() {
    let nowhere = at(format!("http://127.0.0.1:{}", free_port()), "app");
    let found = preflight(nowhere).await;
    assert_eq!(faults(&found), [(Check::Agent, Verdict::Failed)], "{found}");
    let unknown = at(agent().url(), "app").token("77777777-2222-3333-4444-555555555555");
    let found = preflight(unknown).await;
    assert!(!found.passed && found.to_string().contains("does not know"), "{found}");
    assert!(!found.to_string().contains("77777777"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_limits_are_compared_with_ours() {
    let agent = Agent::builder().config("limits { http_max_conns_per_client = 14 }").start();
    let found = preflight(at(agent.url(), "app")).await;
    assert_eq!(faults(&found), [(Check::Limits, Verdict::Warning)], "{found}");
    assert!(found.to_string().contains("http_max_conns_per_client"), "{found}");
    let found = preflight(at(agent.url(), "app").limits(few())).await;
    assert_eq!(faults(&found), [], "{found}");
}

fn few() -> actix_dsync::config::Limits {
    actix_dsync::config::Limits::default().with_connections(12)
}
