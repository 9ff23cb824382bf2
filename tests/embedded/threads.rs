//! Callers on many threads, on the real clock.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_dsync::{
    Acquire, Dsync, Error, FencingToken, Inspect, LossReason, Release, TryAcquire,
    admin::ForceRelease, embedded::Embedded,
};

use crate::key;

const KEYS: usize = 4;
const ROUNDS: usize = 150;

#[derive(Default)]
struct Guarded {
    owners: AtomicUsize,
    last: Mutex<Option<FencingToken>>,
    grants: AtomicUsize,
}

/// A cheap random number, the same in every run: a caller's next action.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 40
}

async fn caller(dsync: Dsync, guarded: Arc<[Guarded; KEYS]>, seed: u64) {
    let mut state = seed;
    for _ in 0..ROUNDS {
        let place = next(&mut state) as usize % KEYS;
        let name = key(&format!("k/{place}"));
        let answer = match next(&mut state) % 4 {
            0 => dsync.send(TryAcquire::new(name)).await,
            1 => {
                let limit = Duration::from_micros(next(&mut state) % 3_000);
                let asked = dsync.send(Acquire::new(name));
                match tokio::time::timeout(limit, asked).await {
                    Ok(answer) => answer,
                    Err(_) => continue,
                }
            }
            2 => {
                let limit = Duration::from_micros(next(&mut state) % 3_000);
                dsync.send(Acquire::new(name).within(limit)).await
            }
            _ => dsync.send(Acquire::new(name)).await,
        };
        let lease = match answer {
            Ok(lease) => lease,
            Err(Error::Held { .. } | Error::WaitedTooLong { .. }) => continue,
            Err(other) => panic!("{other}"),
        };
        let guarded = &guarded[place];
        assert_eq!(guarded.owners.fetch_add(1, Ordering::SeqCst), 0, "two owners of {place}");
        let last = guarded.last.lock().unwrap().replace(lease.token());
        assert!(Some(lease.token()) > last, "{:?} after {last:?}", lease.token());
        guarded.grants.fetch_add(1, Ordering::SeqCst);
        if next(&mut state).is_multiple_of(2) {
            tokio::task::yield_now().await;
        }
        assert!(lease.is_valid());
        guarded.owners.fetch_sub(1, Ordering::SeqCst);
        match next(&mut state) % 3 {
            0 => drop(lease),
            1 => drop(dsync.send(Release(lease))),
            _ => drop(dsync.send(Release(lease)).await.unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_of_two_runtimes_on_many_threads_never_own_a_key_at_the_same_time() {
    let consul = Embedded::new();
    let runtimes =
        ["one", "two"].map(|name| Dsync::builder(name).embedded(&consul).start().unwrap());
    let guarded: Arc<[Guarded; KEYS]> = Arc::default();
    let callers: Vec<_> = (0..16)
        .map(|number| {
            let dsync = runtimes[number as usize % 2].clone();
            tokio::spawn(caller(dsync, guarded.clone(), number))
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    for guarded in guarded.iter() {
        assert!(guarded.grants.load(Ordering::SeqCst) > ROUNDS / 4, "hardly ever granted");
    }
    for dsync in &runtimes {
        dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    }
    assert_eq!(consul.entries(), []);
    assert_eq!(consul.sessions(), []);
}

#[actix::test]
async fn a_runtime_whose_last_handle_is_dropped_completes_what_it_takes_away() {
    let consul = Embedded::new();
    let link = consul.link();
    let holder = Dsync::builder("holder").embedded(&consul).start().unwrap();
    let admin = Dsync::builder("admin").embedded(&link).start().unwrap();
    let lease = holder.send(Acquire::new(key("k"))).await.unwrap();
    let victim = admin.send(Inspect(key("k"))).await.unwrap().unwrap();
    // The runtime needs one answer to end, and several to release the key.
    link.delay_replies(Duration::from_millis(200));
    drop(admin.send(ForceRelease::of(key("k"), &victim).immediate()));
    drop(admin);
    let lost = tokio::time::timeout(Duration::from_secs(10), lease.lost()).await;
    assert_eq!(lost, Ok(LossReason::ForceReleased));
}
