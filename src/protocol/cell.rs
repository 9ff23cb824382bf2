//! Until when ownership under one session is proven.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{clock::Moment, ownership::LossReason};

/// The deadline of one session generation, shared by all leases won under it.
///
/// It is judged by whoever asks, on any thread, against the clock of that
/// moment. Once anybody has seen it passed it is *latched*: no later renewal
/// revives it, and every answer from then on is "not valid".
#[derive(Debug)]
pub(crate) struct DeadlineCell(AtomicU64);

/// Below this the number is no deadline but the [`LossReason::code`] of its end.
const FIRST_DEADLINE: u64 = LossReason::ALL.len() as u64;

impl DeadlineCell {
    pub(crate) fn new(deadline: Moment) -> Self {
        Self(AtomicU64::new(deadline.as_nanos().max(FIRST_DEADLINE)))
    }

    /// Whether the deadline lies ahead; latches the cell if it does not.
    pub(crate) fn is_valid(&self, now: Moment) -> bool {
        self.deadline(now).is_some()
    }

    /// The time left; zero once latched.
    pub(crate) fn remaining(&self, now: Moment) -> Duration {
        self.deadline(now).map_or(Duration::ZERO, |deadline| deadline.since(now))
    }

    /// The deadline, if it lies ahead; latches the cell if it does not.
    pub(crate) fn deadline(&self, now: Moment) -> Option<Moment> {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            if seen < FIRST_DEADLINE {
                return None;
            }
            if now.as_nanos() < seen {
                return Some(Moment::from_nanos(seen));
            }
            // Somebody may have extended it since: judge what is there now.
            let passed = LossReason::DeadlinePassed.code().into();
            match self.0.compare_exchange(seen, passed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return None,
                Err(newer) => seen = newer,
            }
        }
    }

    /// Whether [`is_valid`](Self::is_valid) would say true, without latching.
    #[cfg(test)]
    pub(crate) fn would_be_valid(&self, now: Moment) -> bool {
        let seen = self.0.load(Ordering::Acquire);
        seen >= FIRST_DEADLINE && now.as_nanos() < seen
    }

    /// Moves the deadline to `to` if that is later; false if the cell is latched,
    /// or is found passed at `now`.
    pub(crate) fn extend(&self, now: Moment, to: Moment) -> bool {
        #[cfg(test)]
        if super::mutation::Mutation::CellRevived.is_chosen() {
            self.0.store(to.as_nanos(), Ordering::Release);
            return true;
        }
        while let Some(current) = self.deadline(now) {
            if to <= current {
                return true;
            }
            let (old, new) = (current.as_nanos(), to.as_nanos());
            if self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return true;
            }
        }
        false
    }

    /// Ends it at once, whatever the clock says; the first reason stays.
    pub(crate) fn latch(&self, reason: LossReason) {
        let code = reason.code().into();
        // Whether it was latched before or is now, there is nothing left to do.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |seen| {
            (seen >= FIRST_DEADLINE).then_some(code)
        });
    }

    /// Why there is no deadline any more, if there is none.
    pub(crate) fn ended(&self) -> Option<LossReason> {
        let seen = self.0.load(Ordering::Acquire);
        u8::try_from(seen).ok().and_then(LossReason::of_code)
    }
}

#[cfg(test)]
impl PartialEq for DeadlineCell {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    #[test]
    fn a_passed_deadline_stays_passed_whatever_is_renewed_or_asked_later() {
        let cell = DeadlineCell::new(at(100));
        assert!(cell.is_valid(at(90)));
        assert!(!cell.is_valid(at(100)));
        assert!(!cell.is_valid(at(90)), "not even for an earlier moment");
        assert!(!cell.extend(at(90), at(1000)));
        assert_eq!(cell.remaining(at(1)), Duration::ZERO);
        assert_eq!(cell.ended(), Some(LossReason::DeadlinePassed));
    }

    #[test]
    fn the_first_reason_stays() {
        let cell = DeadlineCell::new(at(100));
        assert_eq!(cell.ended(), None);
        cell.latch(LossReason::SessionGone);
        cell.latch(LossReason::Shutdown);
        assert!(!cell.is_valid(at(1)));
        assert_eq!(cell.ended(), Some(LossReason::SessionGone));
    }

    #[test]
    fn a_renewal_that_comes_after_the_deadline_does_not_extend_it() {
        let cell = DeadlineCell::new(at(100));
        assert!(!cell.extend(at(110), at(1000)));
        assert!(!cell.is_valid(at(1)));
    }

    #[test]
    fn the_latest_deadline_wins_in_whatever_order_renewals_are_answered() {
        let cell = DeadlineCell::new(at(100));
        assert!(cell.extend(at(1), at(300)));
        assert!(cell.extend(at(2), at(200)));
        assert_eq!(cell.deadline(at(2)), Some(at(300)));
    }
}
