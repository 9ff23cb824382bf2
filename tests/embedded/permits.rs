//! Permits of semaphores.

use std::{collections::HashSet, time::Duration};

use actix_dsync::{
    Acquire, AcquireAll, AcquirePermit, Dsync, Error, Lease, LockValue, LossReason, Release,
    Released, TryAcquire, TryAcquirePermit, UpdateValue,
    embedded::Embedded,
    events::{Filter, LockLost},
};
use futures::{FutureExt, StreamExt};

use crate::{key, runtime};

const SECOND: Duration = Duration::from_secs(1);
/// HashiCorp's flag of semaphores.
const FLAGS: u64 = 0xe0f6_9a2b_aa41_4de0;

async fn permit(dsync: &Dsync, limit: u32) -> Lease {
    let asked = AcquirePermit::new(key("jobs"), limit).within(120 * SECOND);
    dsync.send(asked).await.unwrap()
}

async fn try_permit(dsync: &Dsync, limit: u32) -> Result<Lease, Error> {
    dsync.send(TryAcquirePermit::new(key("jobs"), limit)).await
}

/// The semaphore's keys in the store, without the runtimes' own entries.
fn keys(consul: &Embedded) -> Vec<String> {
    let keys = consul.entries().into_iter().map(|entry| entry.key);
    keys.filter(|key| !key.starts_with(".dsync/")).collect()
}

/// The semaphore's entry as JSON.
fn body(consul: &Embedded) -> serde_json::Value {
    let entry = consul.entries().into_iter().find(|entry| entry.key == "jobs/.lock").unwrap();
    serde_json::from_slice(&entry.value).unwrap()
}

fn runtimes(consul: &Embedded, count: usize) -> Vec<Dsync> {
    (0..count).map(|_| runtime("worker", consul)).collect()
}

#[actix::test]
async fn as_many_processes_as_the_limit_have_a_permit_and_the_next_waits_for_one() {
    tokio::time::pause();
    let consul = Embedded::new();
    let all = runtimes(&consul, 3);
    let (first, second) = (permit(&all[0], 2).await, permit(&all[1], 2).await);
    assert!(first.is_valid() && second.is_valid() && first.token() < second.token());
    assert_eq!(first.key(), &key("jobs/.lock"));
    let full = Error::NoPermit { key: key("jobs/.lock"), limit: 2, waited: None };
    assert_eq!(try_permit(&all[2], 2).await.unwrap_err(), full);
    assert!(full.to_string().contains("jobs/.lock (limit 2)"), "{full}");

    let within = AcquirePermit::new(key("jobs"), 2).within(5 * SECOND);
    let late = all[2].send(within).await.unwrap_err();
    assert!(matches!(late, Error::NoPermit { limit: 2, waited: Some(_), .. }), "{late}");

    let mut waiting = all[2].send(AcquirePermit::new(key("jobs"), 2)).boxed();
    assert!((&mut waiting).now_or_never().is_none());
    tokio::time::sleep(60 * SECOND).await;
    assert!((&mut waiting).now_or_never().is_none(), "both holders live");
    let asked = tokio::time::Instant::now();
    assert_eq!(all[0].send(Release(first)).await, Ok(Released::Confirmed));
    let third = waiting.await.unwrap();
    assert!(asked.elapsed() < SECOND, "{:?}", asked.elapsed());
    assert!(third.token() > second.token());
    drop((second, third));
    tokio::time::sleep(SECOND).await;
    assert_eq!(keys(&consul), [""; 0]);
}

#[actix::test]
async fn the_entries_have_hashicorps_layout() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("worker", &consul);
    let asked = AcquirePermit::new(key("jobs"), 3).value("hello");
    let lease = dsync.send(asked).await.unwrap();
    let session = consul.sessions().remove(0).id;
    assert_eq!(
        String::from_utf8(consul.entries()[0].value.clone()).unwrap(),
        format!(r#"{{"Limit":3,"Holders":{{"{session}":true}}}}"#)
    );
    let found = consul.entries();
    let found: Vec<_> = found.iter().map(|it| (&*it.key, it.flags, it.session.clone())).collect();
    let own = format!("jobs/{session}");
    assert_eq!(found, [("jobs/.lock", FLAGS, None), (&own, FLAGS, Some(session))]);
    assert_eq!(consul.entries()[1].value, b"hello");
    let _ = dsync.send(Release(lease)).await.unwrap();
    assert_eq!(consul.entries(), []);
}

