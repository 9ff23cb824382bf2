//! Ownerships that end without the owner's action.

use std::time::Duration;

use actix_dsync::{Lease, LossReason, Release, Released, events::LockLost};

use crate::locks::{acquire, agent, at, is_of_the_session, next, pending, runtime, short_delay};
use crate::support::consul::Agent;
use crate::support::operator::Operator;
use crate::support::stalls::Stalls;

const SOON: Duration = Duration::from_secs(4);

/// Plays [`told`] until the expected reason is reported. If Consul shows the cause too late, the
/// reason is `ForceReleased`.
async fn is_told_once(prefix: &str, reason: LossReason, interfere: impl Fn(&Operator, &str, &str)) {
    for round in 0..3 {
        let told = told(&format!("{prefix}{round}"), &interfere).await;
        if told == reason {
            return;
        }
        assert_eq!(told, LossReason::ForceReleased);
    }
    panic!("in three runs, the reason was never {reason}");
}

/// An owner, a waiter, and an operator who interferes once the key is watched. The operator is
/// told the key and the owner's session. Returns the reason of the loss.
async fn told(prefix: &str, interfere: impl Fn(&Operator, &str, &str)) -> LossReason {
    let operator = agent().operator();
    let settings = || at(agent().url(), prefix).timing(short_delay());
    let (owner, other) = (settings().start().expect("valid"), settings().start().expect("valid"));
    let mut lost = owner.events::<LockLost>(actix_dsync::events::Filter::All);
    let lease = acquire(&owner, "k").await;
    let waiting = tokio::spawn({
        let other = other.clone();
        async move { acquire(&other, "k").await }
    });
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    assert!(lease.is_valid());
    let path = format!("{prefix}/k");
    let session = operator.kv_get(&path).and_then(|entry| entry.session);
    interfere(&operator, &path, &session.expect("held"));

    let event = next(&mut lost, SOON).await;
    assert!(!lease.is_valid(), "told before the lease ended");
    assert_eq!((event.key.as_str(), event.token), ("k", lease.token()));
    let reason = event.reason;
    assert_eq!(lease.lost().await, reason);
    let stopped = lease.run(std::future::pending::<()>()).await;
    assert_eq!(stopped.expect_err("it was lost").reason, reason);

    let second = waiting.await.expect("the waiter has it");
    assert!(second.token() > lease.token());
    let token = lease.token();
    assert_eq!(owner.send(Release(lease)).await, Ok(Released::AlreadyLost(reason)));
    // The former owner gets the key again once the other releases it.
    let again = tokio::spawn({
        let owner = owner.clone();
        async move { acquire(&owner, "k").await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(other.send(Release(second)).await, Ok(Released::Confirmed));
    let again: Lease = again.await.expect("granted");
    assert!(again.token() > token);
    assert!(again.is_valid());
    assert_eq!(owner.send(Release(again)).await, Ok(Released::Confirmed));
    assert_eq!(pending(&mut lost), [], "one ownership was lost, once");
    for dsync in [owner, other] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
    assert_eq!(operator.kv_keys(&format!("{prefix}/")), Vec::<String>::new());
    reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_destroyed_by_hand_is_told_once_and_the_waiter_follows() {
    is_told_once("destroyed", LossReason::SessionGone, |operator, _, session| {
        operator.destroy_session(session);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_key_is_told_once_and_the_waiter_follows() {
    is_told_once("deleted", LossReason::KeyDeleted, |operator, path, _| {
        operator.kv_delete(path);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_release_is_told_once_and_the_waiter_follows() {
    is_told_once("forced", LossReason::ForceReleased, |operator, path, _| {
        assert!(operator.force_release(path));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_bound_to_a_node_check_ends_when_the_check_turns_critical() {
    let agent = Agent::builder().start();
    let operator = agent.operator();
    let put = |path: &str, body: &str| {
        let answer = operator.ask("PUT", path, body.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    };
    let check = r#"{ "Name": "disk", "TTL": "600s", "Status": "passing" }"#;
    put("/v1/agent/check/register", check);
    let started = || at(agent.url(), "bound").timing(short_delay());
    let bound = started().node_checks(["disk"]).start().expect("valid");
    let other = started().start().expect("valid");
    let mut lost = bound.events::<LockLost>(actix_dsync::events::Filter::All);
    let leases = (acquire(&bound, "a").await, acquire(&other, "b").await);
    let stalls = Stalls::watch();
    put("/v1/agent/check/fail/disk", "");
    let event = next(&mut lost, SOON).await;
    assert!(event.key.as_str() == "a" && is_of_the_session(event.reason, &stalls), "{event:?}");
    assert!(!leases.0.is_valid() && leases.1.is_valid());
    // While the check is critical, Consul creates no session that depends on it.
    put("/v1/agent/check/pass/disk", "");
    let again = acquire(&bound, "a").await;
    assert!(again.token() > leases.0.token());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_bound_to_a_service_s_check_ends_when_the_check_turns_critical() {
    let agent = Agent::builder().start();
    let operator = agent.operator();
    let put = |path: &str, body: &str| {
        let answer = operator.ask("PUT", path, body.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    };
    let check = r#"{ "CheckID": "service:web", "TTL": "600s", "Status": "passing" }"#;
    let service = format!(r#"{{ "Name": "web", "Port": 8080, "Check": {check} }}"#);
    put("/v1/agent/service/register", &service);
    let timing = short_delay();
    // The lock-delay, which alone protects a bound session, is in the lease.
    assert!(timing.lease() < timing.lock_delay);
    let started = || at(agent.url(), "bound").timing(timing.clone());
    let bound = started().service_checks(["service:web"]).start().expect("valid");
    let other = started().start().expect("valid");
    let mut lost = bound.events::<LockLost>(actix_dsync::events::Filter::All);
    let lease = acquire(&bound, "a").await;
    let stalls = Stalls::watch();
    put("/v1/agent/check/fail/service:web", "");
    let waiting = tokio::spawn(async move { acquire(&other, "a").await });
    let event = next(&mut lost, SOON).await;
    assert!(event.key.as_str() == "a" && is_of_the_session(event.reason, &stalls), "{event:?}");
    assert!(!lease.is_valid());
    assert!(waiting.await.expect("granted").token() > lease.token());
    put("/v1/agent/check/pass/service:web", "");
    assert!(acquire(&bound, "a").await.is_valid());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_that_dies_takes_every_key_with_it_and_each_is_told_once() {
    let dsync = at(agent().url(), "several").timing(short_delay()).start().expect("valid");
    let mut lost = dsync.events::<LockLost>(actix_dsync::events::Filter::All);
    let mut leases = Vec::new();
    for number in 0..20 {
        leases.push(acquire(&dsync, &number.to_string()).await);
    }
    let operator = agent().operator();
    let session = operator.kv_get("several/0").and_then(|entry| entry.session).expect("held");
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let stalls = Stalls::watch();
    operator.destroy_session(&session);
    let mut keys = Vec::new();
    for _ in 0..leases.len() {
        let event = next(&mut lost, SOON).await;
        let lease = leases.iter().find(|lease| *lease.key() == event.key).expect("one of ours");
        assert!(!lease.is_valid(), "told before the lease ended");
        assert!(is_of_the_session(event.reason, &stalls), "{event:?}");
        keys.push(event.key.to_string());
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), leases.len());
    // Another session gets the key after the delay.
    let again = acquire(&dsync, "0").await;
    assert!(again.token() > leases[0].token());
    assert_eq!(pending(&mut lost), []);
    drop((again, leases));
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_written_over_a_held_key_loses_nothing_and_release_leaves_nothing() {
    let operator = agent().operator();
    let dsync = runtime("overwritten");
    let mut lost = dsync.events::<LockLost>(actix_dsync::events::Filter::All);
    // Before and after the key is watched.
    for (round, watched) in [(0, false), (1, true), (2, true)] {
        let lease = acquire(&dsync, "k").await;
        if watched {
            tokio::time::sleep(Duration::from_millis(1_300)).await;
        }
        operator.kv_put("overwritten/k", format!("note {round}").as_bytes());
        if round == 2 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            operator.kv_put("overwritten/k", b"another");
        }
        tokio::time::sleep(Duration::from_millis(if watched { 500 } else { 0 })).await;
        assert!(lease.is_valid());
        let holder = operator.kv_get("overwritten/k").and_then(|entry| entry.session);
        assert!(holder.is_some());
        assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
        assert_eq!(operator.kv_get("overwritten/k"), None);
    }
    assert_eq!(pending(&mut lost), []);
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_behind_a_release_under_way_is_said_by_its_reply() {
    let operator = agent().operator();
    let dsync = runtime("behind");
    let mut lost = dsync.events::<LockLost>(actix_dsync::events::Filter::All);
    let lease = acquire(&dsync, "k").await;
    operator.kv_delete("behind/k");
    let released = dsync.send(Release(lease)).await;
    assert_eq!(released, Ok(Released::AlreadyLost(LossReason::KeyDeleted)));
    assert_eq!(pending(&mut lost), [], "the reply has said it");
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_restarts_empty_ends_every_ownership_once_and_all_begins_anew() {
    let agent = Agent::start();
    // Keep the new store's indexes below ours for a while.
    for number in 0..200 {
        agent.operator().kv_put("filler", number.to_string().as_bytes());
    }
    let settings = || at(agent.url(), "empty").timing(short_delay());
    let (owner, other) = (settings().start().expect("valid"), settings().start().expect("valid"));
    let mut lost = owner.events::<LockLost>(actix_dsync::events::Filter::All);
    let lease = acquire(&owner, "k").await;
    let waiting = tokio::spawn({
        let other = other.clone();
        async move { acquire(&other, "k").await }
    });
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    agent.restart();
    let event = next(&mut lost, Duration::from_secs(10)).await;
    assert!(!lease.is_valid(), "told before the lease ended");
    eprintln!("an empty restart: {}", event.reason);
    assert!(
        matches!(
            event.reason,
            LossReason::StoreReplaced | LossReason::SessionGone | LossReason::DeadlinePassed
        ),
        "{event:?}"
    );
    let second = waiting.await.expect("granted");
    assert!(second.is_valid());
    assert_eq!(other.send(Release(second)).await, Ok(Released::Confirmed));
    let again = acquire(&owner, "k").await;
    assert!(agent.operator().kv_get("empty/k").is_some_and(|entry| entry.session.is_some()));
    assert_eq!(owner.send(Release(again)).await, Ok(Released::Confirmed));
    assert_eq!(pending(&mut lost), []);
    for dsync in [owner, other] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}
