//! How late a busy machine runs what is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(10);

/// Measures, until dropped, how much longer than asked a thread sleeps.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    longest: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Stalls {
    pub(crate) fn watch() -> Self {
        let stalls = Self::default();
        let (longest, is_over) = (stalls.longest.clone(), stalls.is_over.clone());
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                thread::sleep(TICK);
                let late = asked.elapsed().saturating_sub(TICK).as_nanos();
                longest.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        stalls
    }

    /// The longest so far.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest.load(Ordering::Relaxed))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
