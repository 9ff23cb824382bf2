//! How many connections blocking reads may use, and how their reads are parted.
//!
//! All processes of a host share the agent's limit of connections. Each takes less
//! when it finds the agent full, and a little more after a time in which it did not:
//! whoever has many gives up more than whoever has few, so that shares become equal.

use std::time::Duration;

use crate::clock::Moment;

/// Refusals within this time count as one.
const ONE_REFUSAL: Duration = Duration::from_secs(1);
/// After so long without a refusal one more connection is allowed.
const GROW: Duration = Duration::from_secs(20);
/// How often it is tried whether the agent still takes a connection, while some are
/// in use.
const PROBE: Duration = Duration::from_secs(20);
/// The most listings of different prefixes.
const MOST_GROUPS: usize = 32;

/// The reads that the connections carry, parted: a few at once for short reads
/// (*side*), the others for blocking ones, of which some are always left to
/// listings.
#[derive(Debug)]
pub(super) struct Budget {
    /// Connections that are allowed when the agent is not full, and now.
    most: usize,
    allowed: usize,
    /// How many reads a connection carries.
    reads: usize,
    refused_at: Option<Moment>,
    grow_at: Option<Moment>,
    probe_at: Option<Moment>,
}

impl Budget {
    pub(super) fn new(connections: usize) -> Self {
        let most = connections.max(1);
        let (refused_at, grow_at, probe_at) = (None, None, None);
        Self { most, allowed: most, reads: 1, refused_at, grow_at, probe_at }
    }

    /// Connections that are allowed now, and when the agent is not full.
    pub(super) fn connections(&self) -> (usize, usize) {
        (self.allowed, self.most)
    }

    /// A connection carries so many reads. Whether that changes anything.
    pub(super) fn carry(&mut self, reads: usize) -> bool {
        let reads = reads.max(1);
        std::mem::replace(&mut self.reads, reads) != reads
    }

    /// The agent takes no more connections while `in_use` reads are under way:
    /// half of what is in use has to do.
    pub(super) fn refused(&mut self, now: Moment, in_use: usize) {
        let is_another = self.refused_at.is_none_or(|at| now.since(at) >= ONE_REFUSAL);
        if is_another {
            let in_use = in_use.div_ceil(self.reads) + 1;
            self.allowed = (self.allowed.min(in_use) / 2).max(1);
            self.refused_at = Some(now);
        }
        self.grow_at = (self.allowed < self.most).then(|| now + GROW);
    }

    /// Whether that changes anything.
    pub(super) fn advance(&mut self, now: Moment) -> bool {
        if self.grow_at.is_none_or(|at| at > now) {
            return false;
        }
        self.allowed += 1;
        self.grow_at = (self.allowed < self.most).then(|| now + GROW);
        true
    }

    /// Whether it is time to try whether the agent takes a connection. `pause` is
    /// the jitter on the time until the next try; it is not tried while no read is
    /// under way.
    pub(super) fn is_to_probe(&mut self, now: Moment, in_use: usize, pause: Duration) -> bool {
        if in_use == 0 {
            self.probe_at = None;
            return false;
        }
        let at = *self.probe_at.get_or_insert(now + PROBE + pause);
        let is_due = at <= now;
        if is_due {
            self.probe_at = Some(now + PROBE + pause);
        }
        is_due
    }

    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        [self.grow_at, self.probe_at].into_iter().flatten().min()
    }

    fn now(&self) -> usize {
        self.allowed * self.reads
    }

    /// Short reads under way at one time.
    pub(super) fn side(&self) -> usize {
        (self.now() / 8).clamp(1, 8)
    }

    /// Blocking reads under way at one time, of one key or of many.
    pub(super) fn blocking(&self) -> usize {
        self.now() - self.side()
    }

    /// Prefixes that are listed.
    pub(super) fn groups(&self) -> usize {
        (self.blocking() * 9 / 10).clamp(1, MOST_GROUPS)
    }

    /// Blocking reads of one key, while `groups` prefixes are listed.
    pub(super) fn singles(&self, groups: usize) -> usize {
        let blocking = self.blocking();
        // Thousands of streams cost some 8 kB each, which the last few are not
        // worth.
        let reserve = blocking.div_ceil(2).min(MOST_GROUPS).max(blocking / 4);
        blocking.saturating_sub(reserve.max(groups))
    }
}

#[cfg(test)]
mod tests;
