//! The first steps of a lock manager's user.

use std::time::Duration;

use actix_dsync::{Acquire, ConfigError, Dsync, Error, Release, Released, Timing, TryAcquire};

use crate::locks::{acquire, agent, at, key, runtime, short_delay};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_of_two_tries_is_refused_until_the_first_lease_is_given_back() {
    let dsync = runtime("twice");
    let first = dsync.send(TryAcquire::new(key("k"))).await.expect("free");
    assert!(matches!(dsync.send(TryAcquire::new(key("k"))).await, Err(Error::Held { .. })));
    assert_eq!(dsync.send(Release(first)).await, Ok(Released::Confirmed));
    let again = dsync.send(TryAcquire::new(key("k"))).await.expect("free again");
    assert!(again.is_valid());
    drop(again);
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_goes_to_and_fro_between_two_managers() {
    let managers = [runtime("fro"), runtime("fro")];
    let mut last = None;
    for round in 0..10 {
        let (holder, other) = (&managers[round % 2], &managers[(round + 1) % 2]);
        let lease = holder.send(TryAcquire::new(key("k"))).await.expect("released before");
        assert!(Some(lease.token()) > last);
        last = Some(lease.token());
        assert!(matches!(other.send(TryAcquire::new(key("k"))).await, Err(Error::Held { .. })));
        assert_eq!(holder.send(Release(lease)).await, Ok(Released::Confirmed));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_session_is_replaced_and_locks_can_be_had_again() {
    let dsync = at(agent().url(), "removed").timing(short_delay()).start().expect("valid");
    let lease = acquire(&dsync, "k").await;
    let operator = agent().operator();
    let session = operator.kv_get("removed/k").and_then(|entry| entry.session).expect("held");
    operator.destroy_session(&session);
    lease.lost().await;
    let again = acquire(&dsync, "k").await;
    assert!(again.token() > lease.token());
    let other = operator.kv_get("removed/k").and_then(|entry| entry.session).expect("held");
    assert_ne!(other, session);
    drop((lease, again));
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[test]
fn a_ttl_that_consul_would_refuse_is_refused_by_name_and_range() {
    for ttl in [0, 1, 9, 86_401] {
        let timing = Timing::default().with_session_ttl(Duration::from_secs(ttl));
        let error =
            Dsync::builder("test").timing(timing.clone()).start().expect_err("out of range");
        assert!(matches!(error, ConfigError::OutOfRange { .. }));
        let text = error.to_string();
        assert!(text.contains("timing.session_ttl") && text.contains("10s to 24h"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_wait_takes_nothing() {
    let (one, two) = (runtime("given-up"), runtime("given-up"));
    let lease = acquire(&one, "k").await;
    let waiting = two.send(Acquire::new(key("k")));
    let gave_up = tokio::time::timeout(Duration::from_millis(300), waiting).await;
    assert!(gave_up.is_err());
    assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed));
    let again = one.send(TryAcquire::new(key("k"))).await;
    assert!(again.expect("nobody else wants it").is_valid());
}
