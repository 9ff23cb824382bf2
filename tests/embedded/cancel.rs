//! Callers that go away after every possible number of steps of the runtime.
//!
//! On the paused clock, only timers take time, so a step is one turn of the executor. Sweeping the number
//! of steps covers every await point between a request and its end.

use std::time::Duration;

use actix_dsync::{
    Acquire, Dsync, Lease, Release, Released, Request, TryAcquire, embedded::Embedded,
};
use futures::FutureExt;

use crate::{acquire, in_a_task, key, runtime, steps};

pub(crate) const STEPS: usize = 24;

/// Asserts that this process neither holds nor wants `k`: another session locks it at once, no entry is
/// left, and nobody writes.
pub(crate) async fn is_clean(consul: &Embedded, other: &Dsync, what: &str) {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let lease = other.send(TryAcquire::new(key("k"))).await;
    let lease = lease.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(other.send(Release(lease)).await, Ok(Released::Confirmed), "{what}");
    assert_eq!(consul.entries(), [], "{what}");
    let before = writes(consul);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(writes(consul), before + 2, "{what}: somebody still writes");
    assert_eq!(consul.entries(), [], "{what}");
}

/// The number of writes so far, without this function's two.
fn writes(consul: &Embedded) -> u64 {
    consul.write_key("probe", "");
    let entries = consul.entries();
    let probe = entries.iter().find(|entry| entry.key == "probe").expect("just written");
    consul.delete_key("probe");
    probe.modify_index
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    /// The caller has no session yet.
    Cold,
    Free,
    /// Another process holds the key until the caller is gone.
    Held,
    /// Another process releases the key at the moment of the request.
    Freed,
    /// The holder's session has ended: the lock-delay is running.
    Delayed,
}

pub(crate) async fn leaves_nothing(phase: Phase, count: usize, cancel: impl AsyncFnOnce(&Dsync)) {
    let what = format!("{phase:?} after {count}");
    let consul = Embedded::new().seed(count as u64);
    let (other, helper) = (runtime("other", &consul), runtime("helper", &consul));
    other.ready().await.unwrap();
    let caller = runtime("caller", &consul);
    if !matches!(phase, Phase::Cold) {
        caller.ready().await.unwrap();
    }
    let mut held: Option<Lease> = None;
    match phase {
        Phase::Cold | Phase::Free => {}
        Phase::Held => held = Some(acquire(&other, "k").await),
        Phase::Freed => drop(acquire(&other, "k").await),
        Phase::Delayed => {
            let _lease = acquire(&helper, "k").await;
            let entries = consul.entries();
            assert!(consul.destroy_session(entries[0].session.as_ref().expect("held")));
        }
    }
    cancel(&caller).await;
    if let Some(lease) = held {
        assert!(lease.is_valid(), "{what}");
        // By now, an attempt in flight has ended.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = writes(&consul);
        assert_eq!(other.send(Release(lease)).await, Ok(Released::Confirmed));
        // A caller that still contended would lock the key now, even if only to release it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(writes(&consul), before + 3, "{what}: somebody still contends");
    }
    if matches!(phase, Phase::Delayed) {
        // The entry of a lost lock stays until its key is next used.
        tokio::time::sleep(Duration::from_secs(16)).await;
    }
    is_clean(&consul, &other, &what).await;
    for dsync in [caller, other, helper] {
        dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    }
    assert_eq!(consul.sessions(), []);
}

pub(crate) const PHASES: [Phase; 5] =
    [Phase::Cold, Phase::Free, Phase::Held, Phase::Freed, Phase::Delayed];

/// Drops a request for `k` after every number of steps.
pub(crate) async fn dropped_requests_leave_nothing<M: Request>(request: impl Fn() -> M) {
    for phase in PHASES {
        let mut granted = 0;
        for count in 0..=STEPS {
            leaves_nothing(phase, count, async |caller| {
                let mut asked = caller.send(request());
                steps(count).await;
                // Polling does not change the drop that follows; it shows that the sweep reaches grants.
                granted += usize::from((&mut asked).now_or_never().is_some());
                drop(asked);
            })
            .await;
        }
        let held = matches!(phase, Phase::Held | Phase::Delayed);
        assert!(held == (granted == 0) && granted < STEPS, "{phase:?}: {granted} granted");
    }
}