#[actix::test]
async fn callers_of_one_process_have_the_permit_one_after_the_other_each_with_a_new_token() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (dsync, other) = (runtime("worker", &consul), runtime("worker", &consul));
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let first = permit(&dsync, 2).await;
        let waiting = dsync.send(AcquirePermit::new(key("jobs"), 2));
        assert!(matches!(try_permit(&dsync, 2).await, Err(Error::NoPermit { .. })));
        let between = permit(&other, 2).await;
        tokens.extend([first.token(), between.token()]);
        drop((first, between));
        tokens.push(waiting.await.unwrap().token());
    }
    assert!(tokens.is_sorted() && tokens.iter().collect::<HashSet<_>>().len() == 9, "{tokens:?}");
    assert!(tokens.iter().all(|token| token.as_u64() & 0xFFFF == 0), "none was handed over");
}

#[actix::test]
async fn a_permit_of_a_dead_process_passes_on_after_its_lock_delay_and_not_before() {
    tokio::time::pause();
    let consul = Embedded::new();
    let network = consul.link();
    let (holder, other) = (runtime("worker", &network), runtime("worker", &consul));
    let first = permit(&holder, 1).await;
    let mut lost = holder.events::<LockLost>(Filter::All);
    let mut waiting = other.send(AcquirePermit::new(key("jobs"), 1)).boxed();
    tokio::time::timeout(5 * SECOND, &mut waiting).await.unwrap_err();
    // Cut off, it does not learn that its session has ended.
    network.cut();
    assert!(consul.destroy_session(&first_holder(&consul)));
    let destroyed = tokio::time::Instant::now();
    let second = waiting.await.unwrap();
    let waited = destroyed.elapsed();
    assert!(waited >= 15 * SECOND && waited < 20 * SECOND, "{waited:?}");
    assert!(second.is_valid() && !first.is_valid());
    assert!(second.token() > first.token());
    let event = lost.next().await.unwrap();
    assert_eq!((event.key, event.token), (key("jobs/.lock"), first.token()));
    assert_eq!(event.reason, LossReason::DeadlinePassed);
}

fn first_holder(consul: &Embedded) -> String {
    let body = body(consul);
    body["Holders"].as_object().unwrap().keys().next().unwrap().clone()
}

#[actix::test]
async fn a_permit_of_a_dead_process_passes_on_although_its_name_is_refused_in_a_path() {
    tokio::time::pause();
    let consul = Embedded::new().strict_names(true);
    let link = consul.link();
    let name = || key("jobs:eu%2F1");
    let (one, two) = (runtime("one", &link), runtime("two", &consul));
    let lease = one.send(AcquirePermit::new(name(), 1)).await.unwrap();
    link.cut();
    let next = two.send(AcquirePermit::new(name(), 1).within(180 * SECOND)).await.unwrap();
    assert!(!lease.is_valid() && next.is_valid());
}

#[actix::test]
async fn a_dead_process_of_unknown_lock_delay_is_waited_for_a_minute() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dead = r#"{"Limit":1,"Holders":{"11111111-1111-1111-1111-111111111111":true}}"#;
    let dsync = runtime("worker", &consul);
    seed(&consul, dead);
    let asked = tokio::time::Instant::now();
    let lease = permit(&dsync, 1).await;
    let waited = asked.elapsed();
    assert!(waited >= 60 * SECOND && waited < 75 * SECOND, "{waited:?}");
    drop(lease);
}

