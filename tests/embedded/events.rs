//! Events, and their order.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::prelude::*;
use actix_dsync::{
    Dsync, Error, LossReason, Release, TryAcquire,
    embedded::Embedded,
    events::{Filter, LockAcquired, LockLost, LockReleased, Subscribe, Unsubscribe},
};
use futures::{FutureExt, StreamExt};

use crate::{acquire, key, runtime, steps};

/// Records every event that it receives.
struct Listener {
    told: Rc<RefCell<Vec<String>>>,
    stopped: Rc<RefCell<bool>>,
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // The smallest mailbox: events are delivered even when it is full.
        ctx.set_mailbox_capacity(1);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        *self.stopped.borrow_mut() = true;
    }
}

macro_rules! listen {
    ($event:ty, $word:literal) => {
        impl Handler<$event> for Listener {
            type Result = ();

            fn handle(&mut self, event: $event, _: &mut Context<Self>) {
                self.told.borrow_mut().push(format!("{} {}", $word, event.key));
            }
        }
    };
}

listen!(LockAcquired, "acquired");
listen!(LockLost, "lost");
listen!(LockReleased, "released");

type Told = Rc<RefCell<Vec<String>>>;

fn listener() -> (Addr<Listener>, Told, Rc<RefCell<bool>>) {
    let (told, stopped) = (Told::default(), Rc::new(RefCell::new(false)));
    let actor = Listener { told: told.clone(), stopped: stopped.clone() };
    (actor.start(), told, stopped)
}

async fn subscribe_to_all(dsync: &Dsync, actor: &Addr<Listener>) {
    dsync.send(Subscribe::<LockAcquired>::to(actor.clone().recipient())).await.unwrap();
    dsync.send(Subscribe::<LockLost>::to(actor.clone().recipient())).await.unwrap();
    dsync.send(Subscribe::<LockReleased>::to(actor.clone().recipient())).await.unwrap();
}

#[actix::test]
async fn each_ownership_is_reported_once_at_its_start_and_once_at_its_end() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (actor, told, _) = listener();
    subscribe_to_all(&dsync, &actor).await;
    let mut expected = Vec::new();
    for round in 0..30 {
        let lease = acquire(&dsync, "k").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        expected.push("acquired k");
        match round % 3 {
            0 => {
                let _ = dsync.send(Release(lease)).await.unwrap();
                expected.push("released k");
            }
            1 => {
                drop(lease);
                expected.push("released k");
            }
            _ => {
                consul.delete_key("k");
                lease.lost().await;
                expected.push("lost k");
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(*told.borrow(), expected);
}

#[actix::test]
async fn hand_overs_between_callers_of_one_process_are_one_ownership() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (actor, told, _) = listener();
    subscribe_to_all(&dsync, &actor).await;
    let waiting: Vec<_> = (0..5).map(|_| dsync.send(actix_dsync::Acquire::new(key("k")))).collect();
    for reply in waiting {
        drop(reply.await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*told.borrow(), ["acquired k", "released k"]);
}

#[actix::test]
async fn a_new_subscriber_first_receives_the_current_ownerships() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (a, _b) = (acquire(&dsync, "a").await, acquire(&dsync, "b").await);
    drop(acquire(&dsync, "gone").await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (actor, told, _) = listener();
    subscribe_to_all(&dsync, &actor).await;
    let mut only = dsync.events::<LockAcquired>(key("b"));
    steps(20).await;
    told.borrow_mut().sort();
    assert_eq!(*told.borrow(), ["acquired a", "acquired b"]);
    assert_eq!(only.next().now_or_never().flatten().unwrap().key, key("b"));
    assert!(only.next().now_or_never().is_none());
    drop(a);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(told.borrow()[2..], ["released a"]);
}

#[actix::test]
async fn a_filter_admits_one_key_and_an_ended_subscription_receives_nothing() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (actor, told, _) = listener();
    let to_b = Subscribe::<LockAcquired>::to(actor.clone().recipient()).key(key("b"));
    let id = dsync.send(to_b).await.unwrap();
    drop((acquire(&dsync, "a").await, acquire(&dsync, "b").await));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*told.borrow(), ["acquired b"]);
    dsync.send(Unsubscribe(id)).await.unwrap();
    dsync.send(Unsubscribe(id)).await.unwrap();
    drop(acquire(&dsync, "b").await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*told.borrow(), ["acquired b"]);
}

