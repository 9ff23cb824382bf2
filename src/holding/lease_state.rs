//! The validity of one grant of a key, and its end.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures::future::{Either, select};
use tokio::sync::Notify;

use super::user_code::run_until;
use crate::{
    clock::Clock,
    key::Key,
    ownership::{LossReason, Lost},
    protocol::{cell::DeadlineCell, queue::CallId},
    token::FencingToken,
};

/// One grant of a key, shared by its owner and by the code that can end it.
#[derive(Debug)]
pub(crate) struct LeaseState {
    key: Key,
    token: FencingToken,
    call: CallId,
    cell: Arc<DeadlineCell>,
    clock: Clock,
    ended: AtomicU8,
    ending: Notify,
}

const RUNS: u8 = 0;
const REVOKED: u8 = 1;
const RETURNED: u8 = 2;
/// From here on, the number is a [`LossReason::code`] plus this.
const FIRST_REASON: u8 = 3;

/// How often a waiting future reads the clock: timers may be late after a suspend.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How often to check whether a nearly ended lease was renewed.
const RISE_PERIOD: Duration = Duration::from_millis(250);
/// The longest wait for the reason of a revoked lease.
const REASON_LIMIT: Duration = Duration::from_millis(500);

impl LeaseState {
    pub(crate) fn new(
        key: Key,
        token: FencingToken,
        call: CallId,
        cell: Arc<DeadlineCell>,
        clock: Clock,
    ) -> Self {
        let (ended, ending) = (AtomicU8::new(RUNS), Notify::new());
        Self { key, token, call, cell, clock, ended, ending }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn token(&self) -> FencingToken {
        self.token
    }

    pub(crate) fn call(&self) -> CallId {
        self.call
    }

    /// Whether its deadline is this one.
    #[cfg(test)]
    pub(crate) fn is_under(&self, cell: &Arc<DeadlineCell>) -> bool {
        Arc::ptr_eq(&self.cell, cell)
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.ended.load(Ordering::Acquire) == RUNS && self.cell.is_valid(self.clock.now())
    }

    /// Ends the lease by its owner's release.
    pub(crate) fn returned(&self) {
        self.end(RETURNED);
    }

    /// Ends the lease before the reason is known.
    pub(crate) fn revoke(&self) {
        self.end(REVOKED);
    }

    /// Ends the lease for `reason`.
    pub(crate) fn lose(&self, reason: LossReason) {
        self.end(FIRST_REASON + reason.code());
    }

    /// Keeps the first end, except that a revocation is replaced by the final end.
    fn end(&self, how: u8) {
        let updated = self.ended.fetch_update(Ordering::AcqRel, Ordering::Acquire, |ended| {
            (ended == RUNS || (ended == REVOKED && how != REVOKED)).then_some(how)
        });
        if updated.is_ok() {
            self.ending.notify_waiters();
        }
    }

    /// Why the lease was lost, if known.
    pub(crate) fn reason(&self) -> Option<LossReason> {
        match self.ended.load(Ordering::Acquire) {
            RUNS => self.cell.ended(),
            REVOKED | RETURNED => None,
            code => LossReason::of_code(code - FIRST_REASON),
        }
    }

    /// The time left if no further renewal succeeds.
    pub(crate) fn remaining(&self) -> Duration {
        if self.is_valid() { self.cell.remaining(self.clock.now()) } else { Duration::ZERO }
    }

    /// Completes when the lease is no longer valid, even if nothing signals it.
    pub(crate) async fn invalid(&self) {
        self.dips_to(Duration::ZERO).await;
    }

    /// Completes when no more than `left` remains, at the latest when the lease is no
    /// longer valid.
    pub(crate) async fn dips_to(&self, left: Duration) {
        let mut signal = pin!(self.signal_at(left));
        // After a stop or suspend, timers are late and something else may cause the next
        // poll. So each poll reads the clock.
        poll_fn(|cx| match signal.as_mut().poll(cx) {
            Poll::Pending if self.remaining() > left => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
    }

    /// Completes after a timer or an end shows that no more than `left` remains.
    async fn signal_at(&self, left: Duration) {
        loop {
            let ended = self.ending.notified();
            let mut ended = pin!(ended);
            ended.as_mut().enable();
            let remaining = self.remaining();
            if remaining <= left {
                return;
            }
            let pause = (remaining - left).min(LOOK_PERIOD);
            let _ = select(ended, pin!(tokio::time::sleep(pause))).await;
        }
    }

    /// Waits until more than `left` remains; returns `false` if the lease ends first.
    pub(crate) async fn rises_above(&self, left: Duration) -> bool {
        loop {
            let ended = self.ending.notified();
            let mut ended = pin!(ended);
            ended.as_mut().enable();
            let remaining = self.remaining();
            if remaining > left || remaining.is_zero() {
                return remaining > left;
            }
            // Nothing signals a renewal, so poll.
            let _ = select(ended, pin!(tokio::time::sleep(remaining.min(RISE_PERIOD)))).await;
        }
    }

    /// Completes when the lease is lost; never if it was released.
    pub(crate) async fn lost(&self) -> LossReason {
        match self.over().await {
            LossReason::Released => std::future::pending().await,
            reason => reason,
        }
    }

    /// Completes when the lease has ended, also by its release.
    pub(crate) async fn over(&self) -> LossReason {
        self.invalid().await;
        loop {
            let ended = self.ending.notified();
            let mut ended = pin!(ended);
            ended.as_mut().enable();
            if let Some(reason) = self.reason() {
                return reason;
            }
            if self.ended.load(Ordering::Acquire) == RETURNED {
                return LossReason::Released;
            }
            if let Either::Right(_) = select(ended, pin!(tokio::time::sleep(REASON_LIMIT))).await {
                return self.reason().unwrap_or(LossReason::ForceReleased);
            }
        }
    }

    /// Runs `work` until it completes or the lease is no longer valid.
    pub(crate) async fn run<F: Future>(&self, work: F) -> Result<F::Output, Lost> {
        if let Ok(output) = run_until(self.invalid(), work).await {
            return Ok(output);
        }
        Err(Lost { key: self.key.clone(), token: self.token, reason: self.over().await })
    }

    /// What [`is_valid`](Self::is_valid) would return, without latching the cell.
    #[cfg(test)]
    pub(crate) fn would_be_valid(&self) -> bool {
        self.ended.load(Ordering::Acquire) == RUNS && self.cell.would_be_valid(self.clock.now())
    }
}

#[cfg(test)]
mod tests;
