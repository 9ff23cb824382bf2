//! The end of a runtime, whatever it is doing.

use std::{cell::RefCell, future::pending, rc::Rc, time::Duration};

use actix_dsync::{
    Acquire, AcquireAll, AcquirePermit, Campaign, Error, Inspect, LossReason, Observe, Release,
    Released,
    embedded::{Embedded, EmbeddedRight},
    events::{Filter, LockLost},
};
use futures::{FutureExt, StreamExt};

use crate::{acquire, in_a_task, key, runtime, steps};

const LIMIT: Duration = Duration::from_secs(5);

#[actix::test]
async fn shutdown_after_any_number_of_steps_leaves_nothing_and_answers_everybody() {
    in_a_task(async {
        for count in 0..=60 {
            let consul = Embedded::new();
            let (dsync, other) = (runtime("one", &consul), runtime("other", &consul));
            let held = acquire(&other, "held").await;
            let free = dsync.send(Acquire::new(key("free")));
            let behind = dsync.send(Acquire::new(key("free")));
            let waits = dsync.send(Acquire::new(key("held")));
            steps(count).await;
            let asked = tokio::time::Instant::now();
            dsync.shutdown(LIMIT).await.unwrap_or_else(|error| panic!("{count}: {error}"));
            assert!(asked.elapsed() < Duration::from_secs(1), "{count}: {:?}", asked.elapsed());
            assert_eq!(waits.await.unwrap_err(), Error::Stopped, "{count}");
            assert_eq!(behind.await.unwrap_err(), Error::Stopped, "{count}");
            match free.await {
                Ok(lease) => {
                    assert!(!lease.is_valid(), "{count}");
                    assert_eq!(lease.lost().await, LossReason::Shutdown, "{count}");
                }
                Err(error) => assert_eq!(error, Error::Stopped, "{count}"),
            }
            assert!(held.is_valid());
            drop(held);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(consul.entries(), [], "{count}");
            assert_eq!(consul.sessions().len(), 1, "{count}: only the other's");
            other.shutdown(LIMIT).await.unwrap();
        }
    })
    .await;
}

#[actix::test]
async fn shutdown_loses_leases_once_and_the_waiter_elsewhere_has_them_at_once() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (dsync, other) = (runtime("one", &consul), runtime("other", &consul));
    let lost = dsync.events::<LockLost>(Filter::All);
    let (a, b) = (acquire(&dsync, "a").await, acquire(&dsync, "b").await);
    let waiting = other.send(Acquire::new(key("a")));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = tokio::time::Instant::now();
    // Call it twice and drop one future: the shutdown continues.
    drop(dsync.shutdown(LIMIT).now_or_never());
    dsync.shutdown(LIMIT).await.unwrap();
    assert!(!a.is_valid() && !b.is_valid());
    assert!(waiting.await.unwrap().token() > a.token());
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    let released = dsync.send(Release(b)).await;
    assert_eq!(released, Ok(Released::AlreadyLost(LossReason::Shutdown)));
    assert_eq!(dsync.send(Inspect(key("a"))).await, Err(Error::Stopped));
    assert_eq!(dsync.ready().await, Err(Error::Stopped));
    drop(dsync);
    let events: Vec<_> = lost.collect().await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events.iter().all(|event| event.reason == LossReason::Shutdown));
}

#[actix::test]
async fn a_shutdown_that_failed_is_never_reported_as_done() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let _lease = acquire(&dsync, "k").await;
    consul.cut();
    let (first, second) = futures::join!(dsync.shutdown(LIMIT), dsync.shutdown(LIMIT * 2));
    assert!(matches!(first, Err(Error::Unavailable { .. })), "{first:?}");
    assert_eq!(second, first);
    assert_eq!(dsync.shutdown(LIMIT).await, first, "it ended long ago");
    consul.mend();
    assert_eq!(dsync.shutdown(LIMIT).await, first);
}

#[actix::test]
async fn a_shutdown_that_may_not_destroy_the_session_says_so_without_waiting() {
    tokio::time::pause();
    for (right, expected) in [
        (EmbeddedRight::SessionWrite, "session:write"),
        (EmbeddedRight::Token, "does not know the ACL token"),
    ] {
        let consul = Embedded::new();
        let dsync = runtime("one", &consul);
        dsync.ready().await.unwrap();
        consul.allow(right, false);
        let asked = tokio::time::Instant::now();
        let refused = dsync.shutdown(LIMIT).await.unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
        assert!(asked.elapsed() < LIMIT, "{:?}", asked.elapsed());
        assert_eq!(dsync.shutdown(LIMIT).await, Err(refused));
        assert_eq!(consul.sessions().len(), 1);
    }
}

