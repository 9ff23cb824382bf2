//! Writes under a lock: the key's value, and entries that only the owner may write.

use std::time::Duration;

use actix_dsync::{
    Acquire, AcquireAll, Campaign, Dsync, Error, FencingToken, Key, Lease, LossReason, Observe,
    Release, Resign, TryAcquire, UpdateValue,
    config::Retention,
    embedded::Embedded,
    events::LockLost,
    fencing::{ReadEntry, StoredEntry, Write},
};
use futures::{FutureExt, StreamExt};

use crate::{acquire, in_a_task, key, runtime, steps};

const SECOND: Duration = Duration::from_secs(1);

fn value(consul: &Embedded, name: &str) -> Vec<u8> {
    consul.entries().into_iter().find(|entry| entry.key == name).expect("it exists").value
}

fn index(consul: &Embedded, name: &str) -> u64 {
    consul.entries().into_iter().find(|entry| entry.key == name).expect("it exists").modify_index
}

async fn read(dsync: &Dsync, name: &str) -> Option<StoredEntry> {
    dsync.send(ReadEntry(key(name))).await.unwrap()
}

/// Panics instead of waiting for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SECOND * 120, what).await.expect("it comes")
}

/// A Consul on a paused clock, and a runtime that holds `k`.
async fn holder() -> (Embedded, Dsync, Lease) {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let lease = acquire(&dsync, "k").await;
    (consul, dsync, lease)
}

#[actix::test]
async fn an_updated_value_is_seen_by_followers_and_the_lock_keeps_its_token() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let lease = acquire(&one, "k").await;
    let token = lease.token();
    let (here, there) = (one.send(Observe(key("k"))).await, two.send(Observe(key("k"))).await);
    let (here, there) = (here.unwrap(), there.unwrap());
    for observer in [&here, &there] {
        soon(observer.changed()).await;
    }
    let before = index(&consul, "k");
    for text in ["half", "three quarters", "three quarters", "done"] {
        one.send(UpdateValue::of(&lease, text)).await.unwrap();
        assert_eq!(value(&consul, "k"), text.as_bytes());
        let told = |observer: actix_dsync::Observer| async move {
            while &*observer.leader().unwrap().value != text.as_bytes() {
                soon(observer.changed()).await;
            }
        };
        told(here.clone()).await;
        told(there.clone()).await;
    }
    assert!(index(&consul, "k") > before);
    assert!(lease.is_valid() && lease.token() == token);
    let refused = two.send(TryAcquire::new(key("k"))).await;
    let Err(Error::Held { holder, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(&*holder.value, b"done");
    let _ = one.send(Release(lease)).await.unwrap();
    assert!(!consul.entries().iter().any(|entry| entry.key == "k"), "it was released and deleted");
}

#[actix::test]
async fn an_updated_value_outlives_a_lock_whose_key_is_kept() {
    tokio::time::pause();
    let consul = Embedded::new();
    let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
    let dsync = builder.retention(Retention::Keep).start().unwrap();
    let lease = acquire(&dsync, "k").await;
    dsync.send(UpdateValue::of(&lease, "seven")).await.unwrap();
    let _ = dsync.send(Release(lease)).await.unwrap();
    assert_eq!(value(&consul, "k"), b"seven");
}

#[actix::test]
async fn a_write_carries_its_token_and_ends_with_its_lease() {
    let (consul, dsync, lease) = holder().await;
    let token = lease.token();
    let data = || key("data/a");
    dsync.send(Write::under(&lease).put(data(), "1").put(key("b"), "2")).await.unwrap();
    let stored = read(&dsync, "data/a").await.unwrap();
    assert_eq!((&*stored.value, stored.token), (&b"1"[..], Some(token)));
    assert_eq!(read(&dsync, "k").await.unwrap().token, None, "these are a lock's flags");
    dsync.send(Write::under(&lease).delete(key("b"))).await.unwrap();
    assert_eq!(read(&dsync, "b").await, None);

    let kept = actix_dsync::Claim::from(&lease);
    let _ = dsync.send(Release(lease)).await.unwrap();
    let next = acquire(&dsync, "k").await;
    let late = dsync.send(Write::under(kept.clone()).put(data(), "late")).await;
    assert_eq!(late, Err(Error::NotHeld { key: key("k"), token }));
    let late = dsync.send(UpdateValue::of(kept, "late")).await;
    assert_eq!(late, Err(Error::NotHeld { key: key("k"), token }));
    dsync.send(Write::under(&next).put(data(), "3")).await.unwrap();
    let stored = read(&dsync, "data/a").await.unwrap();
    assert_eq!((&*stored.value, stored.token), (&b"3"[..], Some(next.token())));
    consul.write_key("data/a", "an operator's");
    assert_eq!(read(&dsync, "data/a").await.unwrap().token, None);
}

#[actix::test]
async fn an_entry_is_written_only_in_the_required_state() {
    let (_consul, dsync, lease) = holder().await;
    let put = |index, text: &str| Write::under(&lease).require(key("d"), index).put(key("d"), text);
    dsync.send(put(None, "1")).await.unwrap();
    let conflict = Err(Error::Conflict { key: key("d") });
    assert_eq!(dsync.send(put(None, "2")).await, conflict);
    let stored = read(&dsync, "d").await.unwrap();
    dsync.send(put(Some(stored.index), "2")).await.unwrap();
    assert_eq!(dsync.send(put(Some(stored.index), "3")).await, conflict);
    assert_eq!(&*read(&dsync, "d").await.unwrap().value, b"2");
    assert!(lease.is_valid());
}

#[actix::test]
async fn a_write_that_consul_would_refuse_is_not_sent() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (lease, _other) = (acquire(&dsync, "k").await, acquire(&dsync, "other").await);
    let many = (0..63).fold(Write::under(&lease), |write, n| write.put(key(&format!("d{n}")), ""));
    let long = vec![0; actix_dsync::LockValue::MAX_LEN];
    for write in [
        Write::under(&lease),
        many,
        Write::under(&lease).put(key("d"), long),
        Write::under(&lease).put(key("k"), ""),
        Write::under(&lease).delete(key("other")),
    ] {
        let refused = dsync.send(write).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "write", .. })), "{refused:?}");
    }
    let most = (0..62).fold(Write::under(&lease), |write, n| write.put(key(&format!("d{n}")), ""));
    dsync.send(most).await.unwrap();
}

