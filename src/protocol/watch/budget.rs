//! How many reads may be under way, and what for.

use std::time::Duration;

use crate::clock::Moment;

/// For how long less is used after the agent refused a connection.
const HALVED_FOR: Duration = Duration::from_secs(60);
/// Refusals within this time count as one.
const ONE_REFUSAL: Duration = Duration::from_secs(1);
const MOST_HALVINGS: u32 = 3;
/// The most listings of different prefixes.
const MOST_GROUPS: usize = 32;

/// The reads that the connections carry, parted: a few at once for short reads
/// (*side*), the others for blocking ones, of which some are always left to
/// listings.
#[derive(Debug)]
pub(super) struct Budget {
    slots: usize,
    halvings: u32,
    refused_at: Moment,
}

impl Budget {
    pub(super) fn new(slots: usize) -> Self {
        Self { slots, halvings: 0, refused_at: Moment::default() }
    }

    /// Whether that changes anything.
    pub(super) fn resize(&mut self, slots: usize) -> bool {
        std::mem::replace(&mut self.slots, slots) != slots
    }

    /// The agent takes no more connections: its limit is shared by all processes
    /// of a host.
    pub(super) fn refused(&mut self, now: Moment) {
        if self.halvings == 0 || now.since(self.refused_at) >= ONE_REFUSAL {
            self.halvings = (self.halvings + 1).min(MOST_HALVINGS);
            self.refused_at = now;
        }
    }

    /// Whether that changes anything.
    pub(super) fn advance(&mut self, now: Moment) -> bool {
        let is_over = self.next_wakeup().is_some_and(|at| at <= now);
        if is_over {
            self.halvings = 0;
        }
        is_over
    }

    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        (self.halvings > 0).then(|| self.refused_at + HALVED_FOR)
    }

    fn now(&self) -> usize {
        (self.slots >> self.halvings).max(1)
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
        assert_eq!(Budget::new(38 * 240).singles(8), 6_834);
    }

    #[test]
    fn a_refused_connection_halves_the_budget_for_a_minute() {
        let at = |seconds: u64| Moment::default() + Duration::from_secs(1_000 + seconds);
        let mut budget = Budget::new(16);
        budget.refused(at(0));
        budget.refused(at(0));
        assert_eq!(budget.now(), 8);
        (1..9).for_each(|second| budget.refused(at(second)));
        assert_eq!(budget.now(), 2);
        assert!(!budget.advance(at(67)));
        assert_eq!(budget.now(), 2);
        assert!(budget.advance(at(68)));
        assert_eq!((budget.now(), budget.next_wakeup()), (16, None));
    }
}