#[actix::test]
async fn a_caller_that_goes_away_after_any_number_of_steps_leaves_nothing() {
    in_a_task(dropped_requests_leave_nothing(|| Acquire::new(key("k")))).await;
}

#[actix::test]
async fn a_try_that_is_dropped_after_any_number_of_steps_leaves_nothing() {
    in_a_task(async {
        for phase in PHASES {
            for count in 0..=STEPS {
                leaves_nothing(phase, count, async |caller| {
                    let asked = caller.send(TryAcquire::new(key("k")));
                    steps(count).await;
                    drop(asked);
                })
                .await;
            }
        }
    })
    .await;
}

#[actix::test]
async fn a_caller_that_times_out_at_any_moment_leaves_nothing() {
    in_a_task(async {
        for phase in PHASES {
            for count in 0..=STEPS {
                // Zero, some milliseconds, and longer than a lock-delay.
                let within = Duration::from_millis((count * count * 10) as u64);
                leaves_nothing(phase, count, async |caller| {
                    let answer = caller.send(Acquire::new(key("k")).within(within)).await;
                    let granted = answer.is_ok();
                    drop(answer);
                    assert!(!granted || !matches!(phase, Phase::Held), "it was held");
                })
                .await;
            }
        }
    })
    .await;
}

#[actix::test]
async fn a_lease_or_release_that_is_dropped_after_any_number_of_steps_leaves_nothing() {
    in_a_task(async {
        for count in 0..=STEPS {
            leaves_nothing(Phase::Free, count, async |caller| {
                let lease = acquire(caller, "k").await;
                steps(count).await;
                drop(lease);
            })
            .await;
            leaves_nothing(Phase::Free, count, async |caller| {
                let lease = acquire(caller, "k").await;
                let released = caller.send(Release(lease));
                steps(count).await;
                drop(released);
            })
            .await;
            // Request it again while the release is in flight.
            leaves_nothing(Phase::Free, count, async |caller| {
                let lease = acquire(caller, "k").await;
                let first = lease.token();
                let released = caller.send(Release(lease));
                steps(count).await;
                let lease = acquire(caller, "k").await;
                assert!(lease.token() > first && lease.is_valid());
                drop(released);
            })
            .await;
        }
    })
    .await;
}

#[actix::test]
async fn a_grant_whose_caller_has_gone_passes_to_the_next_in_the_queue() {
    in_a_task(async {
        for count in 0..=STEPS {
            let consul = Embedded::new();
            let dsync = runtime("one", &consul);
            let first = dsync.send(Acquire::new(key("k")));
            let second = dsync.send(Acquire::new(key("k")));
            steps(count).await;
            drop(first);
            let lease = second.await.unwrap();
            assert!(lease.is_valid(), "{count}");
            drop(lease);
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(consul.entries(), [], "{count}");
            dsync.shutdown(Duration::from_secs(5)).await.unwrap();
        }
    })
    .await;
}

#[actix::test]
async fn a_waiter_that_goes_away_as_the_key_becomes_free_leaves_nothing() {
    in_a_task(async {
        let mut granted = [0, 0];
        for count in 0..=STEPS {
            for (place, delayed) in [false, true].into_iter().enumerate() {
                let consul = Embedded::new();
                let (caller, other) = (runtime("caller", &consul), runtime("other", &consul));
                let lease = acquire(&other, "k").await;
                let mut asked = caller.send(Acquire::new(key("k")));
                tokio::time::sleep(Duration::from_secs(1)).await;
                if delayed {
                    let session = consul.entries()[0].session.clone().expect("held");
                    assert!(consul.destroy_session(&session));
                    // The first try that can succeed happens at this moment.
                    tokio::time::sleep(Duration::from_secs(15)).await;
                } else {
                    drop(other.send(Release(lease)));
                }
                steps(count).await;
                granted[place] += usize::from((&mut asked).now_or_never().is_some());
                drop(asked);
                is_clean(&consul, &other, &format!("{count} steps, delayed: {delayed}")).await;
            }
        }
        for granted in granted {
            assert!(granted > 0 && granted < STEPS, "{granted} granted");
        }
    })
    .await;
}
