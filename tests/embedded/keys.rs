//! The entries that the runtime writes.

use std::time::Duration;

use actix_dsync::{
    Acquire, Dsync, Error, Explain, Inspect, Key, LockValue, LossReason, Release, Released,
    TryAcquire, UpdateValue,
    admin::Holders,
    config::{HASHICORP_LOCK_FLAGS, Retention},
    embedded::Embedded,
    fencing::{ReadEntry, Write},
    report::KeyState,
};

use crate::{acquire, key, runtime};

#[actix::test]
async fn every_entry_has_the_prefix_and_no_reported_key_does() {
    tokio::time::pause();
    let consul = Embedded::new();
    let builder = || Dsync::builder("one").embedded(&consul).on_current_arbiter();
    let dsync = builder().prefix("app/locks").start().unwrap();
    let lease = acquire(&dsync, "a").await;
    assert_eq!(lease.key().as_str(), "a");
    let entries = consul.entries();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].key.as_str(), entries[0].flags), ("app/locks/a", HASHICORP_LOCK_FLAGS));
    // Another prefix is another lock.
    let other = builder().prefix("app").start().unwrap();
    assert!(acquire(&other, "a").await.is_valid());
    assert!(other.send(TryAcquire::new(key("locks/a"))).await.is_err());
    assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
}

#[actix::test]
async fn keep_leaves_key_and_value_until_the_next_owner_writes_its_own() {
    tokio::time::pause();
    let consul = Embedded::new();
    let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
    let dsync = builder.retention(Retention::Keep).start().unwrap();
    let mut last = None;
    for round in 0..5 {
        let value = format!("round {round}");
        let asked = Acquire::new(key("k")).value(LockValue::Bytes(value.clone().into_bytes()));
        let lease = dsync.send(asked).await.unwrap();
        assert!(Some(lease.token()) > last);
        last = Some(lease.token());
        let holder = dsync.send(Inspect(key("k"))).await.unwrap().expect("held");
        assert_eq!(&*holder.value, value.as_bytes());
        assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
        let entries = consul.entries();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].session.as_ref(), &entries[0].value[..]), (None, value.as_bytes()));
        assert_eq!(entries[0].flags, HASHICORP_LOCK_FLAGS);
        assert_eq!(dsync.send(Inspect(key("k"))).await, Ok(None));
    }
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(consul.entries().len(), 1);
}

