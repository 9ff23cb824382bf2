//! Several keys at once.

use std::{collections::HashSet, rc::Rc, time::Duration};

use actix_dsync::{
    Acquire, AcquireAll, Dsync, Error, LeaseSet, LossReason, Observe, Release, ReleaseAll,
    Released, TryAcquire,
    config::Limits,
    embedded::Embedded,
    events::{Filter, LockLost},
    report::KeyState,
};
use futures::{FutureExt, StreamExt};

use crate::{acquire, cancel::dropped_requests_leave_nothing, in_a_task, key, runtime};

const SECOND: Duration = Duration::from_secs(1);

fn all(names: &[&str]) -> AcquireAll {
    AcquireAll::new(names.iter().map(|name| key(name))).within(120 * SECOND)
}

fn sendable<T: Send>(future: T) -> T {
    future
}

async fn acquire_all(dsync: &Dsync, names: &[&str]) -> LeaseSet {
    dsync.send(all(names)).await.unwrap()
}

/// The locked keys, according to the store.
fn held(consul: &Embedded) -> Vec<String> {
    let held = consul.entries().into_iter().filter(|entry| entry.session.is_some());
    held.map(|entry| entry.key).filter(|key| !key.starts_with(".dsync/")).collect()
}

#[actix::test]
async fn all_keys_are_locked_by_one_write_and_each_has_its_token() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let set = acquire_all(&dsync, &["c", "a", "b", "a"]).await;
    assert_eq!(set.keys().map(|key| key.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(held(&consul), ["a", "b", "c"]);
    let indexes: HashSet<u64> = set.tokens().map(|(_, token)| token.as_u64() >> 16).collect();
    assert_eq!(indexes.len(), 1, "{set:?}");
    assert!(set.token(&key("b")).is_some() && set.token(&key("d")).is_none());
    assert!(set.is_valid() && set.remaining() > SECOND);
    let run = set.run(async { Rc::new(7) });
    assert_eq!(sendable(run).await, Ok(Rc::new(7)), "only the future must be `Send`");
    assert_eq!(dsync.send(ReleaseAll(set)).await, Ok(Released::Confirmed));
    assert_eq!(consul.entries(), []);

    let again = acquire_all(&dsync, &["b"]).await;
    drop(again);
    tokio::time::sleep(SECOND).await;
    assert_eq!(consul.entries(), []);
}

#[actix::test]
async fn a_set_that_is_turned_away_leaves_no_place_behind() {
    tokio::time::pause();
    let consul = Embedded::new();
    let limits = Limits::default().with_waiters_per_key(1);
    let dsync = Dsync::builder("one")
        .embedded(&consul)
        .on_current_arbiter()
        .limits(limits)
        .start()
        .unwrap();
    let taken = acquire(&dsync, "b").await;
    let waits = dsync.send(Acquire::new(key("b")));
    let refused = dsync.send(all(&["a", "b", "c"])).await;
    assert!(matches!(&refused, Err(Error::TooManyWaiters { key, .. }) if key.as_str() == "b"));
    let known: Vec<_> = dsync.list().keys.into_iter().map(|report| report.key).collect();
    assert_eq!(known, [key("b")]);
    // The key of a set that was turned away is granted like any other.
    drop(acquire(&dsync, "a").await);
    drop(taken);
    drop(waits.await.unwrap());
    drop(acquire_all(&dsync, &["a", "b", "c"]).await);
}

#[actix::test]
async fn a_waiting_set_holds_none_of_its_keys_neither_here_nor_in_consul() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, other) = (runtime("one", &consul), runtime("other", &consul));
    for holder in [&one, &other] {
        let taken = acquire(holder, "b").await;
        let mut waiting = one.send(all(&["a", "b", "c"])).boxed();
        // Not while it holds its place against later callers of this process.
        for millis in [1_u64, 100, 4_000, 60_000] {
            assert!((&mut waiting).now_or_never().is_none());
            tokio::time::sleep(Duration::from_millis(millis)).await;
            assert_eq!(held(&consul), ["b"]);
            assert_eq!(one.explain(&key("a")).state, KeyState::Gathering);
            for dsync in [&one, &other] {
                let lease = dsync.send(TryAcquire::new(key("a"))).await.unwrap();
                assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
            }
        }
        let _ = holder.send(Release(taken)).await.unwrap();
        let set = waiting.await.unwrap();
        assert_eq!(held(&consul), ["a", "b", "c"]);
        let _ = one.send(ReleaseAll(set)).await.unwrap();
    }
}

