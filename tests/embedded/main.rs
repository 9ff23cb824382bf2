//! The runtime against the embedded Consul, mostly on a paused clock.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod administration;
mod basics;
mod cancel;
mod events;
mod every;
mod faults;
mod guide;
mod hand_over;
mod keys;
mod kit;
mod leadership;
mod limits;
mod logs;
mod metrics;
mod newer;
mod overdue;
mod panics;
mod permits;
mod queue;
mod recipient;
mod reports;
mod schedule;
mod sets;
mod singleton;
mod stop;
mod threads;
mod unreachable;
mod web;
mod writes;

use std::{future::Future, sync::Once, task::Poll, time::Duration};

use actix_dsync::{Acquire, Dsync, Key, Lease, embedded::Embedded};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn runtime(service: &str, consul: &Embedded) -> Dsync {
    enable_all_events();
    Dsync::builder(service).embedded(consul).on_current_arbiter().start().unwrap()
}

/// Sets a global subscriber that enables every event and discards it. Otherwise an event that first
/// occurs on a thread without a subscriber stays disabled everywhere, even where a test reads the log.
fn enable_all_events() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let nobody = tracing_subscriber::registry();
        tracing::subscriber::set_global_default(nobody).expect("the first one");
    });
}

async fn acquire(dsync: &Dsync, name: &str) -> Lease {
    dsync.send(Acquire::new(key(name)).within(Duration::from_secs(120))).await.unwrap()
}

/// Lets every ready task run once, `count` times, while the clock stands still.
///
/// Call it only within [`in_a_task`]: the body of a test itself is polled only after many steps of other
/// tasks.
async fn steps(count: usize) {
    let mut left = count;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs the body of a test on a paused clock, as one task among those of the runtimes.
async fn in_a_task(body: impl Future<Output = ()> + 'static) {
    tokio::time::pause();
    actix_rt::spawn(body).await.unwrap();
}
