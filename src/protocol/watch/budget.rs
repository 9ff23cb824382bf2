//! The number of connections that reads may use, and how their capacity is divided.
//!
//! All processes of a host share the agent's connection limit. Each process halves
//! its share when the agent is full and grows it by one after a time without a
//! refusal. Large shares shrink more than small ones, so the shares become equal.

use std::time::Duration;

use crate::clock::Moment;

/// Refusals within this time count as one.
const ONE_REFUSAL: Duration = Duration::from_secs(1);
/// Time without a refusal after which one more connection is allowed.
const GROW: Duration = Duration::from_secs(20);
/// Interval between probes for a free connection, while some are in use.
const PROBE: Duration = Duration::from_secs(10);
/// The longest wait of a blocking read.
const WAIT: Duration = Duration::from_secs(30);
/// The longest wait while connections are, or may be, scarce: a read that nobody needs
/// any more occupies its connection until its wait ends.
const WAIT_WHEN_SCARCE: Duration = Duration::from_secs(5);
/// Time after the first read in which a full agent shows itself.
const SETTLE: Duration = Duration::from_secs(15);
/// The most prefixes listed.
const MOST_GROUPS: usize = 32;

/// The capacity for reads: a few for short reads (*side*), the others for blocking
/// reads, some of which are always reserved for listings. If there is a single place,
/// it is for a blocking listing, and short reads use the connections of calls.
#[derive(Debug)]
pub(super) struct Budget {
    /// The connections allowed when the agent is not full (`most`), and now
    /// (`allowed`).
    most: usize,
    allowed: usize,
    /// The number of concurrent reads per connection.
    reads: usize,
    refused_at: Option<Moment>,
    grow_at: Option<Moment>,
    probe_at: Option<Moment>,
    settled_at: Option<Moment>,
}

impl Budget {
    pub(super) fn new(connections: usize) -> Self {
        let most = connections.max(1);
        let (refused_at, grow_at, probe_at, settled_at) = (None, None, None, None);
        Self { most, allowed: most, reads: 1, refused_at, grow_at, probe_at, settled_at }
    }

    /// The connections allowed now, and when the agent is not full.
    pub(super) fn connections(&self) -> (usize, usize) {
        (self.allowed, self.most)
    }

    /// Sets the number of reads per connection. Returns whether it changed.
    pub(super) fn carry(&mut self, reads: usize) -> bool {
        let reads = reads.max(1);
        std::mem::replace(&mut self.reads, reads) != reads
    }

    /// Handles a refusal while `in_use` reads are in flight: halves what is in use.
    pub(super) fn refused(&mut self, now: Moment, in_use: usize) {
        let is_another = self.refused_at.is_none_or(|at| now.since(at) >= ONE_REFUSAL);
        if is_another {
            let in_use = in_use.div_ceil(self.reads) + 1;
            self.allowed = (self.allowed.min(in_use) / 2).max(1);
            self.refused_at = Some(now);
        }
        self.grow_at = (self.allowed < self.most).then(|| now + GROW);
    }

    /// Grows the share if due. Returns whether it changed.
    pub(super) fn advance(&mut self, now: Moment) -> bool {
        if self.grow_at.is_none_or(|at| at > now) {
            return false;
        }
        self.allowed += 1;
        self.grow_at = (self.allowed < self.most).then(|| now + GROW);
        true
    }

    /// Whether a probe is due. `pause` is the jitter added to the interval. There are
    /// no probes while `in_use` is 0.
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

    /// The most short reads in flight.
    pub(super) fn side(&self) -> usize {
        (self.now() / 8).clamp(1, 8)
    }

    /// The most blocking reads in flight, of single keys and of prefixes.
    pub(super) fn blocking(&self) -> usize {
        (self.now() - self.side()).max(1)
    }

    /// The longest wait of a blocking read that starts now.
    pub(super) fn longest_wait(&mut self, now: Moment) -> Duration {
        let settled_at = *self.settled_at.get_or_insert(now + SETTLE);
        let may_be_scarce = now < settled_at || self.allowed < self.most;
        if self.reads == 1 && may_be_scarce { WAIT_WHEN_SCARCE } else { WAIT }
    }

    /// The most prefixes listed with this capacity.
    pub(super) fn groups(&self) -> usize {
        (self.blocking() * 9 / 10).clamp(1, MOST_GROUPS)
    }

    /// The most blocking reads of single keys while `groups` prefixes are listed.
    pub(super) fn singles(&self, groups: usize) -> usize {
        let blocking = self.blocking();
        // With thousands of streams, leave a quarter unused: each costs about 8 kB.
        let reserve = blocking.div_ceil(2).min(MOST_GROUPS).max(blocking / 4);
        blocking.saturating_sub(reserve.max(groups))
    }
}

#[cfg(test)]
mod tests;
