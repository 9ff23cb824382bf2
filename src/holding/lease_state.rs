//! Whether one grant of a key still holds, and how it ended.

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

use crate::{
    clock::Clock,
    key::Key,
    ownership::{LossReason, Lost},
    protocol::{cell::DeadlineCell, queue::CallId},
    token::FencingToken,
};

/// One grant of a key, shared by those who hold it and those who can end it.
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
/// From here on the number is a [`LossReason::code`].
const FIRST_REASON: u8 = 3;

/// How often a waiting future looks at the clock itself: timers may be late
/// after the machine was suspended.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How often it is looked whether a lease was renewed that had nearly ended.
const RISE_PERIOD: Duration = Duration::from_millis(250);
/// How long the reason of a revoked lease is waited for, at most.
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

    pub(crate) fn is_valid(&self) -> bool {
        self.ended.load(Ordering::Acquire) == RUNS && self.cell.is_valid(self.clock.now())
    }

    /// Ends it by its owner's own act.
    pub(crate) fn returned(&self) {
        self.end(RETURNED);
    }

    /// Ends it before the reason is known.
    pub(crate) fn revoke(&self) {
        self.end(REVOKED);
    }

    /// Ends it for that reason.
    pub(crate) fn lose(&self, reason: LossReason) {
        self.end(FIRST_REASON + reason.code());
    }

    /// An end is only ever replaced by one that tells more.
    fn end(&self, how: u8) {
        let told = self.ended.fetch_update(Ordering::AcqRel, Ordering::Acquire, |ended| {
            (ended == RUNS || (ended == REVOKED && how != REVOKED)).then_some(how)
        });
        if told.is_ok() {
            self.ending.notify_waiters();
        }
    }

    /// Why it was lost, where that is known by now.
    pub(crate) fn reason(&self) -> Option<LossReason> {
        match self.ended.load(Ordering::Acquire) {
            RUNS => self.cell.ended(),
            REVOKED | RETURNED => None,
            code => LossReason::of_code(code - FIRST_REASON),
        }
    }

    /// The time left if no further renewal is answered.
    pub(crate) fn remaining(&self) -> Duration {
        if self.is_valid() { self.cell.remaining(self.clock.now()) } else { Duration::ZERO }
    }

    /// Ends when the lease is no longer valid, also if nobody says so.
    pub(crate) async fn invalid(&self) {
        self.dips_to(Duration::ZERO).await;
    }

    /// Ends when no more than `left` remains, at the latest when the lease is no
    /// longer valid.
    pub(crate) async fn dips_to(&self, left: Duration) {
        let mut told = pin!(self.told_of_dip_to(left));
        // Timers are behind the clock after the process was stopped or suspended, and
        // whatever wakes first would go on: so each poll asks the clock itself.
        poll_fn(|cx| match told.as_mut().poll(cx) {
            Poll::Pending if self.remaining() > left => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
    }

    async fn told_of_dip_to(&self, left: Duration) {
        loop {
            let told = self.ending.notified();
            let mut told = pin!(told);
            told.as_mut().enable();
            let remaining = self.remaining();
            if remaining <= left {
                return;
            }
            let pause = (remaining - left).min(LOOK_PERIOD);
            let _ = select(told, pin!(tokio::time::sleep(pause))).await;
        }
    }

    /// Waits until more than `left` remains; false if the lease ended instead.
    pub(crate) async fn rises_above(&self, left: Duration) -> bool {
        loop {
            let told = self.ending.notified();
            let mut told = pin!(told);
            told.as_mut().enable();
            let remaining = self.remaining();
            if remaining > left || remaining.is_zero() {
                return remaining > left;
            }
            // Nobody tells of a renewal.
            let _ = select(told, pin!(tokio::time::sleep(remaining.min(RISE_PERIOD)))).await;
        }
    }

    /// Ends when the lease is lost; never if it was given back.
    pub(crate) async fn lost(&self) -> LossReason {
        self.invalid().await;
        loop {
            let told = self.ending.notified();
            let mut told = pin!(told);
            told.as_mut().enable();
            if let Some(reason) = self.reason() {
                return reason;
            }
            if self.ended.load(Ordering::Acquire) == RETURNED {
                return std::future::pending().await;
            }
            if let Either::Right(_) = select(told, pin!(tokio::time::sleep(REASON_LIMIT))).await {
                return self.reason().unwrap_or(LossReason::ForceReleased);
            }
        }
    }

    /// Runs `work` until it is done or the lease is no longer valid.
    pub(crate) async fn run<F: Future>(&self, work: F) -> Result<F::Output, Lost> {
        {
            let invalid = pin!(self.invalid());
            let work = pin!(work);
            // The first is polled first.
            if let Either::Right((output, _)) = select(invalid, work).await {
                return Ok(output);
            }
        }
        Err(Lost { key: self.key.clone(), token: self.token, reason: self.lost().await })
    }

    /// Whether [`is_valid`](Self::is_valid) would say true, without changing
    /// anything by the question.
    #[cfg(test)]
    pub(crate) fn would_be_valid(&self) -> bool {
        self.ended.load(Ordering::Acquire) == RUNS && self.cell.would_be_valid(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::clock::Moment;

    /// As after a suspend, which the clock counts and no timer does.
    #[tokio::test(start_paused = true)]
    async fn work_that_is_woken_when_its_lease_is_over_is_not_polled_although_no_timer_has_fired() {
        let nanos: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(1_000)));
        let cell = Arc::new(DeadlineCell::new(Moment::from_nanos(10_000_000_000)));
        let (key, token) = (Key::new("k").unwrap(), FencingToken::new(7, 0).unwrap());
        let lease = LeaseState::new(key, token, CallId(1), cell, Clock::Simulated(nanos));
        let (wake, polls) = (Notify::new(), AtomicU8::new(0));
        let work = async {
            loop {
                polls.fetch_add(1, Ordering::Relaxed);
                wake.notified().await;
            }
        };
        let mut run = pin!(lease.run(work));
        for polled in 1..=2 {
            wake.notify_one();
            assert!(futures::poll!(run.as_mut()).is_pending());
            assert_eq!(polls.load(Ordering::Relaxed), polled + 1);
        }
        nanos.store(10_000_000_000, Ordering::Relaxed);
        wake.notify_one();
        let Poll::Ready(Err(lost)) = futures::poll!(run) else { panic!("it goes on") };
        assert_eq!((lost.reason, polls.load(Ordering::Relaxed)), (LossReason::DeadlinePassed, 3));
    }
}
