//! Faults in Consul after every possible number of steps of the runtime.

use std::time::Duration;

use actix_dsync::{
    Acquire, Dsync, Lease, Release, TryAcquire,
    embedded::Embedded,
    events::{Filter, LockAcquired, LockLost, LockReleased},
};
use futures::{FutureExt, StreamExt};

use crate::{acquire, in_a_task, key, runtime, steps};

const STEPS: usize = 24;

type Fault = fn(&Embedded);

/// The session of the runtime under test.
fn session(consul: &Embedded) -> Option<String> {
    let sessions = consul.sessions();
    sessions.into_iter().find(|session| session.name.starts_with("one#")).map(|session| session.id)
}

const FAULTS: [(&str, Fault); 8] = [
    ("nothing", |_| {}),
    ("the session is destroyed", |consul| {
        if let Some(session) = session(consul) {
            consul.destroy_session(&session);
        }
    }),
    ("the key is deleted", |consul| {
        consul.delete_key("k");
    }),
    ("the key is released by force", |consul| {
        consul.force_release("k");
    }),
    ("the agent leaves", Embedded::leave),
    ("a leader is elected", Embedded::elect),
    ("the agent restarts", Embedded::restart),
    ("the agent restarts empty", Embedded::restart_empty),
];

/// All events of a runtime.
struct Told {
    acquired: actix_dsync::events::Events<LockAcquired>,
    lost: actix_dsync::events::Events<LockLost>,
    released: actix_dsync::events::Events<LockReleased>,
}

fn count<E: actix_dsync::events::Event>(events: &mut actix_dsync::events::Events<E>) -> Vec<E> {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

impl Told {
    fn by(dsync: &Dsync) -> Self {
        Self {
            acquired: dsync.events(Filter::All),
            lost: dsync.events(Filter::All),
            released: dsync.events(Filter::All),
        }
    }
}

/// Asserts that a lease is valid only while its session holds the key in Consul.
fn is_true(consul: &Embedded, lease: &Lease, what: &str) {
    if lease.is_valid() {
        let entries = consul.entries();
        let entry = entries.iter().find(|entry| entry.key == "k");
        let entry = entry.unwrap_or_else(|| panic!("{what}: valid without the key"));
        assert_eq!(entry.session, session(consul), "{what}: valid without the lock");
        assert!(entry.session.is_some(), "{what}: valid without a session");
    }
}

/// Asserts that every reported ownership has ended once, and that another process can lock the key.
async fn ends_well(consul: &Embedded, dsync: Dsync, other: &Dsync, mut told: Told, what: &str) {
    // Longer than a lock-delay.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let free = other.send(TryAcquire::new(key("k"))).await;
    let free = free.unwrap_or_else(|error| panic!("{what}: {error}"));
    let _ = other.send(Release(free)).await.unwrap();
    let (lost, released) = (count(&mut told.lost), count(&mut told.released));
    let acquired = count(&mut told.acquired);
    assert_eq!(
        acquired.len(),
        lost.len() + released.len(),
        "{what}: {acquired:?} {lost:?} {released:?}"
    );
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(session(consul).is_none(), "{what}: its session is left");
    assert_eq!(consul.entries(), [], "{what}");
}

async fn runtimes(consul: &Embedded) -> (Dsync, Dsync) {
    let (dsync, other) = (runtime("one", consul), runtime("other", consul));
    other.ready().await.unwrap();
    (dsync, other)
}

#[actix::test]
async fn after_a_fault_at_any_step_of_an_acquisition_a_valid_lease_has_the_lock() {
    in_a_task(async {
        for (name, fault) in FAULTS {
            for warm in [false, true] {
                for number in 0..=STEPS {
                    let what = format!("{name} after {number} steps, warm: {warm}");
                    let consul = Embedded::new();
                    let (dsync, other) = runtimes(&consul).await;
                    let mut told = Told::by(&dsync);
                    if warm {
                        dsync.ready().await.unwrap();
                    }
                    let asked = dsync.send(Acquire::new(key("k")));
                    steps(number).await;
                    fault(&consul);
                    let lease = asked.await.unwrap_or_else(|error| panic!("{what}: {error}"));
                    // The watch, which starts after 1 s, or a renewal detects the fault.
                    tokio::time::sleep(Duration::from_secs(4)).await;
                    is_true(&consul, &lease, &what);
                    if !lease.is_valid() {
                        let lost = count(&mut told.lost);
                        assert_eq!(lost.len(), 1, "{what}: {lost:?}");
                        assert_eq!(lost[0].token, lease.token(), "{what}");
                        assert_eq!(count(&mut told.acquired).len(), 1, "{what}");
                    }
                    drop(lease);
                    ends_well(&consul, dsync, &other, told, &what).await;
                }
            }
        }
    })
    .await;
}

#[actix::test]
async fn after_a_fault_at_any_step_of_a_release_a_valid_lease_has_the_lock() {
    in_a_task(async {
        for (name, fault) in FAULTS {
            for number in 0..=STEPS {
                let what = format!("{name} after {number} steps");
                let consul = Embedded::new();
                let (dsync, other) = runtimes(&consul).await;
                let told = Told::by(&dsync);
                let lease = acquire(&dsync, "k").await;
                let first = lease.token();
                tokio::time::sleep(Duration::from_secs(2)).await;
                let released = dsync.send(Release(lease));
                // Request it again at once, behind the release.
                let again = dsync.send(Acquire::new(key("k")));
                steps(number).await;
                fault(&consul);
                let _ = released.await.unwrap_or_else(|error| panic!("{what}: {error}"));
                let lease = again.await.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(lease.token() > first || name.ends_with("empty"), "{what}");
                tokio::time::sleep(Duration::from_secs(4)).await;
                is_true(&consul, &lease, &what);
                drop(lease);
                ends_well(&consul, dsync, &other, told, &what).await;
            }
        }
    })
    .await;
}

#[actix::test]
async fn after_a_fault_at_any_step_of_a_wait_a_valid_lease_has_the_lock() {
    in_a_task(async {
        for (name, fault) in FAULTS {
            for number in 0..=STEPS {
                let what = format!("{name} after {number} steps");
                let consul = Embedded::new();
                let (dsync, other) = runtimes(&consul).await;
                let told = Told::by(&dsync);
                dsync.ready().await.unwrap();
                let held = acquire(&other, "k").await;
                let asked = dsync.send(Acquire::new(key("k")));
                tokio::time::sleep(Duration::from_secs(2)).await;
                drop(held);
                steps(number).await;
                fault(&consul);
                let lease = asked.await.unwrap_or_else(|error| panic!("{what}: {error}"));
                tokio::time::sleep(Duration::from_secs(4)).await;
                is_true(&consul, &lease, &what);
                drop(lease);
                ends_well(&consul, dsync, &other, told, &what).await;
            }
        }
    })
    .await;
}
