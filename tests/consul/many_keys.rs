//! More keys than the agent allows connections per process.

use std::time::{Duration, Instant};

use actix_dsync::{
    Acquire, Builder, Dsync, Reply,
    config::{HASHICORP_LOCK_FLAGS, Limits},
    events::{Filter, LockLost},
};
use serde_json::json;

use crate::locks::{acquire, at, key, next};
use crate::support::consul::Agent;
use crate::support::operator::Operator;
use crate::tls;

const KEYS: usize = 1_500;

fn name(n: usize) -> String {
    format!("jobs/{n:05}")
}

/// Locks the keys with a session of its own.
fn hold(operator: &Operator, prefix: &str) -> String {
    let settings = json!({"TTL": "600s", "NodeChecks": [], "LockDelay": "0s"});
    let session = operator.create_session(&settings).expect("a session");
    for from in (0..KEYS).step_by(64) {
        let lock = |n| {
            json!({"KV": {"Verb": "lock", "Key": format!("{prefix}/{}", name(n)), "Session": session,
                          "Flags": HASHICORP_LOCK_FLAGS, "Value": ""}})
        };
        let ops: Vec<_> = (from..KEYS.min(from + 64)).map(lock).collect();
        let answer = operator.ask("PUT", "/v1/txn", json!(ops).to_string().as_bytes());
        assert_eq!(answer.expect("an answer").status, 200);
    }
    session
}

/// The number of connections to the agent at this address, from any process.
fn connections(url: &str) -> usize {
    // The table, the column of the state and of the address, and how both look.
    let (table, state, open, place, address) = match url.strip_prefix("unix://") {
        Some(path) => ("unix", 5, "03", 7, path.to_owned()),
        None => {
            let port = url.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
            ("tcp", 3, "01", 2, format!(":{:04X}", port.expect("a port")))
        }
    };
    let table = std::fs::read_to_string(format!("/proc/self/net/{table}")).expect("Linux");
    let is_one = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = |column: usize| fields.get(column).copied().unwrap_or_default();
        at(state) == open && at(place).ends_with(&address)
    };
    table.lines().filter(is_one).count()
}

async fn all_are_waited_for(agent: &Agent, builder: Builder, url: &str, most: usize) {
    let operator = agent.operator();
    let session = hold(&operator, "many");
    let dsync: Dsync = builder.start().expect("valid settings");
    dsync.ready().await.expect("an agent that runs");
    let mut waiting: Vec<Reply<Acquire>> =
        (0..KEYS).map(|n| dsync.send(Acquire::new(key(&name(n))))).collect();
    let begun = Instant::now();
    let mut highest = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        highest = highest.max(connections(url));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!((3..=most).contains(&highest), "{highest} connections");

    let mut latencies = Vec::new();
    for n in (0..KEYS).step_by(113) {
        let released = Instant::now();
        let target =
            format!("/v1/kv/many/{}?release={session}&flags={HASHICORP_LOCK_FLAGS}", name(n));
        assert_eq!(operator.ask("PUT", &target, b"").expect("an answer").text(), "true");
        let lease = tokio::time::timeout(Duration::from_secs(10), &mut waiting[n]).await;
        drop(lease.expect("a grant in time").expect("a grant"));
        latencies.push(released.elapsed());
        highest = highest.max(connections(url));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    latencies.sort();
    eprintln!("{highest} connections; from release to grant {:?}", latencies[latencies.len() / 2]);
    assert!(highest <= most, "{highest} connections");
    assert!(latencies[latencies.len() / 2] < Duration::from_secs(1), "{latencies:?}");
    drop(waiting);
    dsync.shutdown(Duration::from_secs(20)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_are_waited_for_over_the_connections_allowed() {
    let agent = Agent::start();
    all_are_waited_for(&agent, at(agent.url(), "many"), &agent.url(), 32).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_are_waited_for_over_the_connections_allowed_with_tls() {
    let (agent, url, certificate) = tls::agent();
    let builder = at(&url, "many").tls(tls::trusting([certificate]));
    all_are_waited_for(&agent, builder, &url, 48).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_are_waited_for_over_the_connections_allowed_with_tls_and_http_1_1() {
    let (agent, url, certificate) = tls::agent();
    let mut http1 = rustls::ClientConfig::clone(&tls::trusting([certificate]));
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let limits = Limits::default().with_connections(14);
    let builder = at(&url, "many").tls(std::sync::Arc::new(http1)).limits(limits);
    all_are_waited_for(&agent, builder, &url, 14).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_held_keys_the_one_that_is_deleted_is_lost() {
    let agent = Agent::start();
    let dsync = at(agent.url(), "held").start().expect("valid settings");
    let mut losses = dsync.events::<LockLost>(Filter::All);
    let asked = (0..300).map(|n| dsync.send(Acquire::new(key(&name(n)))));
    let leases = futures::future::join_all(asked).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let count = connections(&agent.url());
    assert!((3..=32).contains(&count), "{count} connections");
    for n in [0, 150, 299] {
        agent.operator().kv_delete(&format!("held/{}", name(n)));
        assert_eq!(next(&mut losses, Duration::from_secs(5)).await.key, key(&name(n)));
    }
    assert_eq!(leases.iter().flatten().filter(|lease| lease.is_valid()).count(), 297);
    drop(acquire(&dsync, "another").await);
    dsync.shutdown(Duration::from_secs(20)).await.expect("an orderly end");
}