#[actix::test]
async fn a_key_that_consul_does_not_release_is_freed_once_nothing_else_is_held() {
    tokio::time::pause();
    let consul = Embedded::new();
    let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
    let dsync = builder.retention(Retention::Keep).start().unwrap();
    let (lease, other) = (acquire(&dsync, "k").await, acquire(&dsync, "other").await);
    // More than fits a transaction, so that the release fails.
    consul.write_key("k", vec![b'x'; 450_000]);
    let mut released = dsync.send(Release(lease));
    let lease = dsync.timing().lease();
    assert!(tokio::time::timeout(2 * lease, &mut released).await.is_err());
    assert!(other.is_valid(), "it does not cost other keys");
    let report = dsync.send(Explain(key("k"))).await.unwrap();
    assert_eq!(report.state, KeyState::Releasing);
    assert!(report.last_error.unwrap().starts_with("release failed: "));

    drop(other);
    let reply = tokio::time::timeout(Duration::from_secs(2), released).await.unwrap();
    assert_eq!(reply, Ok(Released::AlreadyLost(LossReason::SessionGone)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let entries = consul.entries();
    let entry = entries.iter().find(|entry| entry.key == "k").unwrap();
    assert_eq!((entry.session.as_ref(), entry.value.len()), (None, 450_000));
    // It continues with another session.
    assert!(acquire(&dsync, "other").await.is_valid());
}

#[actix::test]
async fn keep_leaves_a_value_that_somebody_wrote_over_ours() {
    tokio::time::pause();
    for watched in [false, true] {
        let consul = Embedded::new();
        let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
        let dsync = builder.retention(Retention::Keep).start().unwrap();
        let lease = acquire(&dsync, "k").await;
        if watched {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        consul.write_key("k", "a note");
        if watched {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(lease.is_valid());
        assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
        let entries = consul.entries();
        assert_eq!(entries[0].value, b"a note");
        assert_eq!(entries[0].session, None);
        // The key is a lock of ours again.
        assert_eq!(entries[0].flags, HASHICORP_LOCK_FLAGS);
        assert!(acquire(&dsync, "k").await.is_valid());
    }
}

#[actix::test]
async fn a_thousand_keys_one_after_another_leave_nothing() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    for number in 0..1_000 {
        let lease = acquire(&dsync, &format!("order/{number}")).await;
        assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
    }
    assert_eq!(consul.entries(), []);
    assert_eq!(consul.sessions().len(), 1);
}

/// A name that Consul 1.21.5 refuses in a path, and takes in a transaction.
const REFUSED: &str = "orders/2024%2F17";

#[actix::test]
async fn a_name_that_newer_consul_refuses_in_a_path_is_read_by_transaction() {
    tokio::time::pause();
    let consul = Embedded::new().strict_names(true);
    let one = runtime("one", &consul);
    let lease = acquire(&one, REFUSED).await;
    let two = runtime("two", &consul);
    let held = two.send(TryAcquire::new(key(REFUSED))).await.map(drop).unwrap_err();
    assert!(matches!(&held, Error::Held { key, .. } if key.as_str() == REFUSED), "{held:?}");
    let holder = two.send(Inspect(key(REFUSED))).await.unwrap().unwrap();
    assert_eq!(holder.session_name.as_deref(), Some("one"));
    let holders = two.send(Holders::below("orders/2024%")).await.unwrap();
    let [held] = &holders[..] else { panic!("{holders:?}") };
    assert_eq!((&*held.key, held.holder.session_name.as_deref()), (REFUSED, Some("one")));

    let data = key("orders/2024%2F17 data");
    assert_eq!(two.send(ReadEntry(data.clone())).await, Ok(None));
    one.send(Write::under(&lease).put(data.clone(), "1")).await.unwrap();
    one.send(UpdateValue::of(&lease, "half")).await.unwrap();
    let entry = two.send(ReadEntry(data)).await.unwrap().unwrap();
    assert_eq!((&*entry.value, entry.token), (&b"1"[..], Some(lease.token())));

    // Two processes wait, and learn of each release within the interval of the reads.
    let three = runtime("three", &consul);
    let waits = |dsync: &Dsync| {
        let asked = Acquire::new(key(REFUSED)).within(Duration::from_secs(90));
        Box::pin(dsync.send(asked))
    };
    let early = futures::future::select(waits(&two), waits(&three));
    let limit = Duration::from_secs(40);
    let Err(_) = tokio::time::timeout(limit, early).await else { panic!("it is held") };
    let (waiting, also) = (waits(&two), waits(&three));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(lease.is_valid());
    assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed));
    let released = tokio::time::Instant::now();
    let (lease, other) = futures::future::select(waiting, also).await.factor_first();
    assert!(released.elapsed() < Duration::from_secs(3), "{:?}", released.elapsed());
    drop(lease.unwrap());
    let released = tokio::time::Instant::now();
    assert!(other.await.unwrap().is_valid());
    assert!(released.elapsed() < Duration::from_secs(3), "{:?}", released.elapsed());
}

#[actix::test]
async fn a_holder_of_a_refused_name_learns_that_its_key_was_deleted() {
    tokio::time::pause();
    let consul = Embedded::new().strict_names(true);
    let dsync = runtime("one", &consul);
    let (lease, other) = (acquire(&dsync, REFUSED).await, acquire(&dsync, "other").await);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(lease.is_valid());
    assert!(consul.delete_key(REFUSED));
    let lost = tokio::time::timeout(Duration::from_secs(3), lease.lost()).await;
    assert_eq!(lost, Ok(LossReason::KeyDeleted));
    assert!(other.is_valid(), "it is not taken for another store");
    assert!(acquire(&dsync, REFUSED).await.is_valid());
}

#[actix::test]
async fn joined_keys_pass_between_processes_where_names_are_checked() {
    tokio::time::pause();
    let consul = Embedded::new().strict_names(true);
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    for segment in ["2024/17", " a..b ", "100%", "q?x&y=z#", "größe", ".."] {
        let key = Key::join(["orders", segment]).unwrap();
        let lease = one.send(Acquire::new(key.clone())).await.unwrap();
        let waiting = two.send(Acquire::new(key.clone()).within(Duration::from_secs(60)));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed), "{key}");
        let lease = waiting.await.unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(two.send(Release(lease)).await, Ok(Released::Confirmed), "{key}");
    }
}