#[actix::test]
async fn a_shutdown_during_releases_and_lock_delays_ends_in_time() {
    in_a_task(async {
        for count in 0..=40 {
            let consul = Embedded::new();
            let dsync = runtime("one", &consul);
            let lease = acquire(&dsync, "released").await;
            let closed = acquire(&dsync, "closed").await;
            let session = consul.entries()[0].session.clone().expect("held");
            if count % 2 == 0 {
                consul.destroy_session(&session);
            }
            let released = dsync.send(Release(lease));
            let waits = dsync.send(Acquire::new(key("closed")));
            steps(count).await;
            let asked = tokio::time::Instant::now();
            dsync.shutdown(LIMIT).await.unwrap_or_else(|error| panic!("{count}: {error}"));
            assert!(asked.elapsed() < Duration::from_secs(1), "{count}: {:?}", asked.elapsed());
            assert_eq!(waits.await.unwrap_err(), Error::Stopped);
            let released = released.await;
            assert!(released.is_ok(), "{count}: {released:?}");
            assert!(!closed.is_valid());
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(consul.sessions(), [], "{count}");
            assert!(consul.entries().iter().all(|entry| entry.session.is_none()), "{count}");
        }
    })
    .await;
}

#[actix::test]
async fn the_last_handle_dropped_after_any_number_of_steps_leaves_nothing() {
    in_a_task(async {
        for count in 0..=60 {
            for waits in [false, true] {
                let consul = Embedded::new();
                let dsync = runtime("one", &consul);
                let asked = dsync.send(Acquire::new(key("k")));
                steps(count).await;
                drop(dsync);
                if waits {
                    assert!(asked.await.unwrap().is_valid(), "{count}");
                } else {
                    drop(asked);
                }
                tokio::time::sleep(Duration::from_secs(6)).await;
                assert_eq!(consul.entries(), [], "{count}");
                assert_eq!(consul.sessions(), [], "{count}");
            }
        }
    })
    .await;
}

#[actix::test]
async fn whatever_is_held_keeps_the_runtime() {
    in_a_task(async {
        let held_for = Duration::from_secs(60);
        let consul = Embedded::new();
        let lease = runtime("lease", &consul).send(Acquire::new(key("k"))).await.unwrap();
        tokio::time::sleep(held_for).await;
        assert!(lease.is_valid());
        let term = {
            let tenure = runtime("tenure", &consul).send(Campaign::on(key("t"))).await.unwrap();
            tokio::time::sleep(held_for).await;
            tenure.elected().await
        };
        tokio::time::sleep(held_for).await;
        assert!(term.is_valid());
        let observer = runtime("observer", &consul).send(Observe(key("k"))).await.unwrap();
        let waiting = runtime("reply", &consul).send(Acquire::new(key("k")));
        tokio::time::sleep(held_for).await;
        assert_eq!(observer.leader().unwrap().session_name.as_deref(), Some("lease"));
        assert_eq!(consul.sessions().len(), 4);

        drop(lease);
        let lease = waiting.await.unwrap();
        tokio::time::sleep(held_for).await;
        assert!(lease.is_valid());
        assert_eq!(observer.leader().unwrap().session_name.as_deref(), Some("reply"));
        assert_eq!(consul.sessions().len(), 3);

        let observed = observer.clone();
        drop((lease, term, observer));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(consul.sessions().len(), 1);
        drop(observed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((consul.entries(), consul.sessions()), (vec![], vec![]));
    })
    .await;
}

#[actix::test]
async fn a_set_a_permit_and_a_turn_keep_the_runtime() {
    in_a_task(async {
        let held_for = Duration::from_secs(60);
        let consul = Embedded::new();
        let nothing_is_left = async |what: &str| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(consul.sessions(), [], "{what}");
            assert!(consul.entries().iter().all(|entry| entry.session.is_none()), "{what}");
        };
        let both = AcquireAll::new([key("a"), key("b")]);
        let set = runtime("set", &consul).send(both).await.unwrap();
        tokio::time::sleep(held_for).await;
        assert!(set.is_valid());
        drop(set);
        nothing_is_left("set").await;

        let permit =
            runtime("permit", &consul).send(AcquirePermit::new(key("s"), 2)).await.unwrap();
        tokio::time::sleep(held_for).await;
        assert!(permit.is_valid());
        drop(permit);
        nothing_is_left("permit").await;

        let taken = Rc::new(RefCell::new(None));
        {
            let dsync = runtime("turn", &consul);
            // The job does not resign from a campaign that it did not begin.
            let _tenure = dsync.send(Campaign::on(key("t"))).await.unwrap();
            let begun = taken.clone();
            let job = actix_rt::spawn(dsync.every(key("t"), Duration::from_secs(1), move |turn| {
                *begun.borrow_mut() = Some(turn);
                pending()
            }));
            tokio::time::sleep(Duration::from_secs(5)).await;
            job.abort();
        }
        let turn = taken.take().expect("it has begun");
        tokio::time::sleep(held_for).await;
        assert!(turn.term().is_valid());
        drop(turn);
        nothing_is_left("turn").await;
    })
    .await;
}