/// Overwrites the semaphore's entry with this value, and the right flags.
fn seed(consul: &Embedded, value: &str) {
    consul.write_key_with_flags("jobs/.lock", value, FLAGS);
}

#[actix::test]
async fn callers_that_do_not_wait_get_a_dead_process_s_permit_in_the_end() {
    tokio::time::pause();
    let consul = Embedded::new();
    let network = consul.link();
    let (holder, other) = (runtime("worker", &network), runtime("worker", &consul));
    let first = permit(&holder, 1).await;
    assert!(try_permit(&other, 1).await.is_err());
    network.cut();
    assert!(consul.destroy_session(&first_holder(&consul)));
    let asked = tokio::time::Instant::now();
    let lease = loop {
        match try_permit(&other, 1).await {
            Ok(lease) => break lease,
            Err(error) => assert!(matches!(error, Error::NoPermit { .. }), "{error}"),
        }
        assert!(asked.elapsed() < 150 * SECOND, "the permit is lost for ever");
        tokio::time::sleep(10 * SECOND).await;
    };
    assert!(asked.elapsed() >= 15 * SECOND && !first.is_valid() && lease.is_valid());
}

#[actix::test]
async fn a_process_that_lost_its_session_takes_its_own_permit_back_at_once() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("worker", &consul);
    let first = permit(&dsync, 1).await;
    assert!(consul.destroy_session(&first_holder(&consul)));
    first.lost().await;
    let asked = tokio::time::Instant::now();
    let second = permit(&dsync, 1).await;
    assert!(asked.elapsed() < 10 * SECOND, "{:?}", asked.elapsed());
    assert!(second.is_valid() && second.token() > first.token());
}

#[actix::test]
async fn another_limit_is_refused_with_both_limits() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, other) = (runtime("worker", &consul), runtime("worker", &consul));
    let lease = permit(&one, 2).await;
    let conflict = Error::LimitConflict { key: key("jobs/.lock"), asked: 3, found: 2 };
    for dsync in [&one, &other] {
        assert_eq!(try_permit(dsync, 3).await.unwrap_err(), conflict);
        let waits = dsync.send(AcquirePermit::new(key("jobs"), 3)).await;
        assert_eq!(waits.unwrap_err(), conflict);
    }
    let _ = one.send(Release(lease)).await.unwrap();
    // Nobody holds a permit any more.
    let lease = permit(&one, 3).await;
    assert_eq!(body(&consul)["Limit"], 3);
    drop(lease);
    for limit in [0, AcquirePermit::MOST_PERMITS + 1] {
        let invalid = try_permit(&one, limit).await.unwrap_err();
        assert!(matches!(invalid, Error::Invalid { field: "limit", .. }), "{invalid}");
    }
}

#[actix::test]
async fn a_request_for_another_limit_finds_no_permit_that_an_earlier_request_left() {
    crate::in_a_task(async {
        let mut granted = 0;
        for (steps, lost) in (0..40).flat_map(|steps| [(steps, 0), (steps, 1), (steps, 2)]) {
            let what = format!("{lost} replies lost, {steps} steps");
            let consul = Embedded::new();
            let dsync = runtime("worker", &consul);
            dsync.ready().await.unwrap();
            consul.lose_replies(lost);
            let earlier = dsync.send(AcquirePermit::new(key("jobs"), 3));
            crate::steps(steps).await;
            drop(earlier);
            let asked = AcquirePermit::new(key("jobs"), 5).within(20 * SECOND);
            match dsync.send(asked).await {
                Ok(lease) => {
                    granted += 1;
                    assert_eq!(body(&consul)["Limit"], 5, "{what}");
                    tokio::time::sleep(5 * SECOND).await;
                    assert!(lease.is_valid(), "{what}");
                }
                Err(error) => {
                    let conflict =
                        Error::LimitConflict { key: key("jobs/.lock"), asked: 5, found: 3 };
                    assert_eq!(error, conflict, "{what}");
                }
            }
            tokio::time::sleep(6 * SECOND).await;
            assert_eq!(keys(&consul), [""; 0], "{what}");
        }
        assert!(granted > 0, "no request for another limit was granted");
    })
    .await;
}

