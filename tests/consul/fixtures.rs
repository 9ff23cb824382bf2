//! Tests of the fixtures: the faults that other tests rely on do happen.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::consul::{Agent, Cluster};
use crate::support::eventually;
use crate::support::operator::Operator;
use crate::support::proxy::{Mode, Proxy};

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn an_operator_reads_writes_lists_and_deletes_keys() {
    let agent = Agent::start();
    let operator = agent.operator();
    assert_eq!(operator.kv_get("a/b c%?#"), None);
    assert_eq!(operator.kv_keys("a/"), Vec::<String>::new());

    let long = vec![b'x'; 100_000];
    operator.kv_put("a/b c%?#", &long);
    operator.kv_put("a/d", b"");
    assert_eq!(operator.kv_get("a/b c%?#").expect("just put").value, long);
    assert_eq!(operator.kv_get("a/d").expect("just put").value, b"");
    assert_eq!(operator.kv_keys("a/"), ["a/b c%?#", "a/d"]);

    operator.kv_delete("a/b c%?#");
    assert_eq!(operator.kv_keys("a/"), ["a/d"]);
}

#[test]
fn an_operator_takes_a_lock_from_its_owner() {
    let agent = Agent::start();
    let operator = agent.operator();
    let settings = json!({ "Name": "n", "TTL": "10s", "LockDelay": "250ms" });
    let owner = operator.create_session(&settings).expect("the agent is ready");
    assert!(operator.acquire("k", &owner, b"v"));

    let listed = operator.sessions();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0].id, owner);
    assert_eq!(listed[0].node, agent.node());
    assert_eq!(listed[0].lock_delay, Duration::from_millis(250));

    assert!(operator.force_release("k"));
    assert!(!operator.force_release("k"), "nobody owns it any more");
    let freed = operator.kv_get("k").expect("a release leaves the key");
    assert_eq!((freed.session, freed.value), (None, b"v".to_vec()));

    operator.destroy_session(&owner);
    assert_eq!(operator.sessions(), []);
}

#[test]
fn a_frozen_agent_is_silent_and_a_killed_one_refuses() {
    let agent = Agent::start();
    let operator = agent.operator().limit(SHORT);
    agent.operator().kv_put("k", b"v");

    agent.stop();
    assert!(is_silence(&operator));
    agent.resume();
    assert_eq!(agent.operator().kv_get("k").expect("it kept the key").value, b"v");

    agent.kill();
    assert_eq!(error(&operator), Some(ErrorKind::ConnectionRefused));
    agent.restart();
    assert_eq!(agent.operator().kv_get("k"), None, "an agent in memory starts empty");
}

#[test]
fn an_agent_with_access_control_denies_strangers() {
    let agent = Agent::builder()
        .acl("5f1c6b0e-8d0b-4c68-9d35-0d8f6f0f6a01")
        .config("limits { http_max_conns_per_client = 10 }")
        .start();
    agent.operator().kv_put("k", b"v");
    let answer = Operator::new(agent.http_addr()).ask("GET", "/v1/kv/k", b"");
    assert_eq!(answer.expect("an answer").status, 403);
}

#[test]
fn a_proxy_forwards_delays_holds_and_breaks() {
    let agent = Agent::start();
    let proxy = Proxy::to(agent.http_addr());
    let operator = Operator::new(proxy.address());
    let hasty = operator.clone().limit(SHORT);
    operator.kv_put("k", b"1");
    assert_eq!(operator.kv_get("k").expect("just put").value, b"1");

    proxy.set(Mode::Delay(Duration::from_millis(100)));
    let asked = Instant::now();
    operator.kv_get("k");
    assert!(asked.elapsed() >= Duration::from_millis(200), "both ways are delayed");

    proxy.set(Mode::BlackHole);
    assert!(is_silence(&hasty));
    proxy.set(Mode::Reset);
    assert_eq!(error(&operator), Some(ErrorKind::ConnectionReset));
    proxy.set(Mode::Refuse);
    assert_eq!(error(&operator), Some(ErrorKind::ConnectionRefused));
    proxy.set(Mode::Forward);
    assert_eq!(operator.kv_get("k").expect("the key").value, b"1");
}

#[test]
fn a_one_way_proxy_lets_the_write_happen_and_loses_the_reply() {
    let agent = Agent::start();
    let proxy = Proxy::to(agent.http_addr());
    proxy.set(Mode::OneWay);
    let written = Operator::new(proxy.address()).limit(SHORT).ask("PUT", "/v1/kv/k", b"v");
    assert!(written.is_err(), "{written:?}");
    let stored = eventually(Duration::from_secs(5), || agent.operator().kv_get("k"));
    assert_eq!(stored.expect("the write arrived").value, b"v");
}

#[test]
fn what_a_black_hole_held_arrives_late() {
    let agent = Agent::start();
    let proxy = Proxy::to(agent.http_addr());
    proxy.set(Mode::BlackHole);
    let written = Operator::new(proxy.address()).limit(SHORT).ask("PUT", "/v1/kv/k", b"v");
    assert!(written.is_err(), "{written:?}");
    assert_eq!(agent.operator().kv_get("k"), None);
    proxy.set(Mode::Forward);
    let late = eventually(Duration::from_secs(5), || agent.operator().kv_get("k"));
    assert_eq!(late.expect("the held request").value, b"v");
}

#[test]
fn a_reset_reaches_connections_that_stand() {
    let agent = Agent::start();
    let proxy = Proxy::to(agent.http_addr());
    for fault in [Mode::Reset, Mode::Refuse] {
        proxy.set(Mode::BlackHole);
        let asked_before = proxy.requests("/v1/status/leader").len();
        let waiting = std::thread::spawn({
            let operator = Operator::new(proxy.address());
            move || error(&operator)
        });
        let asked = || (proxy.requests("/v1/status/leader").len() > asked_before).then_some(());
        eventually(Duration::from_secs(5), asked).expect("it waits for an answer");
        proxy.set(fault);
        let ended = waiting.join().expect("the waiting thread");
        assert_eq!(ended, Some(ErrorKind::ConnectionReset), "{fault:?}");
    }
}

#[test]
fn a_lock_outlives_a_leader_killed_or_frozen() {
    let cluster = Cluster::start();
    for (key, freeze) in [("killed", false), ("frozen", true)] {
        // A session ends with the node through which it was created.
        let operator = cluster.operator(cluster.follower());
        let settings = json!({ "TTL": "60s", "LockDelay": "1s" });
        let owner = operator.create_session(&settings).expect("the cluster is ready");
        assert!(operator.acquire(key, &owner, b"v"));
        let granted = operator.kv_get(key);
        let at_leader = || cluster.operator(cluster.leader()).kv_get(key);

        let lost = cluster.leader();
        if freeze {
            cluster.freeze(lost);
        } else {
            assert_eq!(cluster.kill_leader(), lost);
        }
        assert_ne!(cluster.leader(), lost);
        assert_eq!(at_leader(), granted);

        if freeze {
            cluster.thaw(lost);
        } else {
            cluster.restart(lost);
        }
        assert_eq!(at_leader(), granted);
    }
}

/// The error of a request, if it fails.
fn error(operator: &Operator) -> Option<ErrorKind> {
    operator.ask("GET", "/v1/status/leader", b"").err().map(|e| e.kind())
}

fn is_silence(operator: &Operator) -> bool {
    matches!(error(operator), Some(ErrorKind::TimedOut | ErrorKind::WouldBlock))
}