#[actix::test]
async fn a_subscription_keeps_no_actor_alive_and_a_dead_subscriber_affects_no_other() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (dead, _, stopped) = listener();
    let (alive, told, _) = listener();
    subscribe_to_all(&dsync, &dead).await;
    subscribe_to_all(&dsync, &alive).await;
    drop(dsync.events::<LockAcquired>(Filter::All));
    drop(dead);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(*stopped.borrow(), "kept alive by its subscription");
    drop(acquire(&dsync, "k").await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*told.borrow(), ["acquired k", "released k"]);
}

#[actix::test]
async fn a_stream_loses_no_event_and_ends_with_the_runtime() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let events = dsync.events::<LockReleased>(Filter::All);
    for number in 0..100 {
        drop(acquire(&dsync, &number.to_string()).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    drop(dsync);
    let ended = tokio::time::timeout(Duration::from_secs(60), events.collect::<Vec<_>>()).await;
    assert_eq!(ended.expect("the stream ends").len(), 100);
}

/// Checks its lease when it receives the loss.
struct Watcher {
    lease: actix_dsync::Lease,
    seen: Rc<RefCell<Vec<(bool, LossReason)>>>,
}

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<LockLost> for Watcher {
    type Result = ();

    fn handle(&mut self, event: LockLost, _: &mut Context<Self>) {
        assert_eq!(event.token, self.lease.token());
        self.seen.borrow_mut().push((self.lease.is_valid(), event.reason));
    }
}

#[actix::test]
async fn every_way_to_lose_a_lock_is_reported_once_with_its_reason_after_the_lease_has_ended() {
    type Fault = fn(&Embedded, &str);
    let faults: [(Fault, LossReason); 6] = [
        (|consul, session| assert!(consul.destroy_session(session)), LossReason::SessionGone),
        (|consul, _| consul.leave(), LossReason::SessionGone),
        (|consul, _| assert!(consul.delete_key("k")), LossReason::KeyDeleted),
        (|consul, _| assert!(consul.force_release("k")), LossReason::ForceReleased),
        (|consul, _| consul.restart_empty(), LossReason::StoreReplaced),
        (
            |consul, session| {
                // A snapshot from before the lock, which starts a new history.
                let held = consul.snapshot();
                assert!(consul.destroy_session(session));
                consul.restore(&held, true);
                consul.restart_empty();
            },
            LossReason::StoreReplaced,
        ),
    ];
    tokio::time::pause();
    // At once, around the start of the watch, and long after it.
    for after in [0, 1, 500, 999, 1_000, 1_001, 5_000, 31_000, 600_000] {
        for (place, (fault, reason)) in faults.iter().enumerate() {
            let consul = Embedded::new();
            // Raise our index above the first index of an empty store.
            for number in 0..30 {
                consul.write_key("filler", number.to_string());
            }
            consul.delete_key("filler");
            let (dsync, other) = (runtime("one", &consul), runtime("other", &consul));
            other.ready().await.unwrap();
            let lease = acquire(&dsync, "k").await;
            let seen = Rc::new(RefCell::new(Vec::new()));
            let actor = Watcher { lease, seen: seen.clone() }.start();
            let to = actor.clone().recipient();
            dsync.send(Subscribe::<LockLost>::to(to)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(after)).await;
            let session = consul.entries()[0].session.clone().expect("held");
            fault(&consul, &session);
            tokio::time::sleep(Duration::from_secs(20)).await;
            let what = format!("fault {place} after {after} ms");
            let seen = seen.take();
            assert_eq!(seen.len(), 1, "{what}: {seen:?}");
            let (valid, told) = seen[0];
            assert!(!valid, "{what}: told before the lease ended");
            // A restarted agent may report the missing session before any key is read.
            let also = place >= 4 && told == LossReason::SessionGone;
            assert!(told == *reason || also, "{what}: {told:?}");
            let again = acquire(&other, "k").await;
            assert!(again.is_valid(), "{what}");
        }
    }
}

#[actix::test]
async fn a_stopped_runtime_accepts_no_subscription() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    let (actor, ..) = listener();
    let refused = dsync.send(Subscribe::<LockLost>::to(actor.recipient())).await;
    assert_eq!(refused, Err(Error::Stopped));
    assert_eq!(dsync.send(TryAcquire::new(key("k"))).await.unwrap_err(), Error::Stopped);
}
