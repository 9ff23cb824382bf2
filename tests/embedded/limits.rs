//! The limits of one process.

use std::time::Duration;

use actix_dsync::{
    Acquire, Dsync, Error, LossReason, Reply, TryAcquire, config::Limits, embedded::Embedded,
    events::LockLost,
};
use futures::StreamExt;

use crate::{acquire, key, runtime};

fn limited(consul: &Embedded, limits: Limits) -> Dsync {
    let builder = Dsync::builder("limited").embedded(consul).on_current_arbiter();
    builder.limits(limits).start().unwrap()
}

#[actix::test]
async fn one_waiter_too_many_is_refused_at_once_and_the_others_keep_waiting() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = limited(&consul, Limits::default().with_waiters_per_key(3));
    let lease = acquire(&dsync, "k").await;
    let ask = || dsync.send(Acquire::new(key("k")));
    let waiting: Vec<_> = (0..3).map(|_| ask()).collect();
    assert_eq!(ask().await.unwrap_err(), Error::TooManyWaiters { key: key("k"), limit: 3 });
    drop(lease);
    for reply in waiting {
        drop(reply.await.unwrap());
    }
    drop(ask().await.unwrap());
}

#[actix::test]
async fn one_key_too_many_is_refused_until_another_is_no_longer_used() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = limited(&consul, Limits::default().with_keys(2));
    let (_a, b) = (acquire(&dsync, "a").await, acquire(&dsync, "b").await);
    let refused = dsync.send(Acquire::new(key("c"))).await.unwrap_err();
    assert_eq!(refused, Error::TooManyKeys { key: key("c"), limit: 2 });
    // Keys in use are not affected.
    assert!(matches!(dsync.send(TryAcquire::new(key("a"))).await, Err(Error::Held { .. })));
    drop(b);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(acquire(&dsync, "c").await.is_valid());
}

#[actix::test]
async fn more_waits_than_connections_share_the_connections() {
    tokio::time::pause();
    let consul = Embedded::new();
    let holder = runtime("holder", &consul);
    let dsync = limited(&consul, Limits::default().with_connections(12));
    dsync.ready().await.unwrap();
    let mut leases = Vec::new();
    for number in 0..10 {
        leases.push(acquire(&holder, &number.to_string()).await);
    }
    let mut waiting: Vec<Reply<Acquire>> =
        (0..10).map(|number| dsync.send(Acquire::new(key(&number.to_string())))).collect();
    for asked in &mut waiting {
        assert!(tokio::time::timeout(Duration::from_secs(5), asked).await.is_err());
    }
    for (lease, asked) in leases.into_iter().zip(waiting) {
        let freed = tokio::time::Instant::now();
        drop(lease);
        assert!(asked.await.unwrap().is_valid());
        assert!(freed.elapsed() <= Duration::from_secs(3), "{:?}", freed.elapsed());
    }
}

#[actix::test]
async fn held_keys_beyond_the_connections_are_still_watched() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = limited(&consul, Limits::default().with_connections(12));
    let mut lost = dsync.events::<LockLost>(actix_dsync::events::Filter::All);
    let mut leases = Vec::new();
    for number in 0..30 {
        leases.push(acquire(&dsync, &number.to_string()).await);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    for lease in &leases {
        let asked = tokio::time::Instant::now();
        assert!(consul.delete_key(lease.key().as_str()));
        let event = lost.next().await.unwrap();
        assert_eq!((&event.key, event.reason), (lease.key(), LossReason::KeyDeleted));
        assert!(asked.elapsed() <= Duration::from_secs(3), "{:?}", asked.elapsed());
    }
}
