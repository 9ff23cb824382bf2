//! Pauses before something is tried again, and the jitter that spreads them.

use std::{fmt, time::Duration};

/// The pause after so many consecutive setbacks before it: `first`, doubled with each, up
/// to `longest`.
pub(crate) fn backoff(first: Duration, setbacks: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << setbacks.min(20)).min(longest)
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
    fn jitter_stays_between_half_and_the_whole() {
        let (span, mut jitter) = (Duration::from_millis(100), Jitter::new(7));
        let spans: Vec<_> = (0..1_000).map(|_| jitter.within(span)).collect();
        assert!(spans.iter().all(|it| (span / 2..=span).contains(it)));
        assert!(spans.iter().any(|it| *it < span * 6 / 10));
        assert!(spans.iter().any(|it| *it > span * 9 / 10));
    }
}
