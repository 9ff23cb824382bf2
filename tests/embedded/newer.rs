//! An agent like a newer Consul, and rights that are withdrawn. `DSYNC_EMBEDDED=newer` runs every
//! other test over such an agent, too.

use std::time::Duration;

use actix_dsync::{
    Acquire, Dsync, Error, Inspect, Lease, LossReason, Release, Released, TryAcquire,
    embedded::{Embedded, EmbeddedRight},
    events::{Events, Filter, LockLost},
};
use futures::{FutureExt as _, StreamExt as _};

use crate::{acquire, key, runtime};

#[actix::test]
async fn an_agent_that_limits_requests_delays_and_costs_no_lock() {
    tokio::time::pause();
    let consul = Embedded::new().newer(true);
    let Pair { one, two, mut lost, lease } = Pair::of(&consul).await;
    let consul = consul.request_rate(Some(10));
    let waiting = two.send(Acquire::new(key("k")).within(Duration::from_secs(300)));
    let (mut reads, mut tries) = (0, 0);
    for round in 0..20 {
        // A burst that uses up its second, reads first.
        let burst = (0..20).map(|n| two.send(Inspect(key(&format!("r{n}")))));
        let burst = futures::future::join_all(burst);
        let tried = two.send(TryAcquire::new(key(&format!("t{round}"))));
        let (burst, tried) = futures::future::join(burst, tried).await;
        reads += burst.iter().filter(|read| read.is_err()).count();
        tries += usize::from(tried.is_err());
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    assert!(reads > 100, "{reads} reads and {tries} tries were refused");
    assert!(lease.is_valid());
    assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed));
    let lease = waiting.await.unwrap();
    assert!(lease.is_valid());
    assert!(lost.next().now_or_never().is_none());
    drop(lease);
    // Without the limit, nothing is left.
    let consul = consul.request_rate(None);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(consul.entries().iter().all(|entry| entry.session.is_none()), "{:?}", consul.entries());
}

/// Agents like an older and a newer Consul, whose denials read differently.
fn both() -> [Embedded; 2] {
    [false, true].map(|newer| Embedded::new().newer(newer))
}

/// Two runtimes with sessions. The first holds `k`.
struct Pair {
    one: Dsync,
    two: Dsync,
    lost: Events<LockLost>,
    lease: Lease,
}

impl Pair {
    async fn of(consul: &Embedded) -> Self {
        let (one, two) = (runtime("one", consul), runtime("two", consul));
        let lost = one.events::<LockLost>(Filter::All);
        let lease = acquire(&one, "k").await;
        two.ready().await.unwrap();
        Self { one, two, lost, lease }
    }
}

#[actix::test]
async fn a_withdrawn_right_to_write_keys_denies_at_once_and_loses_no_lock() {
    tokio::time::pause();
    for consul in both() {
        let Pair { one, two, mut lost, lease } = Pair::of(&consul).await;
        consul.allow(EmbeddedRight::KeyWrite, false);
        // Neither the text of a denial nor a key that reads like one means anything else.
        for name in
            ["other", "a Permission denied: b", "x\"ACL not found", "rpc error making call: "]
        {
            let denied = two.send(TryAcquire::new(key(name.trim()))).await.unwrap_err();
            let Error::Denied { right } = &denied else { panic!("{denied:?}") };
            assert!(right.contains("key:write") && right.contains(name.trim()), "{right}");
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(lease.is_valid());
        assert_eq!(two.health().blocked, None);
        consul.allow(EmbeddedRight::KeyWrite, true);
        let waiting = two.send(Acquire::new(key("k")).within(Duration::from_secs(60)));
        assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed));
        assert!(waiting.await.unwrap().is_valid());
        assert!(lost.next().now_or_never().is_none());
    }
}

#[actix::test]
async fn without_read_rights_a_held_lock_looks_neither_lost_nor_free() {
    tokio::time::pause();
    for consul in both() {
        let Pair { one, two, mut lost, lease } = Pair::of(&consul).await;
        consul.allow(EmbeddedRight::KeyRead, false);
        let denied = two.send(TryAcquire::new(key("k"))).await.unwrap_err();
        assert!(matches!(denied, Error::Denied { .. }), "{denied:?}");
        let denied = two.send(Inspect(key("k"))).await.unwrap_err();
        assert!(matches!(denied, Error::Denied { .. }), "{denied:?}");
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(lease.is_valid());
        assert!(lost.next().now_or_never().is_none());
        consul.allow(EmbeddedRight::KeyRead, true);
        assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed));
    }
}

#[actix::test]
async fn without_the_right_to_renew_a_lock_is_lost_at_its_deadline_and_never_before() {
    tokio::time::pause();
    for right in [EmbeddedRight::SessionRead, EmbeddedRight::SessionWrite, EmbeddedRight::Token] {
        for consul in both() {
            let one = runtime("one", &consul);
            let mut lost = one.events::<LockLost>(Filter::All);
            let lease = acquire(&one, "k").await;
            consul.allow(right, false);
            let (left, since) = (lease.remaining(), tokio::time::Instant::now());
            let event = lost.next().await.unwrap();
            let passed = since.elapsed();
            assert_eq!(event.reason, LossReason::DeadlinePassed, "{right:?}");
            assert!(passed >= left, "{right:?}: {passed:?} instead of {left:?}");
            // Tokio's timers round up to the next millisecond.
            let latest = one.timing().lease() + Duration::from_millis(10);
            assert!(passed <= latest, "{right:?}: {passed:?}");
            consul.allow(right, true);
            let again = acquire(&one, "k").await;
            assert!(again.token() > lease.token());
        }
    }
}

#[actix::test]
async fn a_token_that_the_agent_does_not_know_is_waited_for() {
    tokio::time::pause();
    for consul in both() {
        consul.allow(EmbeddedRight::Token, false);
        let one = runtime("one", &consul);
        let waiting = one.send(Acquire::new(key("k")).within(Duration::from_secs(600)));
        let tried = one.send(TryAcquire::new(key("k"))).await.unwrap_err();
        assert!(matches!(tried, Error::Unavailable { .. }), "{tried:?}");
        assert!(tried.to_string().contains("ACL token"), "{tried}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(one.health().blocked.is_some_and(|why| why.contains("ACL token")));
        consul.allow(EmbeddedRight::Token, true);
        assert!(waiting.await.unwrap().is_valid());
        assert_eq!(one.health().blocked, None);
    }
}
