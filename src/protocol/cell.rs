//! The deadline until which ownership under one session is proven.

#[cfg(not(dsync_loom))]
use std::sync::atomic::AtomicU64;
use std::{sync::atomic::Ordering, time::Duration};

#[cfg(dsync_loom)]
use loom::sync::atomic::AtomicU64;

use crate::{clock::Moment, ownership::LossReason};

/// The deadline of one session generation, shared by all leases won under it.
///
/// Any thread checks it against the clock. The first check that finds the deadline
/// passed *latches* the cell: no later renewal revives it, and every later check
/// returns "not valid".
///
/// One atomic holds the deadline or the reason of the end, so all threads agree on the
/// order of its changes. Each change is a compare-exchange, so none overwrites a latch. No
/// other data is published through the cell, so nothing relies on more than that order;
/// acquire and release are stronger. `scripts/threads` plays all interleavings.
#[derive(Debug)]
pub(crate) struct DeadlineCell(AtomicU64);

/// Smaller numbers are not deadlines but the [`LossReason::code`] of the end.
const FIRST_DEADLINE: u64 = LossReason::ALL.len() as u64;

impl DeadlineCell {
    pub(crate) fn new(deadline: Moment) -> Self {
        Self(AtomicU64::new(deadline.as_nanos().max(FIRST_DEADLINE)))
    }

    /// Whether the deadline is in the future; latches the cell if it is not.
    pub(crate) fn is_valid(&self, now: Moment) -> bool {
        self.deadline(now).is_some()
    }

    /// The time left; zero once latched.
    pub(crate) fn remaining(&self, now: Moment) -> Duration {
        self.deadline(now).map_or(Duration::ZERO, |deadline| deadline.since(now))
    }

    /// The deadline if it is in the future; latches the cell if it is not.
    pub(crate) fn deadline(&self, now: Moment) -> Option<Moment> {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            if seen < FIRST_DEADLINE {
                return None;
            }
            if now.as_nanos() < seen {
                return Some(Moment::from_nanos(seen));
            }
            // Another thread may have extended the deadline: check again if so.
            let passed = LossReason::DeadlinePassed.code().into();
            match self.0.compare_exchange(seen, passed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return None,
                Err(newer) => seen = newer,
            }
        }
    }

    /// The deadline, even if it has passed; `None` once latched. Changes nothing.
    pub(crate) fn due(&self) -> Option<Moment> {
        let seen = self.0.load(Ordering::Acquire);
        (seen >= FIRST_DEADLINE).then(|| Moment::from_nanos(seen))
    }

    /// What [`is_valid`](Self::is_valid) would return, without latching the cell.
    #[cfg(test)]
    pub(crate) fn would_be_valid(&self, now: Moment) -> bool {
        self.due().is_some_and(|deadline| now < deadline)
    }

    /// Moves the deadline to `to` if that is later. Returns `false` if the cell is
    /// latched, or if the deadline has passed at `now`.
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

    /// Latches the cell at once, whatever the clock shows. The first reason stays.
    pub(crate) fn latch(&self, reason: LossReason) {
        let code = reason.code().into();
        // An error means that the cell was already latched.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |seen| {
            (seen >= FIRST_DEADLINE).then_some(code)
        });
    }

    /// The reason of the end, if the cell is latched.
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
mod tests;