#[actix::test]
async fn a_holder_of_one_key_gets_another_past_a_set_that_waits_for_both() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let first = acquire(&dsync, "a").await;
    let waiting = dsync.send(all(&["a", "b"]));
    // Whenever it asks, even while the set holds its places.
    for millis in [1_000, 2_500, 2_000, 4_000] {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let asked = tokio::time::Instant::now();
        let second = acquire(&dsync, "b").await;
        assert!(asked.elapsed() <= SECOND + Duration::from_millis(300), "{:?}", asked.elapsed());
        let _ = dsync.send(Release(second)).await.unwrap();
    }
    drop(first);
    assert!(waiting.await.unwrap().is_valid());
}

#[actix::test]
async fn callers_that_keep_asking_for_single_keys_do_not_starve_a_set() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    for name in ["a", "b", "c"] {
        for _ in 0..3 {
            let dsync = dsync.clone();
            actix_rt::spawn(async move {
                loop {
                    let lease = acquire(&dsync, name).await;
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    drop(lease);
                }
            });
        }
    }
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(777)).await;
        let asked = tokio::time::Instant::now();
        let set = acquire_all(&dsync, &["a", "b", "c"]).await;
        assert!(asked.elapsed() < 5 * SECOND, "{:?}", asked.elapsed());
        drop(set);
    }
}

