//! The random numbers of a history: one seed, one sequence.

use std::{ops::RangeInclusive, time::Duration};

/// A splitmix64 sequence.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        low + self.next() % (high - low + 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True with a probability of `share` per thousand.
    pub(crate) fn chance(&mut self, share: u64) -> bool {
        self.next() % 1000 < share
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_micros(self.within(range.start() * 1000..=range.end() * 1000))
    }

    /// Like [`skewed_millis`](Self::skewed_millis), without a unit.
    pub(crate) fn skewed(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        let reach = (high - low) >> self.within(0..=6);
        self.within(low..=low + reach)
    }

    /// Usually near the lower end, occasionally up to the upper one.
    pub(crate) fn skewed_millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        let (low, high) = (*range.start(), *range.end());
        let reach = (high - low) >> self.within(0..=6);
        self.millis(low..=low + reach)
    }
}
