//! Writes by the callers that own the key.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    Callers, Inner,
    writes::{Content, WriteAnswer, not_held},
};
use crate::{consul::fact::Written, error::Error, holding::lease_state::LeaseState};

impl Callers {
    /// Adds a write under the lease, which is answered through the channel.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the lease has ended; [`Error::TooManyWaiters`] if `limit`
    /// writes are in line.
    pub(crate) fn write(
        self: &Arc<Self>,
        under: &Arc<LeaseState>,
        content: Content,
        limit: usize,
    ) -> Result<oneshot::Receiver<WriteAnswer>, Error> {
        let mut inner = self.lock();
        if !inner.is_current(under) {
            return Err(not_held(under));
        }
        if inner.writes.in_line() >= limit {
            return Err(Error::TooManyWaiters { key: self.key.clone(), limit });
        }
        let answer = inner.writes.add(under.clone(), content);
        drop(inner);
        self.poke();
        Ok(answer)
    }

    /// A write relies on `under`, beside the ownership of another key: from here on, this
    /// ownership is not handed over within the process.
    ///
    /// # Errors
    /// [`Error::NotHeld`].
    pub(crate) fn rely_on(self: &Arc<Self>, under: &Arc<LeaseState>) -> Result<(), Error> {
        let mut inner = self.lock();
        if !inner.is_current(under) {
            return Err(not_held(under));
        }
        inner.contest.write_sent();
        Ok(())
    }

    /// The content of the write to send; `None` if its lease has ended meanwhile.
    ///
    /// From here on, the ownership is not handed over within the process.
    pub(crate) fn begin_write(self: &Arc<Self>) -> Option<Content> {
        self.step_and_answer(|inner, _, _, answers| {
            let pending = inner.writes.next()?;
            if !inner.is_current(&pending.under) {
                pending.refused(answers);
                return None;
            }
            inner.contest.write_sent();
            Some(inner.writes.begin(pending))
        })
    }

    /// The current write has this outcome. Returns the key's new value, if the write
    /// updated it.
    pub(crate) fn wrote(self: &Arc<Self>, outcome: Written) -> Option<Arc<[u8]>> {
        self.step_and_answer(|inner, now, effects, answers| {
            let (under, value) = inner.writes.conclude(outcome, answers)?;
            if inner.is_owned(&under) {
                inner.contest.value_written(now, value.clone(), effects);
            }
            Some(value)
        })
    }
}

impl Inner {
    /// Whether this is the current lease, and still valid.
    fn is_current(&self, lease: &Arc<LeaseState>) -> bool {
        self.is_owned(lease) && lease.is_valid()
    }

    fn is_owned(&self, lease: &Arc<LeaseState>) -> bool {
        self.lease.as_ref().is_some_and(|(_, current)| Arc::ptr_eq(current, lease))
    }
}
