//! Acquiring the same key right after its release.

use std::time::Duration;

use actix_dsync::{FencingToken, Lease, Release, TryAcquire};

use crate::locks::{acquire, agent, at, key, rounds, runtime};
use crate::support::proxy::{Mode, Proxy};

/// Asserts that Consul agrees with the lease, unless the lease ended before Consul was asked.
fn is_locked_in_consul(full: &str, lease: &Lease, last: &mut Option<FencingToken>) {
    let entry = agent().operator().kv_get(full);
    assert!(Some(lease.token()) > *last, "{:?} after {last:?}", lease.token());
    *last = Some(lease.token());
    assert!(lease.is_valid(), "nobody took it away");
    let entry = entry.unwrap_or_else(|| panic!("granted at {} without the key", lease.token()));
    assert!(entry.session.is_some(), "granted at {} without a lock: {entry:?}", lease.token());
    assert_eq!(entry.modify_index, lease.token().as_u64() >> 16, "the token is of this lock");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_grant_straight_after_a_release_is_locked_in_consul() {
    let dsync = runtime("straight");
    let mut last = None;
    for round in 0..rounds(300, 1_000) {
        let lease = acquire(&dsync, "k").await;
        is_locked_in_consul("straight/k", &lease, &mut last);
        match round % 3 {
            0 => drop(lease),
            1 => drop(dsync.send(Release(lease))),
            _ => drop(dsync.send(Release(lease)).await.expect("a release")),
        }
    }
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!(agent().operator().kv_keys("straight/"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_release_reply_never_leads_to_a_grant_without_the_lock() {
    let proxy = Proxy::to(agent().http_addr());
    let dsync = at(proxy.url(), "lossy").start().expect("valid settings");
    let direct = runtime("lossy");
    let mut last = None;
    let mut lease = acquire(&dsync, "k").await;
    for round in 0..rounds(100, 1_000) {
        is_locked_in_consul("lossy/k", &lease, &mut last);
        // The release, and sometimes the next lock, may take effect or not; no reply arrives.
        proxy.set(if round % 2 == 0 { Mode::OneWay } else { Mode::BlackHole });
        let released = dsync.send(Release(lease));
        let next = acquire(&dsync, "k");
        let mend = async {
            tokio::time::sleep(Duration::from_millis(5 * (round as u64 % 5))).await;
            proxy.set(Mode::Reset);
            proxy.set(Mode::Forward);
        };
        let (released, granted, ()) = tokio::join!(released, next, mend);
        let _ = released.expect("an answer");
        lease = granted;
    }
    drop(lease);
    let lease = acquire(&direct, "k").await;
    is_locked_in_consul("lossy/k", &lease, &mut last);
    drop(lease);
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    direct.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!(agent().operator().kv_keys("lossy/"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_release_never_frees_a_newer_ownership() {
    let proxy = Proxy::to(agent().http_addr());
    let (dsync, other) = (at(proxy.url(), "late-release"), runtime("late-release"));
    let dsync = dsync.start().expect("valid settings");
    let mut last = None;
    for _ in 0..3 {
        let lease = acquire(&dsync, "k").await;
        // The request is held, repeated over another connection, and then arrives.
        proxy.set(Mode::BlackHole);
        let released = dsync.send(Release(lease));
        tokio::time::sleep(Duration::from_millis(2_600)).await;
        proxy.set(Mode::Forward);
        let _ = released.await.expect("an answer");
        let lease = acquire(&dsync, "k").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        is_locked_in_consul("late-release/k", &lease, &mut last);
        let refused = other.send(TryAcquire::new(key("k"))).await;
        assert!(refused.is_err(), "{refused:?}");
        let _ = dsync.send(Release(lease)).await.expect("a release");
    }
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!(agent().operator().kv_keys("late-release/"), Vec::<String>::new());
}
