//! Actor failures: what is lost, what is reported, and what continues.

use std::time::Duration;

use futures::{FutureExt, StreamExt};

use super::crash::{Crash, crashes};
use crate::{
    Acquire, AcquireAll, Campaign, Dsync, Error, Key, Lease, LossReason, Observe, Release,
    Released, TryAcquire,
    embedded::Embedded,
    events::{Deposed, Elected, Events, Filter, LockLost},
};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// A runtime on an embedded Consul, with tokio's clock paused.
struct World {
    consul: Embedded,
    dsync: Dsync,
    lost: Events<LockLost>,
}

impl World {
    async fn new() -> Self {
        tokio::time::pause();
        let consul = Embedded::new();
        let dsync = runtime(&consul);
        dsync.ready().await.unwrap();
        let lost = dsync.events(Filter::All);
        Self { consul, dsync, lost }
    }

    async fn acquire(&self, name: &str) -> Lease {
        self.dsync.send(Acquire::new(key(name)).within(Duration::from_secs(120))).await.unwrap()
    }

    fn crash(&self, crash: Crash) {
        self.dsync.intake().supervisor.do_send(crash);
    }

    async fn next_loss(&mut self) -> LockLost {
        let next = tokio::time::timeout(Duration::from_secs(60), self.lost.next());
        next.await.expect("no loss is reported").expect("the stream goes on")
    }

    fn holders(&self) -> Vec<String> {
        let held = self.consul.entries().into_iter().filter(|entry| entry.session.is_some());
        // The session's fence entry is not a lock.
        held.map(|entry| entry.key).filter(|key| !key.starts_with(".dsync/")).collect()
    }
}

fn runtime(consul: &Embedded) -> Dsync {
    Dsync::builder("test").embedded(consul).on_current_arbiter().start().unwrap()
}

#[actix::test]
async fn a_runtime_that_died_is_not_live_and_one_whose_parts_failed_is() {
    let mut world = World::new().await;
    let lease = world.acquire("k").await;
    world.crash(Crash::Lock(key("k")));
    world.next_loss().await;
    world.crash(Crash::Session);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.dsync.health().live && world.dsync.health().ready);
    world.crash(Crash::Supervisor);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let health = world.dsync.health();
    assert!(!health.live && !health.ready, "{health:?}");
    assert_eq!(health.session, None);
    drop(lease);
}

#[actix::test]
async fn a_panic_in_one_lock_costs_that_keys_ownership_and_no_other() {
    let mut world = World::new().await;
    let (broken, whole) = (world.acquire("broken").await, world.acquire("whole").await);
    let waiting = world.dsync.send(Acquire::new(key("broken")));

    world.crash(Crash::Lock(key("broken")));
    let loss = world.next_loss().await;
    assert_eq!((loss.key, loss.token), (key("broken"), broken.token()));
    assert_eq!(loss.reason, LossReason::RuntimeFailed);
    assert!(!broken.is_valid() && whole.is_valid());
    assert_eq!(broken.lost().await, LossReason::RuntimeFailed);

    // A new actor releases the key and serves the remaining waiters.
    let next = waiting.await.unwrap();
    assert!(next.token() > broken.token());
    let released = world.dsync.send(Release(broken)).await.unwrap();
    assert_eq!(released, Released::AlreadyLost(LossReason::RuntimeFailed));
    drop((next, whole));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.holders().is_empty());
    assert!(world.lost.next().now_or_never().is_none(), "a loss was told twice");
}

#[actix::test]
async fn a_panic_in_the_sessions_actor_ends_all_ownership_and_begins_anew() {
    let mut world = World::new().await;
    let leases = [world.acquire("a").await, world.acquire("b").await];
    world.crash(Crash::Session);
    for _ in &leases {
        let loss = world.next_loss().await;
        assert_eq!(loss.reason, LossReason::RuntimeFailed);
        assert!(leases.iter().all(|lease| !lease.is_valid()));
    }
    // The old session is destroyed, and the keys are available after its lock-delay.
    let again = world.acquire("a").await;
    assert!(again.token() > leases[0].token());
    assert_eq!(world.consul.sessions().len(), 1);
    assert!(again.is_valid());
}