#[actix::test]
async fn overlapping_sets_of_several_processes_all_progress() {
    tokio::time::pause();
    let consul = Embedded::new();
    let names = ["a", "b", "c", "d", "e"];
    let tasks: Vec<_> = (0..3_usize)
        .flat_map(|process| {
            let dsync = runtime("one", &consul);
            (0..4_usize).map(move |task| (dsync.clone(), 4 * process + task))
        })
        .map(|(dsync, number)| {
            actix_rt::spawn(async move {
                for round in 0..10 {
                    let wanted = (0..2 + number % 3).map(|n| names[(number + n * (1 + round)) % 5]);
                    let set = acquire_all(&dsync, &wanted.collect::<Vec<_>>()).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    assert!(set.is_valid());
                    drop(set);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(held(&consul), [""; 0]);
}

#[actix::test]
async fn a_set_is_lost_as_a_whole() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let mut lost = dsync.events::<LockLost>(Filter::All);
    let set = acquire_all(&dsync, &["a", "b", "c"]).await;
    // A held key is watched after a while.
    tokio::time::sleep(2 * SECOND).await;
    assert!(consul.delete_key("b"));
    let loss = tokio::time::timeout(SECOND, set.lost()).await.expect("it is lost");
    assert_eq!((loss.key, loss.reason), (key("b"), LossReason::KeyDeleted));
    assert!(!set.is_valid() && set.remaining().is_zero());
    assert_eq!(set.run(std::future::pending::<()>()).await.unwrap_err().key, key("b"));
    let told = lost.next().await.unwrap();
    assert_eq!((told.key, Some(told.token)), (key("b"), set.token(&key("b"))));
    assert_eq!(held(&consul), ["a", "c"]);
    let released = dsync.send(ReleaseAll(set)).await;
    assert_eq!(released, Ok(Released::AlreadyLost(LossReason::KeyDeleted)));
    assert_eq!(held(&consul), [""; 0]);
    assert!(lost.next().now_or_never().is_none(), "the other keys were released");

    let set = acquire_all(&dsync, &["a", "b", "c"]).await;
    let session = consul.entries().into_iter().find_map(|entry| entry.session);
    assert!(consul.destroy_session(&session.expect("held")));
    assert_eq!(set.lost().await.reason, LossReason::SessionGone);
    let lost: HashSet<_> = lost.take(3).map(|lost| lost.key.to_string()).collect().await;
    assert_eq!(lost, HashSet::from(["a", "b", "c"].map(String::from)));
}

#[actix::test]
async fn a_set_that_cannot_be_locked_at_once_is_refused_before_it_waits() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let names = |count: usize| (0..count).map(|n| key(&format!("k{n}")));
    for (asked, why) in [
        (AcquireAll::new([]), "empty"),
        (AcquireAll::new(names(32)), "at most 31"),
        (AcquireAll::new(names(31)).value(vec![b'v'; 14_000]), "512 KiB"),
    ] {
        match dsync.send(asked).await.unwrap_err() {
            Error::Invalid { field: "keys", why: told } => assert!(told.contains(why), "{told}"),
            other => panic!("{other}"),
        }
    }
    let most = dsync.send(AcquireAll::new(names(31)).value(vec![b'v'; 12_000])).await.unwrap();
    assert_eq!((most.keys().count(), held(&consul).len()), (31, 31));
}

#[actix::test]
async fn a_set_that_waits_too_long_names_a_key_that_is_held() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, other) = (runtime("one", &consul), runtime("other", &consul));
    let _taken = acquire(&other, "b").await;
    match one.send(AcquireAll::new(["a", "b"].map(key)).within(SECOND)).await.unwrap_err() {
        Error::WaitedTooLong { key: held, waited, holder } => {
            assert!(held == key("b") && waited >= SECOND, "{held}: {waited:?}");
            assert_eq!(holder.and_then(|it| it.session_name).as_deref(), Some("other"));
        }
        other => panic!("{other}"),
    }
    consul.write_key("c", "an operator's");
    let refused = one.send(all(&["a", "c"])).await.unwrap_err();
    assert_eq!(refused, Error::FlagConflict { key: key("c"), found: 0 });
    assert!(other.send(TryAcquire::new(key("a"))).await.is_ok());
}

#[actix::test]
async fn followers_of_a_key_see_its_holders_while_a_set_waits() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, other) = (runtime("one", &consul), runtime("other", &consul));
    let _taken = acquire(&other, "b").await;
    let _waiting = one.send(all(&["a", "b"]));
    let observer = one.send(Observe(key("a"))).await.unwrap();
    for _ in 0..3 {
        let lease = acquire(&other, "a").await;
        tokio::time::sleep(3 * SECOND).await;
        let seen = observer.leader().expect("somebody holds it");
        assert_eq!(seen.session_name.as_deref(), Some("other"));
        drop(lease);
        tokio::time::sleep(3 * SECOND).await;
        assert_eq!(observer.leader(), None);
    }
}

#[actix::test]
async fn a_waiting_set_outlives_its_session_and_an_outage() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (link, other) = (consul.link(), runtime("other", &consul));
    let one = runtime("one", &link);
    let taken = acquire(&other, "b").await;
    let waiting = one.send(all(&["a", "b", "c"]));
    tokio::time::sleep(SECOND).await;
    for session in consul.sessions().into_iter().filter(|session| session.name == "one") {
        assert!(consul.destroy_session(&session.id));
    }
    tokio::time::sleep(SECOND).await;
    link.cut();
    tokio::time::sleep(40 * SECOND).await;
    link.mend();
    drop(taken);
    let set = waiting.await.unwrap();
    assert!(set.is_valid());
    assert_eq!(held(&consul), ["a", "b", "c"]);
}

#[actix::test]
async fn a_request_for_several_keys_that_is_dropped_after_any_number_of_steps_leaves_nothing() {
    let request = || AcquireAll::new(["j", "k", "l"].map(key));
    in_a_task(dropped_requests_leave_nothing(request)).await;
}
