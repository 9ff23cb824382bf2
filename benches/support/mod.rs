//! Shared by the benches: the raw calls for comparison, and the output that
//! `scripts/bench` reads.

#![allow(dead_code, reason = "each bench needs a part of it")]

#[path = "../../tests/support/mod.rs"]
mod tests;

pub(crate) mod own_thread;
pub(crate) mod raw;

use std::{
    fmt,
    time::{Duration, Instant},
};

#[allow(unused_imports, reason = "as above")]
pub(crate) use tests::consul;

/// Prints a figure for `scripts/bench`, which takes the median over all runs. Names are
/// words joined by dots.
pub(crate) fn row(name: impl fmt::Display, value: f64, unit: &str) {
    println!("row {name} {value:.6} {unit}");
}

/// Times that were measured in turns with their floor, so that other load on the
/// machine affects both equally.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// A percentile, in milliseconds.
    pub(crate) fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        self.0[(self.0.len() - 1) * percent / 100].as_secs_f64() * 1e3
    }

    /// Prints rows for `name`: its percentiles, its floor's, and their ratios.
    pub(crate) fn report(&mut self, name: &str, floor: &mut Self, percents: &[usize]) {
        for percent in percents {
            let (ours, raw) = (self.percentile(*percent), floor.percentile(*percent));
            row(format_args!("{name}.p{percent}"), ours, "ms");
            row(format_args!("{name}.p{percent}.raw"), raw, "ms");
            row(format_args!("{name}.p{percent}.ratio"), ours / raw, "x");
        }
    }
}

/// Runs `work` and measures its duration.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = work();
    (result, begun.elapsed())
}
