//! The drivers' commands.
//!
//! - `cycle N`: acquires and releases one free key N times; prints each round's nanoseconds.
//! - `handover N`: passes one key between two contenders N times; prints the nanoseconds from each
//!   release to the other's grant.
//! - `hold N`: contends for N keys, holds each until the client says that it is lost, and prints a
//!   history, until the standard input ends.

use std::time::{Duration, Instant};

use crate::{floor, ours, rs};

pub(crate) const TTL: Duration = Duration::from_secs(10);
pub(crate) const LOCK_DELAY: Duration = Duration::from_secs(1);
/// How long a waiter gets to see that the key is held and to watch it.
pub(crate) const SETTLE: Duration = Duration::from_millis(60);

pub(crate) fn run(client: &str, url: &str, prefix: &str, command: &str, count: usize) {
    if command == "hold" {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        match (client, command) {
            ("raw", "cycle") => floor::cycle(url, prefix, count),
            ("raw", "handover") => floor::handover(url, prefix, count),
            ("actix-dsync", "cycle") => ours::cycle(url, prefix, count).await,
            ("actix-dsync", "handover") => ours::handover(url, prefix, count).await,
            ("actix-dsync", "hold") => ours::hold(url, prefix, count).await,
            ("rs-consul", "cycle") => rs::cycle(url, prefix, count).await,
            ("rs-consul", "handover") => rs::handover(url, prefix, count).await,
            ("rs-consul", "hold") => rs::hold(url, prefix, count).await,
            _ => panic!("{client} cannot {command}"),
        }
    });
}

pub(crate) fn took(since: Instant) {
    println!("{}", since.elapsed().as_nanos());
}
