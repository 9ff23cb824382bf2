//! Keeps the runtime's thread awake while requests follow each other closely.
//!
//! Waking a sleeping thread takes longer than a near agent needs for an answer. In a
//! *streak*, when neither callers nor the agent let the thread wait for long, it looks
//! for the next event instead of sleeping. The first longer wait ends the streak. So an
//! idle runtime uses no time for this; one with more than about 2,500 events a second uses
//! up to one core.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// How long the thread stays awake without an event.
const AWAKE: Duration = Duration::from_micros(400);
/// A shorter wait does not count: the event had already arrived.
const SHORTEST: Duration = Duration::from_micros(5);
/// The number of consecutive waits shorter than [`AWAKE`] that begin a streak.
const SHORT_WAITS: u32 = 16;

/// Notes the events of a thread, and keeps it awake during a streak.
pub(super) struct BusyWait {
    noted_at: Cell<Instant>,
    short_waits: Cell<u32>,
    begins: Notify,
}

impl BusyWait {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            noted_at: Cell::new(Instant::now()),
            short_waits: Cell::default(),
            begins: Notify::new(),
        })
    }

    /// Whether there is a core to spare for it, also within the quota of a container.
    pub(super) fn is_affordable() -> bool {
        std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
    }

    /// Notes an event that the thread has received at `now`.
    pub(super) fn note(&self, now: Instant) {
        let waited = now.saturating_duration_since(self.noted_at.replace(now));
        if waited < SHORTEST {
            return;
        }
        let short_waits = if waited < AWAKE { self.short_waits.get().saturating_add(1) } else { 0 };
        self.short_waits.set(short_waits);
        if short_waits == SHORT_WAITS {
            self.begins.notify_one();
        }
    }

    /// Keeps this thread awake during every streak.
    pub(super) async fn keep(self: Rc<Self>) {
        loop {
            self.begins.notified().await;
            while self.noted_at.get().elapsed() < AWAKE {
                // Other threads that are ready to run come first.
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
            self.short_waits.set(0);
        }
    }
}

#[cfg(test)]
mod tests;
