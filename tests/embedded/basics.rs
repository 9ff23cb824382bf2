//! A caller's view when nothing fails.

use std::time::Duration;

use actix_dsync::{Acquire, Error, Inspect, Release, Released, TryAcquire, embedded::Embedded};

use crate::{acquire, key, runtime};

#[actix::test]
async fn a_lease_is_valid_until_it_is_released_and_leaves_nothing_behind() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    dsync.ready().await.unwrap();

    let lease = acquire(&dsync, "a/b").await;
    assert!(lease.is_valid());
    assert!(lease.remaining() > Duration::from_secs(14));
    assert!(consul.entries().iter().any(|entry| entry.key == "a/b" && entry.session.is_some()));

    // Renewals keep it valid without a limit.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(lease.is_valid());

    assert_eq!(dsync.send(Release(lease)).await.unwrap(), Released::Confirmed);
    assert!(consul.entries().is_empty());

    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    assert!(consul.sessions().is_empty());
    assert_eq!(dsync.send(TryAcquire::new(key("a"))).await.unwrap_err(), Error::Stopped);
}

#[actix::test]
async fn two_processes_exclude_each_other_and_tokens_grow() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));

    let first = acquire(&one, "k").await;
    match two.send(TryAcquire::new(key("k"))).await.unwrap_err() {
        Error::Held { holder, .. } => assert_eq!(holder.json().unwrap()["service"], "one"),
        other => panic!("{other}"),
    }
    let holder = two.send(Inspect(key("k"))).await.unwrap().expect("held");
    assert_eq!(holder.session_name.as_deref(), Some("one"));

    let waiting = two.send(Acquire::new(key("k")));
    tokio::time::sleep(Duration::from_secs(100)).await;
    let token = first.token();
    drop(first);
    let second = waiting.await.unwrap();
    assert!(second.token() > token);
}

#[actix::test]
async fn a_try_during_the_lock_delay_is_refused_at_once_with_that_reason() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    two.ready().await.unwrap();
    let _lease = acquire(&one, "k").await;
    let waiting = two.send(Acquire::new(key("k")));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let session = consul.entries()[0].session.clone().expect("held");
    assert!(consul.destroy_session(&session));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = tokio::time::Instant::now();
    let refused = two.send(TryAcquire::new(key("k"))).await.unwrap_err();
    assert!(matches!(refused, Error::LockDelay { .. }), "{refused}");
    assert_eq!(asked.elapsed(), Duration::ZERO);
    // The waiter waits until the lock-delay ends, and no longer.
    let freed = asked - Duration::from_secs(5);
    assert!(waiting.await.unwrap().is_valid());
    assert!(freed.elapsed() <= Duration::from_millis(15_100), "{:?}", freed.elapsed());
}