#[actix::test]
async fn a_permit_is_kept_and_given_back_although_somebody_wrote_another_limit_or_flags() {
    tokio::time::pause();
    for (limit, flags) in [(7, FLAGS), (2, 0), (7, 0)] {
        let consul = Embedded::new();
        let (one, other) = (runtime("worker", &consul), runtime("worker", &consul));
        let lease = permit(&one, 2).await;
        tokio::time::sleep(2 * SECOND).await;
        let mut edited = body(&consul);
        edited["Limit"] = limit.into();
        consul.write_key_with_flags("jobs/.lock", edited.to_string(), flags);
        tokio::time::sleep(5 * SECOND).await;
        assert!(lease.is_valid(), "{limit}, {flags}");
        let refused = try_permit(&other, 2).await.unwrap_err();
        assert!(
            matches!(refused, Error::LimitConflict { .. } | Error::FlagConflict { .. }),
            "{refused}"
        );
        assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed));
        tokio::time::sleep(SECOND).await;
        assert_eq!(keys(&consul), [""; 0], "{limit}, {flags}");
    }
}

#[actix::test]
async fn an_entry_that_is_no_semaphore_is_refused_and_left_unchanged() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("worker", &consul);
    for value in ["nonsense", "{}", r#"{"Limit":1,"Holders":{"a/b":true}}"#, r#"{"Limit":"1"}"#] {
        seed(&consul, value);
        let refused = dsync.send(AcquirePermit::new(key("jobs"), 1)).await.unwrap_err();
        assert!(matches!(refused, Error::NoSemaphore { .. }), "{value}: {refused}");
        let found = consul.entries().into_iter().find(|it| it.key == "jobs/.lock").unwrap();
        assert_eq!(found.value, value.as_bytes());
    }
    for value in [r#"{"Limit":0}"#, r#"{"Limit":18446744073709551615}"#] {
        seed(&consul, value);
        let refused = dsync.send(AcquirePermit::new(key("jobs"), 1)).await.unwrap_err();
        assert!(matches!(refused, Error::LimitConflict { asked: 1, .. }), "{value}: {refused}");
    }
    consul.write_key("jobs/.lock", "an operator's note");
    let refused = dsync.send(AcquirePermit::new(key("jobs"), 1)).await.unwrap_err();
    assert_eq!(refused, Error::FlagConflict { key: key("jobs/.lock"), found: 0 });
}

#[actix::test]
async fn a_lock_and_a_semaphore_of_one_key_refuse_each_other() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, other) = (runtime("worker", &consul), runtime("worker", &consul));
    let lease = permit(&one, 2).await;
    for dsync in [&one, &other] {
        let refused = dsync.send(TryAcquire::new(key("jobs/.lock"))).await.unwrap_err();
        assert_eq!(refused, Error::FlagConflict { key: key("jobs/.lock"), found: FLAGS });
    }
    let set = one.send(AcquireAll::new([key("a"), key("jobs/.lock")])).await.unwrap_err();
    assert_eq!(set, Error::FlagConflict { key: key("jobs/.lock"), found: FLAGS });
    let written = one.send(UpdateValue::of(&lease, "x")).await.unwrap_err();
    assert!(matches!(written, Error::Invalid { field: "lease", .. }), "{written}");
    drop(lease);
    tokio::time::sleep(SECOND).await;
    let lock = one.send(Acquire::new(key("jobs/.lock"))).await.unwrap();
    for dsync in [&one, &other] {
        let refused = try_permit(dsync, 2).await.unwrap_err();
        assert!(matches!(refused, Error::FlagConflict { .. }), "{refused}");
    }
    drop(lock);
}

