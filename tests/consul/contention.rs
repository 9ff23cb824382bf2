//! Two runtimes and one key.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_dsync::{Acquire, Error, Inspect, Release, TryAcquire};

use crate::locks::{acquire, agent, assert_exclusive, key, observe, rounds, runtime};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_two_runtimes_own_a_key_one_at_a_time() {
    // A machine that is busy with other tests may tell the waiting runtime too late.
    for _ in 0..3 {
        if contend().await >= 5 {
            return;
        }
    }
    panic!("in three runs, one process starved the other");
}

/// Lets six callers of two runtimes contend, and checks that they do not overlap. Returns how often
/// the key changed runtimes.
async fn contend() -> usize {
    let runtimes = [runtime("contention"), runtime("contention")];
    let stretches = Arc::new(Mutex::new(Vec::new()));
    // Three callers per process: they queue in their process, and the processes queue in Consul.
    let callers = (0..6).map(|number| {
        let (dsync, stretches) = (runtimes[number % 2].clone(), stretches.clone());
        tokio::spawn(async move {
            for _ in 0..rounds(40, 400) {
                let lease = acquire(&dsync, "k").await;
                // Long enough for the lock to change processes.
                let stretch = observe(&lease, Duration::from_millis(4));
                stretches.lock().expect("no panic").push((number % 2, stretch));
                if number % 3 == 0 {
                    drop(lease);
                } else {
                    let _ = dsync.send(Release(lease)).await.expect("a release");
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no panic");
    }
    let mut all = std::mem::take(&mut *stretches.lock().expect("no panic"));
    all.sort_by_key(|(_, stretch)| stretch.token);
    let turns = all.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
    eprintln!("{turns} changes of the owning runtime in {} ownerships", all.len());
    assert_exclusive(all.into_iter().map(|(_, stretch)| stretch).collect());
    for dsync in runtimes {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
    assert_eq!(agent().operator().kv_keys("contention/"), Vec::<String>::new());
    turns
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_key_is_refused_at_once_with_its_holder_and_nothing_goes_on_contending() {
    let (one, two) = (runtime("refused"), runtime("refused"));
    two.ready().await.expect("an agent that runs");
    let lease = acquire(&one, "k").await;

    let asked = Instant::now();
    let Err(Error::Held { holder, .. }) = two.send(TryAcquire::new(key("k"))).await else {
        panic!("the key is held")
    };
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let owner = agent().operator().kv_get("refused/k").and_then(|entry| entry.session);
    assert_eq!(Some(holder.session.as_str()), owner.as_deref());
    assert_eq!(holder.json().expect("JSON")["pid"], std::process::id());
    let seen = two.send(Inspect(key("k"))).await.expect("an answer").expect("a holder");
    assert_eq!(seen.session, holder.session);
    assert_eq!(seen.session_name.as_deref(), Some("test"));

    // This also holds within one process.
    assert!(matches!(one.send(TryAcquire::new(key("k"))).await, Err(Error::Held { .. })));
    let within = one.send(Acquire::new(key("k")).within(Duration::from_millis(50))).await;
    assert!(matches!(within, Err(Error::WaitedTooLong { holder: _, .. })), "{within:?}");
    // The first may be refused before it has learned who holds the key.
    let within = async || {
        let within = two.send(Acquire::new(key("k")).within(Duration::from_millis(50))).await;
        let Err(Error::WaitedTooLong { holder, .. }) = within else { panic!("{within:?}") };
        holder
    };
    let holder = async { while within().await.is_none() {} };
    tokio::time::timeout(Duration::from_secs(60), holder).await.expect("the holder is named");

    let _ = one.send(Release(lease)).await.expect("a release");
    // A caller that still contended would soon have the key.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(agent().operator().kv_keys("refused/"), Vec::<String>::new());
    assert_eq!(two.send(Inspect(key("k"))).await, Ok(None));
}