#[actix::test]
async fn a_write_shows_that_the_lock_was_taken_away() {
    let (consul, dsync, lease) = holder().await;
    let mut lost = dsync.events::<LockLost>(key("k"));
    assert!(consul.force_release("k"));
    let late = dsync.send(Write::under(&lease).put(key("d"), "late")).await;
    assert!(matches!(late, Err(Error::NotHeld { .. })), "{late:?}");
    assert!(!lease.is_valid());
    let lost = soon(lost.next()).await.unwrap();
    assert_eq!(lost.reason, LossReason::ForceReleased);
    assert_eq!(read(&dsync, "d").await, None);
}

#[actix::test]
async fn a_write_goes_on_after_an_operator_has_written_over_the_lock() {
    let (consul, dsync, lease) = holder().await;
    consul.write_key("k", "an operator's");
    dsync.send(Write::under(&lease).put(key("d"), "1")).await.unwrap();
    consul.write_key("k", "again");
    dsync.send(UpdateValue::of(&lease, "ours")).await.unwrap();
    assert_eq!(value(&consul, "k"), b"ours");
    dsync.send(Write::under(&lease).put(key("d"), "2")).await.unwrap();
    assert_eq!(&*read(&dsync, "d").await.unwrap().value, b"2");
    assert!(lease.is_valid());
}

#[actix::test]
async fn an_unanswered_write_is_reported_as_unknown_and_never_as_done() {
    let (consul, dsync, lease) = holder().await;
    consul.cut();
    let asked = dsync.send(Write::under(&lease).put(key("d"), "1"));
    let queued = dsync.send(UpdateValue::of(&lease, "2"));
    let unknown = soon(asked).await;
    assert!(matches!(unknown, Err(Error::Unknown { .. })), "{unknown:?}");
    // Consul is unreachable until the deadline, after which nothing is sent.
    let reason = soon(lease.lost()).await;
    assert_eq!(reason, LossReason::DeadlinePassed);
    let late = soon(queued).await;
    assert!(matches!(late, Err(Error::Unknown { .. } | Error::NotHeld { .. })), "{late:?}");
    let late = dsync.send(UpdateValue::of(&lease, "3")).await;
    assert!(matches!(late, Err(Error::NotHeld { .. })), "{late:?}");
    consul.mend();
}

#[actix::test]
async fn a_leader_writes_under_its_term() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let tenure = one.send(Campaign::on(key("lead"))).await.unwrap();
    let term = soon(tenure.elected()).await;
    let observer = two.send(Observe(key("lead"))).await.unwrap();
    soon(observer.changed()).await;
    one.send(UpdateValue::of(&term, "http://new:8080")).await.unwrap();
    soon(observer.changed()).await;
    assert_eq!(&*observer.leader().unwrap().value, b"http://new:8080");
    one.send(Write::under(&term).put(key("d"), "1")).await.unwrap();
    assert_eq!(read(&two, "d").await.unwrap().token, Some(term.token()));
    one.send(Resign::of(&tenure)).await.unwrap();
    let late = one.send(Write::under(&term).put(key("d"), "late")).await;
    assert!(matches!(late, Err(Error::NotHeld { .. })), "{late:?}");
}

