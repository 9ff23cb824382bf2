//! This crate.

use std::time::{Duration, Instant};

use actix_dsync::{Acquire, Dsync, Key, Release, Released, Timing};

use crate::drive::{SETTLE, took};
use crate::log::{TICK, acquired, acquires, check};

fn start(url: &str, prefix: &str) -> Dsync {
    // A TTL of 10 s and a lock-delay of 1 s.
    let timing = Timing::fast_failover();
    let dsync = Dsync::builder("peers").address(url).prefix(prefix).timing(timing).start();
    dsync.expect("valid settings")
}

fn key(number: usize) -> Key {
    Key::new(number.to_string()).expect("a valid key")
}

pub(crate) async fn cycle(url: &str, prefix: &str, count: usize) {
    let dsync = start(url, prefix);
    for _ in 0..count {
        let began = Instant::now();
        let lease = dsync.send(Acquire::new(key(0))).await.expect("a lease");
        let released = dsync.send(Release(lease)).await;
        assert!(matches!(released, Ok(Released::Confirmed)), "{released:?}");
        took(began);
    }
    let _ = dsync.shutdown(Duration::from_secs(5)).await;
}

pub(crate) async fn handover(url: &str, prefix: &str, count: usize) {
    let runtimes = [start(url, prefix), start(url, prefix)];
    let mut lease = runtimes[0].send(Acquire::new(key(0))).await.expect("a lease");
    for round in 0..count {
        let (holder, waiter) = (&runtimes[round % 2], runtimes[(round + 1) % 2].clone());
        let waits = tokio::spawn(async move { waiter.send(Acquire::new(key(0))).await });
        tokio::time::sleep(SETTLE).await;
        let began = Instant::now();
        let release = holder.send(Release(lease));
        let (released, granted) = tokio::join!(release, waits);
        took(began);
        assert!(matches!(released, Ok(Released::Confirmed)), "{released:?}");
        lease = granted.expect("no panic").expect("a lease");
    }
}

pub(crate) async fn hold(url: &str, prefix: &str, count: usize) {
    let dsync = start(url, prefix);
    let hold = |number: usize| {
        let dsync = dsync.clone();
        async move {
            let name = number.to_string();
            loop {
                let op = acquires(&name);
                let lease = dsync.send(Acquire::new(key(number))).await.expect("a lease");
                let token = acquired(op, &name, Some(lease.token().as_u64()));
                loop {
                    let from = crate::log::now();
                    let valid = lease.is_valid();
                    check(&name, token, from, valid);
                    if !valid {
                        break;
                    }
                    tokio::time::sleep(TICK).await;
                }
            }
        }
    };
    let mut tasks: tokio::task::JoinSet<()> = (0..count).map(hold).collect();
    tasks.join_next().await;
}