#[actix::test]
async fn a_fresh_process_that_meets_an_edited_lock_says_what_to_do() {
    tokio::time::pause();
    let consul = Embedded::new();
    let link = consul.link();
    let holder = runtime("holder", &link);
    let lease = acquire(&holder, "k").await;
    consul.write_key("k", "a note of an operator");
    link.cut();
    lease.lost().await;
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(consul.entries().iter().all(|entry| entry.session.is_none()));

    let fresh = runtime("fresh", &consul);
    let error = fresh.send(Acquire::new(key("k"))).await.map(drop).unwrap_err();
    assert_eq!(error, Error::FlagConflict { key: key("k"), found: 0 });
    assert!(error.to_string().contains("delete the key"), "{error}");
    let report = fresh.send(Explain(key("k"))).await.unwrap();
    assert!(report.last_error.is_some_and(|why| why.contains("delete the key")));
    assert!(consul.delete_key("k"));
    assert!(acquire(&fresh, "k").await.is_valid());
}

#[actix::test]
async fn readers_that_are_not_polled_any_more_delay_no_other() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    dsync.ready().await.unwrap();
    let mut readers: Vec<_> = (0..200).map(|_| dsync.send(Inspect(key("k")))).collect();
    for reader in &mut readers {
        assert!(futures::poll!(reader).is_pending());
    }
    let minute = Duration::from_secs(60);
    let read = tokio::time::timeout(minute, dsync.send(ReadEntry(key("k")))).await;
    assert_eq!(read.expect("it has its turn"), Ok(None));
    let checked = tokio::time::timeout(minute, dsync.preflight()).await;
    assert!(checked.expect("it has its turn").unwrap().passed);
    for reader in readers {
        assert_eq!(reader.await, Ok(None));
    }
}

/// The entry of a session's fence.
fn fence(session: &str) -> String {
    format!(".dsync/{session}")
}

/// Crashes a process, and waits until its session has ended, and then for this time. Returns
/// whether the entry of its fence is still there.
async fn fence_stays_after_a_crash(seed: u64, wait: Duration) -> bool {
    let consul = Embedded::new().seed(seed);
    let link = consul.link();
    let (crashes, other) = (runtime("crashes", &link), runtime("other", &consul));
    for dsync in [&crashes, &other] {
        dsync.ready().await.unwrap();
    }
    let [dead, alive] = [&crashes, &other].map(|dsync| dsync.health().session.unwrap().id);
    consul.write_key(".dsync/every/job", "a record");
    link.cut();
    crashes.shutdown(Duration::from_millis(1)).await.unwrap_err();
    while consul.sessions().iter().any(|session| session.id == dead) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(wait).await;
    let lease = acquire(&other, "k").await;
    assert!(lease.is_valid());
    assert!(consul.entries().iter().any(|entry| entry.key == ".dsync/every/job"));
    assert_eq!(other.health().session.unwrap().id, alive);
    assert!(consul.delete_key(&fence(&alive)), "its session is alive");
    consul.delete_key(&fence(&dead))
}

#[actix::test]
async fn the_fence_of_a_crashed_process_is_deleted_by_another_within_the_next_search() {
    tokio::time::pause();
    // The first search is at a random moment within ten minutes, the next one an hour later.
    let next_search = Duration::from_secs(600 + 3_600);
    for seed in 0..8 {
        assert!(fence_stays_after_a_crash(seed, Duration::ZERO).await, "{seed}: nothing was left");
        assert!(!fence_stays_after_a_crash(seed, next_search).await, "{seed}: it is still there");
    }
}