#[actix::test]
async fn observers_in_the_owner_s_process_see_a_value_that_somebody_else_wrote() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let lease = dsync.send(Acquire::new(key("k")).value("ours")).await.unwrap();
    let observer = dsync.send(Observe(key("k"))).await.unwrap();
    assert_eq!(&*observer.leader().unwrap().value, b"ours");
    consul.write_key("k", "a note");
    let is_seen = async {
        while *observer.leader().unwrap().value != *b"a note" {
            observer.changed().await;
        }
    };
    tokio::time::timeout(5 * SECOND, is_seen).await.unwrap();
    assert!(lease.is_valid());
}

#[actix::test]
async fn a_campaign_that_was_handed_the_key_gives_it_its_own_value() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let lease = one.send(Acquire::new(key("lead")).value("a caller's")).await.unwrap();
    let tenure = one.send(Campaign::on(key("lead")).value("the leader's")).await.unwrap();
    let observer = two.send(Observe(key("lead"))).await.unwrap();
    soon(observer.changed()).await;
    assert_eq!(&*observer.leader().unwrap().value, b"a caller's");
    drop(lease);
    let term = soon(tenure.elected()).await;
    assert!(term.token().as_u64() & 0xFFFF > 0, "it was handed over");
    soon(observer.changed()).await;
    assert_eq!(&*observer.leader().unwrap().value, b"the leader's");
    assert_eq!(&*tenure.leader().unwrap().value, b"the leader's");
    assert!(term.is_valid());
}

#[actix::test]
async fn a_campaign_gives_the_key_its_own_value_although_it_was_locked_for_a_caller_that_left() {
    in_a_task(async {
        let mut overtook = 0;
        for count in 0..24 {
            let consul = Embedded::new();
            let dsync = runtime("one", &consul);
            dsync.ready().await.unwrap();
            let leaves = dsync.send(Acquire::new(key("lead")).value("a caller's"));
            steps(count).await;
            let campaign = dsync.send(Campaign::on(key("lead")).value("the leader's"));
            drop(leaves);
            let tenure = campaign.await.unwrap();
            let term = soon(tenure.elected()).await;
            overtook += usize::from(value(&consul, "lead") == b"a caller's");
            tokio::time::sleep(SECOND).await;
            assert_eq!(value(&consul, "lead"), b"the leader's", "after {count} steps");
            assert_eq!(&*tenure.leader().unwrap().value, b"the leader's");
            assert!(term.is_valid());
        }
        assert!(overtook > 0, "no campaign got a key that was locked for another caller");
    })
    .await;
}

#[actix::test]
async fn a_campaign_writes_its_own_value_as_soon_as_consul_answers_again() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let lease = dsync.send(Acquire::new(key("lead")).value("a caller's")).await.unwrap();
    let tenure = dsync.send(Campaign::on(key("lead")).value("the leader's")).await.unwrap();
    consul.cut();
    drop(lease);
    soon(tenure.elected()).await;
    tokio::time::sleep(SECOND * 4).await;
    assert_eq!(value(&consul, "lead"), b"a caller's");
    consul.mend();
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(value(&consul, "lead"), b"the leader's");
}

/// The tokens of the owners after a first one that wrote, or did not.
async fn next_token(writes: bool) -> (FencingToken, FencingToken) {
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let lease = acquire(&dsync, "k").await;
    let first = lease.token();
    let next = dsync.send(Acquire::new(key("k")));
    if writes {
        dsync.send(Write::under(&lease).put(key("d"), "1")).await.unwrap();
    }
    drop(lease);
    (first, next.await.unwrap().token())
}

#[actix::test]
async fn an_ownership_that_was_written_under_is_not_handed_over_within_the_process() {
    tokio::time::pause();
    let index = |token: FencingToken| token.as_u64() >> 16;
    let (first, next) = next_token(false).await;
    assert_eq!(index(first), index(next));
    let (first, next) = next_token(true).await;
    assert!(index(first) < index(next), "{first} {next}");
}

