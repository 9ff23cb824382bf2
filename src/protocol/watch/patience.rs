//! How long blocking reads wait, as far as the way to the agent lets them.
//!
//! A gateway ends a request that is not answered within its own time limit. When
//! reads one after another end so after like times, the next ones wait for less.

use std::time::Duration;

use crate::clock::Moment;

/// An abandoned read keeps server work, and a connection slot, until its wait ends.
const LONGEST: Duration = Duration::from_secs(30);
/// What ends sooner was not cut off for its length.
const SHORTEST: Duration = Duration::from_secs(1);
/// So many reads in a row tell a time limit.
const ENOUGH: u32 = 3;
/// After so long a longer wait is tried again.
const REMEMBER: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Patience {
    wait: Duration,
    /// When the last of the reads in a row was cut off, and after how long.
    last: Option<(Moment, Duration)>,
    in_a_row: u32,
    longer_at: Option<Moment>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { wait: LONGEST, last: None, in_a_row: 0, longer_at: None }
    }

    /// How long a read that begins now waits.
    pub(super) fn wait(&mut self, now: Moment) -> Duration {
        if self.longer_at.is_some_and(|at| at <= now) {
            *self = Self::new();
        }
        self.wait
    }

    /// A read that began at `since` ended without an answer of Consul. Whether it
    /// had waited before.
    pub(super) fn cut(&mut self, now: Moment, since: Moment) -> bool {
        let stood = now.since(since);
        if stood < SHORTEST {
            return false;
        }
        match self.last {
            // One of those that were under way beside it.
            Some((at, _)) if since < at => return true,
            Some((_, before)) if is_alike(before, stood) => self.in_a_row += 1,
            _ => self.in_a_row = 1,
        }
        self.last = Some((now, stood));
        if self.in_a_row == ENOUGH {
            // Consul may prolong a wait by a sixteenth.
            self.wait = stood.mul_f64(0.8).clamp(SHORTEST, LONGEST);
            self.longer_at = Some(now + REMEMBER);
            (self.last, self.in_a_row) = (None, 0);
        }
        true
    }
}

fn is_alike(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= one.max(other) / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::default() + Duration::from_secs(1_000) + Duration::from_millis(millis)
    }

    #[test]
    fn reads_that_a_gateway_cuts_off_one_after_another_shorten_the_wait_for_a_while() {
        let mut patience = Patience::new();
        assert_eq!(patience.wait(at(0)), LONGEST);
        for (since, until) in [(0, 5_000), (5_200, 10_300), (10_600, 15_600)] {
            assert!(patience.cut(at(until), at(since)));
        }
        assert_eq!(patience.wait(at(15_600)), Duration::from_secs(4));
        assert_eq!(patience.wait(at(615_600)), LONGEST);
    }

    #[test]
    fn reads_that_break_together_or_after_unlike_times_tell_nothing() {
        let mut patience = Patience::new();
        // An election ends all that are under way.
        for since in [0, 1_000, 3_000, 7_000] {
            assert!(patience.cut(at(9_000), at(since)));
        }
        assert!(patience.cut(at(30_000), at(10_000)));
        assert!(patience.cut(at(32_000), at(30_000)));
        assert_eq!(patience.wait(at(32_000)), LONGEST);
    }

    #[test]
    fn what_fails_at_once_was_not_cut_off() {
        let mut patience = Patience::new();
        for second in 0..10 {
            assert!(!patience.cut(at(1_000 * second + 300), at(1_000 * second)));
        }
        assert_eq!(patience.wait(at(10_000)), LONGEST);
    }
}
