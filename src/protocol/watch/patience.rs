//! How long blocking reads wait, adapted to intermediaries on the way to the agent.
//!
//! A gateway ends a request that exceeds its own time limit. When consecutive reads
//! are cut off after similar times, later reads wait for less.

use std::time::Duration;

use crate::clock::Moment;

/// An abandoned read keeps server work, and a connection slot, until its wait ends.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);
/// A read that ends sooner was not cut off for its length.
const SHORTEST: Duration = Duration::from_secs(1);
/// The number of consecutive reads that reveal a time limit.
const ENOUGH: u32 = 3;
/// Time after which the longest wait is tried again.
const REMEMBER: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Patience {
    wait: Duration,
    /// When the last of the consecutive reads was cut off, and after how long.
    last: Option<(Moment, Duration)>,
    in_a_row: u32,
    longer_at: Option<Moment>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { wait: LONGEST, last: None, in_a_row: 0, longer_at: None }
    }

    /// How long a read that starts now should wait.
    pub(super) fn wait(&mut self, now: Moment) -> Duration {
        if self.longer_at.is_some_and(|at| at <= now) {
            *self = Self::new();
        }
        self.wait
    }

    /// Notes that a read started at `since` ended without Consul's answer. Returns
    /// whether it lasted long enough to count as cut off.
    pub(super) fn cut(&mut self, now: Moment, since: Moment) -> bool {
        let stood = now.since(since);
        if stood < SHORTEST {
            return false;
        }
        match self.last {
            // It was in flight together with the last one.
            Some((at, _)) if since < at => return true,
            Some((_, before)) if is_alike(before, stood) => self.in_a_row += 1,
            _ => self.in_a_row = 1,
        }
        self.last = Some((now, stood));
        if self.in_a_row == ENOUGH {
            // Consul may extend a wait by a sixteenth.
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
mod tests;