#[actix::test]
async fn a_write_is_answered_whenever_its_lease_is_dropped() {
    in_a_task(async {
        for count in 0..40 {
            let consul = Embedded::new();
            let dsync = runtime("one", &consul);
            let lease = acquire(&dsync, "k").await;
            let asked = dsync.send(Write::under(&lease).put(key("d"), "1"));
            let queued = dsync.send(UpdateValue::of(&lease, "2"));
            steps(count).await;
            drop(lease);
            let (first, second) = (soon(asked).await, soon(queued).await);
            let written = read(&dsync, "d").await.is_some();
            match first {
                Ok(()) => assert!(written),
                Err(Error::NotHeld { .. }) => assert!(!written),
                other => panic!("{other:?}"),
            }
            assert!(matches!(second, Ok(()) | Err(Error::NotHeld { .. })), "{second:?}");
            let next: Key = key("k");
            assert!(soon(dsync.send(Acquire::new(next))).await.unwrap().is_valid());
        }
    })
    .await;
}

#[actix::test]
async fn writes_are_answered_when_the_runtime_ends() {
    let (consul, dsync, lease) = holder().await;
    consul.cut();
    let asked = dsync.send(Write::under(&lease).put(key("d"), "1"));
    let queued = dsync.send(UpdateValue::of(&lease, "2"));
    let _ = dsync.shutdown(SECOND).await;
    for answer in [soon(asked).await, soon(queued).await] {
        assert!(answer.is_err(), "{answer:?}");
    }
    let late = dsync.send(Write::under(&lease).put(key("d"), "1")).now_or_never();
    assert!(matches!(late, Some(Err(_))), "{late:?}");
}

/// A set of `a`, `b` and `c`.
async fn set(dsync: &Dsync) -> actix_dsync::LeaseSet {
    dsync.send(AcquireAll::new(["a", "b", "c"].map(key))).await.unwrap()
}

#[actix::test]
async fn a_write_under_a_set_relies_on_every_key_of_it() {
    tokio::time::pause();
    for lost in ["a", "b", "c"] {
        let consul = Embedded::new();
        let link = consul.link();
        let (one, two) = (runtime("one", &link), runtime("two", &consul));
        let leases = set(&one).await;
        one.send(Write::under_all(&leases).put(key("data/x"), "1")).await.unwrap();
        let entry = read(&one, "data/x").await.unwrap();
        assert_eq!((&*entry.value, entry.token), (&b"1"[..], leases.token(&key("a"))));
        // The loss is not noticed yet; the other keys are still held.
        consul.delete_key(lost);
        let next = acquire(&two, lost).await;
        assert!(leases.is_valid());
        let refused = one.send(Write::under_all(&leases).put(key("data/x"), "2")).await;
        let Err(Error::NotHeld { key: of, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(of, key(lost));
        assert_eq!(&*read(&one, "data/x").await.unwrap().value, b"1");
        drop(next);
    }
}

#[actix::test]
async fn a_late_write_under_a_set_does_not_take_effect_after_any_of_its_keys_has_a_later_owner() {
    in_a_task(async {
        for name in ["a", "b", "c"] {
            for count in 0..30 {
                let consul = Embedded::new();
                let one = runtime("one", &consul);
                let leases = set(&one).await;
                let last = leases.token(&key(name)).unwrap();
                let waiting = one.send(Acquire::new(key(name)));
                let late = one.send(Write::under_all(&leases).put(key("data/x"), "late"));
                steps(count).await;
                drop(leases);
                let later = soon(waiting).await.unwrap();
                let found = read(&one, "data/x").await;
                assert!(later.token() > last);
                let answer = soon(late).await;
                let after = read(&one, "data/x").await;
                assert_eq!(found, after, "{name} after {count} steps: {answer:?}");
                drop(later);
                one.shutdown(SECOND * 5).await.unwrap();
            }
        }
    })
    .await;
}

#[actix::test]
async fn a_write_under_a_set_has_room_for_the_checks_of_its_keys() {
    tokio::time::pause();
    let consul = Embedded::new();
    // The era is in the token, and not in the index that the write checks.
    let builder = Dsync::builder("one").embedded(&consul).era(3);
    let one = builder.on_current_arbiter().start().unwrap();
    let keys = (0..AcquireAll::MOST_KEYS).map(|n| key(&format!("k{n}")));
    let leases = one.send(AcquireAll::new(keys)).await.unwrap();
    let puts = |count: usize| {
        let put = |write: Write, n: usize| write.put(key(&format!("data/{n}")), "x");
        (0..count).fold(Write::under_all(&leases), put)
    };
    let most = 62 - (AcquireAll::MOST_KEYS - 1);
    one.send(puts(most)).await.unwrap();
    let refused = one.send(puts(most + 1)).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "write", .. })), "{refused:?}");
    drop(leases);
    tokio::time::sleep(SECOND).await;
}