#[actix::test]
async fn a_session_that_the_sessions_actor_never_learned_of_is_destroyed_after_its_panic() {
    tokio::time::pause();
    let consul = Embedded::new();
    consul.lose_replies(1);
    let dsync = runtime(&consul);
    let minute = Duration::from_secs(60);
    let created = tokio::time::timeout(minute, async {
        while consul.sessions().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    created.await.expect("a session is created");
    // Its actor waits for the lost reply.
    let lost = consul.sessions()[0].id.clone();
    dsync.intake().supervisor.do_send(Crash::Session);
    dsync.ready().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let sessions = consul.sessions();
    assert_eq!(sessions.len(), 1);
    assert_ne!(sessions[0].id, lost);
}

#[actix::test]
async fn a_panic_in_the_watch_costs_nothing() {
    let mut world = World::new().await;
    let other = runtime(&world.consul);
    let theirs = other.send(Acquire::new(key("k"))).await.unwrap();
    let ours = world.acquire("held").await;
    let waiting = world.dsync.send(Acquire::new(key("k")));
    tokio::time::sleep(Duration::from_secs(3)).await;

    world.crash(Crash::Watch);
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(theirs);
    assert!(waiting.await.unwrap().is_valid());
    assert!(ours.is_valid());

    // The held key is also watched again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.consul.delete_key("held");
    assert_eq!(world.next_loss().await.reason, LossReason::KeyDeleted);
}

#[actix::test]
async fn a_panic_in_the_supervisor_stops_the_runtime_and_tells_everybody() {
    let mut world = World::new().await;
    let lease = world.acquire("k").await;
    let waiting = world.dsync.send(Acquire::new(key("k")));
    world.crash(Crash::Supervisor);

    let loss = world.next_loss().await;
    assert_eq!((loss.token, loss.reason), (lease.token(), LossReason::RuntimeFailed));
    assert!(!lease.is_valid());
    assert_eq!(waiting.await.unwrap_err(), Error::Stopped);
    let refused = world.dsync.send(TryAcquire::new(key("x"))).await;
    assert_eq!(refused.unwrap_err(), Error::Stopped);
    assert_eq!(world.dsync.ready().await, Err(Error::Stopped));
    // Nothing is released in good order.
    let ended = world.dsync.shutdown(Duration::from_secs(5)).await;
    assert!(matches!(ended, Err(Error::Unavailable { .. })), "{ended:?}");
    // Nothing renews the session, so it expires by its TTL.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.holders().is_empty());
}

#[actix::test]
async fn a_panic_in_the_supervisor_is_no_end_in_good_order() {
    for is_stopping in [false, true] {
        let world = World::new().await;
        let _lease = world.acquire("k").await;
        world.consul.cut();
        let mut stopped = Box::pin(world.dsync.shutdown(Duration::from_secs(60)));
        if is_stopping {
            assert!(futures::poll!(&mut stopped).is_pending());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        world.crash(Crash::Supervisor);
        for ended in [stopped.await, world.dsync.shutdown(Duration::from_secs(5)).await] {
            assert!(matches!(ended, Err(Error::Unavailable { .. })), "{ended:?}");
        }
        let handed_over = world.dsync.hand_over(Duration::from_secs(5)).await;
        assert_eq!(handed_over, Err(Error::Stopped));
        assert!(!world.dsync.health().live);
        // The next world pauses it.
        tokio::time::resume();
    }
}

#[actix::test]
async fn a_lock_that_panics_again_and_again_still_leaks_nothing() {
    let mut world = World::new().await;
    for _ in 0..20 {
        let lease = world.acquire("k").await;
        world.crash(Crash::Lock(key("k")));
        assert_eq!(world.next_loss().await.token, lease.token());
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.holders().is_empty());
}

#[actix::test]
async fn a_panic_in_an_actor_deposes_the_leader_once_and_the_campaign_goes_on() {
    let world = World::new().await;
    let mut elected = world.dsync.events::<Elected>(Filter::All);
    let mut deposed = world.dsync.events::<Deposed>(Filter::All);
    let tenure = world.dsync.send(Campaign::on(key("k"))).await.unwrap();
    let mut term = tenure.elected().await;
    for crash in [Crash::Lock(key("k")), Crash::Session, Crash::Lock(key("k"))] {
        assert_eq!(elected.next().await.unwrap().token, term.token());
        world.crash(crash.clone());
        let told = deposed.next().await.unwrap();
        assert!(!tenure.is_leader() && !term.is_valid());
        assert_eq!((told.token, told.reason), (term.token(), LossReason::RuntimeFailed));
        assert_eq!(term.lost().await, LossReason::RuntimeFailed);

        let again = tenure.elected().await;
        assert!(again.token() > term.token(), "{crash:?}");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(again.is_valid() && deposed.next().now_or_never().is_none());
        term = again;
    }
}

#[actix::test]
async fn a_panic_in_the_supervisor_ends_the_campaign_and_tells_it() {
    let world = World::new().await;
    let mut deposed = world.dsync.events::<Deposed>(Filter::All);
    let tenure = world.dsync.send(Campaign::on(key("k"))).await.unwrap();
    let term = tenure.elected().await;
    let job = actix_rt::spawn(world.dsync.while_leading(key("k"), |_| std::future::pending()));
    world.crash(Crash::Supervisor);
    assert_eq!(deposed.next().await.unwrap().reason, LossReason::RuntimeFailed);
    assert!(!tenure.is_leader() && !term.is_valid());
    tenure.ended().await;
    assert_eq!(job.await.unwrap(), Err(Error::Stopped));
    assert_eq!(world.dsync.send(Campaign::default()).await.unwrap_err(), Error::Stopped);
}

#[actix::test]
async fn an_observer_goes_on_after_panics_in_the_lock_and_the_watch() {
    let world = World::new().await;
    let other = runtime(&world.consul);
    let observer = world.dsync.send(Observe(key("k"))).await.unwrap();
    for crash in [Crash::Lock(key("k")), Crash::Watch] {
        let theirs = other.send(Acquire::new(key("k"))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(observer.leader().is_some(), "{crash:?}");
        world.crash(crash);
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(theirs);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(observer.leader(), None);
    }
}

#[actix::test]
async fn two_thousand_keys_are_waited_for_over_few_connections_and_each_is_noticed() {
    let world = World::new().await;
    let other = runtime(&world.consul);
    let name = |n: usize| key(&format!("jobs/{n:04}"));
    let theirs = futures::future::join_all((0..2_000).map(|n| other.send(Acquire::new(name(n)))));
    let mut theirs: Vec<Option<Lease>> =
        theirs.await.into_iter().map(|lease| Some(lease.unwrap())).collect();
    let mut waiting: Vec<_> = (0..2_000).map(|n| world.dsync.send(Acquire::new(name(n)))).collect();
    tokio::time::sleep(Duration::from_secs(40)).await;
    // Includes the blocking reads of the runtime that holds the keys.
    assert!(world.consul.waiting() <= 2 * 22, "{}", world.consul.waiting());

    for n in [1_999, 0, 7, 1_000, 345] {
        let released = tokio::time::Instant::now();
        let _ = other.send(Release(theirs[n].take().unwrap())).await.unwrap();
        let ours = (&mut waiting[n]).await.unwrap();
        assert!(released.elapsed() < Duration::from_secs(1), "{:?}", released.elapsed());
        assert!(ours.is_valid());
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    assert!(world.consul.waiting() <= 2 * 22, "{}", world.consul.waiting());
}

#[actix::test]
async fn of_two_thousand_held_keys_the_one_that_is_deleted_is_lost_and_no_other() {
    let mut world = World::new().await;
    let name = |n: usize| format!("held/{n:04}");
    let leases = (0..2_000).map(|n| world.dsync.send(Acquire::new(key(&name(n)))));
    let leases: Vec<_> =
        futures::future::join_all(leases).await.into_iter().map(Result::unwrap).collect();
    for n in [3, 1_500, 1_999] {
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(world.consul.waiting() <= 22, "{}", world.consul.waiting());
        let deleted = tokio::time::Instant::now();
        world.consul.delete_key(&name(n));
        let loss = world.next_loss().await;
        assert_eq!((loss.key, loss.reason), (key(&name(n)), LossReason::KeyDeleted));
        assert!(deleted.elapsed() < Duration::from_secs(2), "{:?}", deleted.elapsed());
    }
    assert_eq!(leases.iter().filter(|lease| lease.is_valid()).count(), 1_997);
}

#[actix::test]
async fn a_waiting_set_is_served_although_the_actor_of_one_of_its_keys_died() {
    let mut world = World::new().await;
    let second = Duration::from_secs(1);
    for dies in ["a", "b", "c"] {
        let held = world.acquire("b").await;
        let asked = AcquireAll::new(["a", "b", "c"].map(key)).within(60 * second);
        let waiting = world.dsync.send(asked);
        tokio::time::sleep(second).await;
        world.crash(Crash::Lock(key(dies)));
        tokio::time::sleep(second).await;
        drop(held);
        let set = waiting.await.unwrap();
        assert!(set.is_valid(), "{dies}");
        assert_eq!(world.holders(), ["a", "b", "c"], "{dies}");

        world.crash(Crash::Lock(key("c")));
        let lost = set.lost().await;
        assert_eq!((lost.key, lost.reason), (key("c"), LossReason::RuntimeFailed), "{dies}");
        assert!(!set.is_valid());
        drop(set);
        tokio::time::sleep(second).await;
        assert_eq!(world.holders(), [""; 0], "{dies}");
        // The holder of `b` lost it if its actor died.
        while world.lost.next().now_or_never().flatten().is_some() {}
    }
}

#[actix::test]
async fn an_actor_that_panics_again_and_again_is_restarted_once_at_once_and_then_after_pauses() {
    let world = World::new().await;
    let other = runtime(&world.consul);
    let theirs = other.send(Acquire::new(key("k"))).await.unwrap();
    let waiting = world.dsync.send(Acquire::new(key("k")));
    tokio::time::sleep(Duration::from_secs(2)).await;
    for crash in [Crash::Lock(key("k")), Crash::Session, Crash::Watch] {
        let (began, before) = (tokio::time::Instant::now(), crashes());
        let mut deaths = Vec::new();
        while began.elapsed() < Duration::from_secs(30) {
            world.crash(crash.clone());
            tokio::time::sleep(Duration::from_millis(1)).await;
            deaths.push(crashes() - before);
        }
        assert_eq!(deaths[10], 2, "{crash:?}");
        let all = crashes() - before;
        assert!((11..16).contains(&all), "{crash:?}: {all}");
    }
    // The last pause ends, and all goes on.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(theirs.is_valid());
    drop(theirs);
    let ours = waiting.await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(ours.is_valid());
    world.dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    assert!(world.holders().is_empty());
}
