//! Pauses before something is tried again, and the jitter that spreads them.

use std::{fmt, time::Duration};

/// The pause after so many consecutive setbacks before it: `first`, doubled with each, up
/// to `longest`.
pub(crate) fn backoff(first: Duration, setbacks: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << setbacks.min(20)).min(longest)
}

/// The pauses before something that fails is started again: they double from 100 ms, and begin
/// anew after a life of 10 s.
#[derive(Debug)]
pub(crate) struct Restarts {
    /// So many restarts are at once.
    at_once: u32,
    longest: Duration,
    /// Failures since the last long life.
    failures: u32,
}

impl Restarts {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONG_LIFE: Duration = Duration::from_secs(10);

    /// The first `at_once` restarts have no pause, and no pause is longer than `longest`.
    pub(crate) fn new(at_once: u32, longest: Duration) -> Self {
        Self { at_once, longest, failures: 0 }
    }

    /// It has failed after this life. Returns the pause before it starts again.
    pub(crate) fn after(&mut self, life: Duration) -> Duration {
        if life >= Self::LONG_LIFE {
            self.failures = 0;
        }
        let earlier = self.failures.checked_sub(self.at_once);
        self.failures = self.failures.saturating_add(1);
        earlier.map_or(Duration::ZERO, |earlier| backoff(Self::SHORTEST, earlier, self.longest))
    }
}

/// A generator of pseudo-random numbers.
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A generator that always gives the least.
    #[cfg(test)]
    pub(crate) fn steady() -> Self {
        Self(0)
    }

    /// A number between 0 and 1.
    pub(crate) fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }

    /// A duration between half of `span` and `span`.
    pub(crate) fn within(&mut self, span: Duration) -> Duration {
        span.mul_f64(0.5 + self.share() / 2.0)
    }
}

impl fmt::Debug for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pause = |setbacks| {
            let (first, longest) = (Duration::from_millis(50), Duration::from_secs(1));
            backoff(first, setbacks, longest).as_millis()
        };
        assert_eq!([0, 1, 4, 5, 1_000].map(pause), [50, 100, 800, 1_000, 1_000]);
    }

    #[test]
    fn restarts_have_pauses_that_begin_anew_after_a_long_life() {
        let millis = |restarts: &mut Restarts, life| restarts.after(life).as_millis();
        let (short, long) = (Duration::from_secs(9), Duration::from_secs(10));
        let mut restarts = Restarts::new(1, Duration::from_secs(4));
        for expected in [0, 100, 200, 400, 800, 1_600, 3_200, 4_000, 4_000] {
            assert_eq!(millis(&mut restarts, short), expected);
        }
        assert_eq!([long, short].map(|life| millis(&mut restarts, life)), [0, 100]);
        let mut restarts = Restarts::new(0, Duration::from_secs(10));
        assert_eq!([short, short, long].map(|life| millis(&mut restarts, life)), [100, 200, 100]);
    }

    #[test]
    fn jitter_stays_between_half_and_the_whole() {
        let (span, mut jitter) = (Duration::from_millis(100), Jitter::new(7));
        let spans: Vec<_> = (0..1_000).map(|_| jitter.within(span)).collect();
        assert!(spans.iter().all(|it| (span / 2..=span).contains(it)));
        assert!(spans.iter().any(|it| *it < span * 6 / 10));
        assert!(spans.iter().any(|it| *it > span * 9 / 10));
    }
}