#[actix::test]
async fn a_permit_that_an_operator_removed_is_lost() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("worker", &consul);
    let lease = permit(&dsync, 2).await;
    tokio::time::sleep(2 * SECOND).await;
    seed(&consul, r#"{"Limit":2,"Holders":{}}"#);
    assert_eq!(lease.lost().await, LossReason::ForceReleased);
    assert!(!lease.is_valid());
    drop(lease);
    // Our own entry is deleted with the next permit.
    drop(permit(&dsync, 2).await);
    tokio::time::sleep(SECOND).await;
    assert_eq!(keys(&consul), [""; 0]);
}

#[actix::test]
async fn a_shutdown_gives_the_permit_back_and_does_not_wait_for_the_dead() {
    tokio::time::pause();
    let consul = Embedded::new();
    let all = runtimes(&consul, 3);
    let first = permit(&all[0], 2).await;
    let _second = permit(&all[1], 2).await;
    assert!(consul.destroy_session(&first_holder(&consul)) && !first.key().as_str().is_empty());
    assert!(try_permit(&all[2], 2).await.is_err());
    let asked = tokio::time::Instant::now();
    for dsync in &all {
        dsync.shutdown(5 * SECOND).await.unwrap();
    }
    assert!(asked.elapsed() < 5 * SECOND);
    assert_eq!(consul.sessions().len(), 0);
}

#[actix::test]
async fn requests_that_are_dropped_at_any_moment_leave_nothing() {
    crate::in_a_task(async {
        for steps in 0..60 {
            let consul = Embedded::new();
            let dsync = runtime("worker", &consul);
            dsync.ready().await.unwrap();
            let request = dsync.send(AcquirePermit::new(key("jobs"), 2));
            crate::steps(steps).await;
            drop(request);
            tokio::time::sleep(6 * SECOND).await;
            assert_eq!(keys(&consul), [""; 0], "dropped after {steps} steps");
        }
    })
    .await;
}

#[actix::test]
async fn the_values_of_all_permits_together_fit_in_a_listing() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("worker", &consul);
    for (limit, longest) in [(AcquirePermit::MOST_PERMITS, 508), (10, 209_711)] {
        let asked = |length| {
            TryAcquirePermit::new(key("jobs"), limit).value(LockValue::Bytes(vec![b'x'; length]))
        };
        let refused = dsync.send(asked(longest + 1)).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid { field: "value", .. }), "{refused}");
        assert!(
            refused.to_string().contains(&format!("below this prefix may have {longest}")),
            "{refused}"
        );
        let waiting = AcquirePermit::new(key("jobs"), limit);
        let waiting = waiting.value(LockValue::Bytes(vec![b'x'; longest + 1]));
        assert_eq!(dsync.send(waiting).await.unwrap_err(), refused);
        let permit = dsync.send(asked(longest)).await.unwrap();
        assert_eq!(dsync.send(Release(permit)).await, Ok(Released::Confirmed));
    }
}

#[actix::test]
async fn an_operator_sees_that_the_holders_cannot_be_listed() {
    // Only a client over HTTP limits the length of answers, and a socket needs the real clock.
    let consul = Embedded::new();
    let server = consul.serve("127.0.0.1:0").unwrap();
    let start = || Dsync::builder("worker").address(server.url()).start().unwrap();
    let (one, other) = (start(), start());
    let held = permit(&one, 1).await;
    // By clients that do not bound them.
    for entry in 0..10 {
        consul.write_key(&format!("jobs/{entry}"), vec![b'x'; 360 * 1024]);
    }
    let waiting = actix_rt::spawn(other.send(AcquirePermit::new(key("jobs"), 1)));
    let told = || {
        let incidents = other.list().incidents.into_iter();
        incidents.filter(|it| it.what.contains("holders cannot be listed")).collect::<Vec<_>>()
    };
    let until = std::time::Instant::now() + 30 * SECOND;
    while told().is_empty() && std::time::Instant::now() < until {
        tokio::time::sleep(SECOND / 20).await;
    }
    let told = told();
    assert!(told.len() == 1 && told[0].key == Some(key("jobs/.lock")), "{told:?}");
    assert!(told[0].what.contains("too long"), "{told:?}");
    drop((held, waiting));
}
