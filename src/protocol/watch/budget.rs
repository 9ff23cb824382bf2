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
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(1_000 + seconds)
    }

    #[test]
    fn every_part_fits_into_the_whole_and_something_is_left_for_listings() {
        for slots in 1..=10_000 {
            let budget = Budget::new(slots);
            assert_eq!(budget.side() + budget.blocking(), slots);
            for groups in 0..=budget.groups() {
                let singles = budget.singles(groups);
                assert!(singles + groups <= budget.blocking() || singles == 0, "{slots}");
                assert!(budget.blocking() == 0 || singles < budget.blocking(), "{slots}");
            }
        }
        assert_eq!(Budget::new(22).singles(0), 10);
        let mut streams = Budget::new(38);
        assert!(streams.carry(240) && !streams.carry(240));
        assert_eq!(streams.singles(8), 6_834);
    }

    #[test]
    fn a_refusal_halves_what_is_in_use_down_to_one_connection() {
        let mut budget = Budget::new(16);
        budget.refused(at(0), 15);
        budget.refused(at(0), 15);
        assert_eq!(budget.connections(), (8, 16));
        // What was allowed and not used does not count.
        budget.refused(at(1), 3);
        assert_eq!(budget.connections(), (2, 16));
        for second in 2..9 {
            budget.refused(at(second), 2);
        }
        assert_eq!((budget.connections(), budget.side()), ((1, 16), 1));
    }

    #[test]
    fn over_http_2_connections_are_halved_with_all_reads_that_they_carry() {
        let mut budget = Budget::new(8);
        budget.carry(240);
        budget.refused(at(0), 5 * 240);
        assert_eq!((budget.connections(), budget.now()), ((3, 8), 720));
    }

    #[test]
    fn quiet_lets_it_grow_by_one_connection_at_a_time() {
        let mut budget = Budget::new(4);
        assert_eq!(budget.next_wakeup(), None);
        budget.refused(at(0), 4);
        assert_eq!(budget.connections().0, 2);
        assert!(!budget.advance(at(19)));
        assert!(budget.advance(at(20)));
        assert_eq!((budget.connections().0, budget.next_wakeup()), (3, Some(at(40))));
        assert!(budget.advance(at(40)));
        assert_eq!((budget.connections(), budget.next_wakeup()), ((4, 4), None));
        assert!(!budget.advance(at(100)));
    }

    #[test]
    fn the_agent_is_tried_from_time_to_time_while_reads_are_under_way() {
        let mut budget = Budget::new(4);
        let pause = Duration::from_secs(3);
        assert!(!budget.is_to_probe(at(0), 2, pause));
        assert!(!budget.is_to_probe(at(22), 2, pause));
        assert!(budget.is_to_probe(at(23), 2, pause));
        assert_eq!(budget.next_wakeup(), Some(at(46)));
        assert!(!budget.is_to_probe(at(46), 0, pause));
        assert_eq!(budget.next_wakeup(), None);
    }

    #[test]
    fn whoever_has_many_connections_gives_up_more_than_whoever_has_few() {
        // An agent with room for 40; both find it full whenever it is.
        let (mut one, mut other) = (Budget::new(38), Budget::new(38));
        other.refused(at(0), 3);
        for second in 0..3_600 {
            one.advance(at(second));
            other.advance(at(second));
            let used = [one.connections().0, other.connections().0];
            if used[0] + used[1] > 40 {
                one.refused(at(second), used[0]);
                other.refused(at(second), used[1]);
            }
        }
        let (one, other) = (one.connections().0, other.connections().0);
        assert!(one.abs_diff(other) <= 2, "{one} and {other}");
    }
}
