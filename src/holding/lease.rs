//! What a caller holds: its exclusive ownership of a key, while it lasts.

use std::{
    fmt,
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
    holding::{callers::Callers, keep_alive::KeepAlive},
    key::Key,
    ownership::{LossReason, Lost, Released},
    protocol::{cell::DeadlineCell, queue::CallId},
    token::FencingToken,
};

/// One caller's exclusive ownership of a key.
///
/// Nobody else, in this process or another, has the lock while
/// [`is_valid`](Lease::is_valid) says true. It is judged by a monotonic clock at
/// the moment of the question and needs neither the network nor the runtime's
/// thread: it turns false before Consul can give the lock to anybody else, also
/// when the network is silent, Consul is frozen, or this process was stopped and
/// continued. Once false it stays false.
///
/// What it cannot do is stop a write that is already on its way. Hand
/// [`token`](Lease::token) to the protected resource and let that refuse older
/// tokens; without such a check a lock is advisory.
///
/// It keeps the runtime running, also when every [`Dsync`](crate::Dsync) has been
/// dropped.
///
/// Dropping a lease gives the lock back, without blocking and without a
/// confirmation; send [`Release`](crate::Release) to know. A lease is not
/// re-entrant: a second `Acquire` by its owner waits for the first to end.
pub struct Lease {
    state: Arc<LeaseState>,
    /// Where it is given back to; none once that was done.
    callers: Option<Arc<Callers>>,
    keep_alive: Option<Arc<KeepAlive>>,
}

/// The part of a lease that those who end it share.
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
const FIRST_REASON: u8 = 3;
/// The ways in which it can end other than by its owner's release.
const REASONS: [LossReason; 8] = [
    LossReason::DeadlinePassed,
    LossReason::SessionGone,
    LossReason::KeyDeleted,
    LossReason::ForceReleased,
    LossReason::StoreReplaced,
    LossReason::RuntimeFailed,
    LossReason::Shutdown,
    LossReason::Resigned,
];

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
        let place = REASONS.iter().position(|known| *known == reason).unwrap_or(0);
        self.end(FIRST_REASON + u8::try_from(place).unwrap_or(0));
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
    fn reason(&self) -> Option<LossReason> {
        match self.ended.load(Ordering::Acquire) {
            RUNS => self.cell.ended(),
            REVOKED | RETURNED => None,
            code => REASONS.get(usize::from(code - FIRST_REASON)).copied(),
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
        Err(Lost { token: self.token, reason: self.lost().await })
    }

    /// Whether [`is_valid`](Self::is_valid) would say true, without changing
    /// anything by the question.
    #[cfg(test)]
    pub(crate) fn would_be_valid(&self) -> bool {
        self.ended.load(Ordering::Acquire) == RUNS && self.cell.would_be_valid(self.clock.now())
    }
}

impl Lease {
    pub(crate) fn new(state: Arc<LeaseState>, callers: Arc<Callers>) -> Self {
        Self { state, callers: Some(callers), keep_alive: None }
    }

    /// Keeps the runtime running while the lease is out.
    pub(crate) fn keeping(mut self, keep_alive: Arc<KeepAlive>) -> Self {
        self.keep_alive = Some(keep_alive);
        self
    }

    /// The part of it that may be looked at elsewhere.
    #[cfg(feature = "web")]
    pub(crate) fn state(&self) -> &Arc<LeaseState> {
        &self.state
    }

    /// The key that is owned.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.state.key
    }

    /// The number that orders this ownership among all of its key.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.state.token
    }

    /// Whether the lock is still owned, judged by the clock at this moment.
    ///
    /// It costs one reading of the clock, sends no message and may be asked from
    /// any thread. Ask it last before an act that cannot be fenced by the token.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.state.is_valid()
    }

    /// For how long the lock stays owned at least as far as the clock goes, if
    /// no further renewal is answered; zero once it is lost. While Consul can be
    /// reached this grows again with every renewal.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.state.remaining()
    }

    /// Waits until the lease is lost, and says why. It never ends for a lease
    /// that is given back.
    ///
    /// It holds a timer of its own for the deadline in the runtime that polls
    /// it, so it ends in time even if the lock runtime's thread is stuck.
    ///
    /// # Panics
    /// When it is polled outside a tokio (or actix) runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let state = self.state.clone();
        async move { state.lost().await }
    }

    /// Runs `work` while the lease lasts, and drops it at the moment of loss.
    ///
    /// The lease is looked at before each time that `work` is polled, and a
    /// timer ends it at the deadline. A result that was ready is returned even
    /// if the lease ended while it was being made.
    ///
    /// # Errors
    /// [`Lost`] if the lease was lost first. `work` may have got anywhere, and
    /// what it sent may still arrive: that is what the token is for.
    ///
    /// # Panics
    /// When it is polled outside a tokio (or actix) runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future drops `work`; the lease stays with its owner.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Lost> {
        self.state.run(work).await
    }

    /// As [`LeaseState::would_be_valid`].
    #[cfg(test)]
    pub(crate) fn would_be_valid(&self) -> bool {
        self.state.would_be_valid()
    }

    /// Gives the lock back with this call; the future is how that went.
    pub(crate) fn give_back(mut self) -> impl Future<Output = Released> + Send + use<> {
        let confirmed = self.callers.take().map(|callers| callers.release(self.state.call));
        let state = self.state.clone();
        async move {
            if let Some(confirmed) = confirmed
                && let Ok(released) = confirmed.await
            {
                return released;
            }
            Released::AlreadyLost(state.reason().unwrap_or(LossReason::RuntimeFailed))
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(callers) = self.callers.take() {
            callers.end(self.state.call);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", &self.state.key)
            .field("token", &self.state.token)
            .field("valid", &self.is_valid())
            .finish_non_exhaustive()
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
