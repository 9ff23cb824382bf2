//! The runtime against the embedded Consul, mostly on a paused clock.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod basics;
mod cancel;
mod events;
mod keys;
mod limits;
mod queue;
mod stop;

use std::time::Duration;

use actix_dsync::{Acquire, Dsync, Embedded, Key, Lease};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn runtime(service: &str, consul: &Embedded) -> Dsync {
    Dsync::builder(service).embedded(consul).on_current_arbiter().start().unwrap()
}

async fn acquire(dsync: &Dsync, name: &str) -> Lease {
    dsync.send(Acquire::new(key(name)).within(Duration::from_secs(120))).await.unwrap()
}

/// Lets everything that can run do so, `count` times, while the clock stands still.
async fn steps(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}
