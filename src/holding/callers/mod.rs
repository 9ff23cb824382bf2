//! The callers of one key: their contest, behind a mutex, and their reply channels.

#[cfg(test)]
mod anatomy;
mod glance;
mod grant;
mod inner;
mod outline;
mod standing;
mod writes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::Shared;
use tokio::sync::{Notify, oneshot};

pub(crate) use self::{
    grant::Grant,
    outline::Outline,
    writes::{Content, WriteAnswer},
};
use self::{
    inner::{Delivery, Inner, Waiting},
    writes::Answers,
};
use crate::{
    clock::{Clock, Moment},
    error::Error,
    key::Key,
    ownership::{Holder, LossReason, Released},
    protocol::{
        cell::DeadlineCell,
        contest::{Effect, News},
        gather::{InLine, SetId},
        queue::{CallId, Demand, HandOver, Obstacle, Patience},
    },
    status::telemetry::Telemetry,
    token::{Era, FencingToken},
};

/// The reply that a caller waits for.
pub(crate) type Answer = Result<Grant, Error>;

/// The outcome of a resigned term's release, for everybody who waits for it.
pub(crate) type SharedRelease = Shared<oneshot::Receiver<Released>>;

/// What a waiting caller holds: a key, and the token of its lease or term.
pub(crate) type Held = (Key, FencingToken);

/// The contest for one key, and the reply channels of its callers. The handle, the
/// lock's actor and the leases share it.
///
/// Only [`report`](Callers::report) takes news. It preserves the order of events,
/// whichever threads they happened on.
///
/// Replies are sent, and grants dropped, only while the mutex is free: dropping a
/// grant whose caller is gone locks it again.
pub(crate) struct Callers {
    key: Key,
    clock: Clock,
    telemetry: Telemetry,
    inner: Mutex<Inner>,
    /// Wakes the lock's current actor.
    poke: Notify,
}

impl Callers {
    pub(crate) fn new(
        key: Key,
        clock: Clock,
        era: Era,
        telemetry: Telemetry,
        hand_over: HandOver,
    ) -> Self {
        let inner = Mutex::new(Inner::new(era, hand_over));
        Self { key, clock, telemetry, inner, poke: Notify::new() }
    }

    /// Queues a caller, which is answered through the channel.
    ///
    /// # Errors
    /// [`Error::TooManyWaiters`] if `limit` callers already wait; [`Error::Stopped`].
    pub(crate) fn enter(
        self: &Arc<Self>,
        patience: Patience,
        value: Arc<[u8]>,
        limit: usize,
    ) -> Result<(CallId, oneshot::Receiver<Answer>), Error> {
        let (answer, receiver) = oneshot::channel();
        let call = self.step(|inner, now, effects| {
            if inner.contest.is_stopped() {
                return Err(Error::Stopped);
            }
            if inner.contest.queue().waiting() >= limit {
                return Err(Error::TooManyWaiters { key: self.key.clone(), limit });
            }
            let call = inner.contest.enter(now, patience, effects);
            let wait = self.telemetry.waits(&self.key);
            let (since, reported, holding) = (now, false, Box::default());
            let waiting = Waiting { answer, value, wait, since, reported, holding };
            inner.waiting.insert(call, waiting);
            Ok(call)
        })?;
        Ok((call, receiver))
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Publishes all news in order, then returns the callers' demand.
    pub(crate) fn report(self: &Arc<Self>, mut publish: impl FnMut(News)) -> Demand {
        loop {
            match self.step(Inner::report) {
                Ok(demand) => return demand,
                Err(news) => publish(news),
            }
        }
    }

    /// When [`report`](Self::report) is due without an event.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        self.lock().contest.next_wakeup()
    }

    /// The last read shows that nobody holds the key.
    pub(crate) fn free(self: &Arc<Self>) {
        self.step(|inner, now, effects| inner.contest.free(now, effects));
    }

    /// The caller stops waiting.
    pub(crate) fn leave(self: &Arc<Self>, call: CallId) {
        self.step(|inner, now, effects| {
            inner.waiting.remove(&call);
            inner.contest.leave(now, call, effects);
        });
    }

    /// The caller's lease was dropped.
    fn end(self: &Arc<Self>, call: CallId) {
        self.step(|inner, now, effects| inner.contest.end(now, call, false, effects));
    }

    /// The caller releases its lease and waits for the confirmation.
    fn release(self: &Arc<Self>, call: CallId) -> oneshot::Receiver<Released> {
        let (sender, receiver) = oneshot::channel();
        self.step(|inner, now, effects| {
            match inner.lease.as_ref().filter(|(leased, _)| *leased == call) {
                Some(_) => {
                    inner.releasing.insert(call, sender);
                    inner.contest.end(now, call, true, effects);
                }
                // The loss was already reported; the lease knows the reason.
                None => drop(sender),
            }
        });
        receiver
    }

    /// Completes if something has changed since the last call.
    pub(crate) async fn poked(&self) {
        self.poke.notified().await;
    }

    /// Makes [`poked`](Self::poked) complete.
    pub(crate) fn poke(&self) {
        self.poke.notify_one();
    }

    /// Whether the runtime is shutting down.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().contest.is_stopped()
    }

    /// Whether nobody waits for, owns, releases or follows the key.
    pub(crate) fn is_vacant(&self) -> bool {
        self.lock().contest.is_vacant()
    }

    /// Why the key could not be acquired so far.
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        self.lock().contest.queue().obstacle().cloned()
    }

    /// The token of the current lease.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        self.lock().contest.queue().token()
    }

    /// The index at which a caller was last granted the key under the current
    /// session; 0 if none was.
    pub(crate) fn last_index(&self) -> u64 {
        self.lock().contest.last_index()
    }

    /// The key's value while this process leads.
    pub(crate) fn campaign_value(&self) -> Arc<[u8]> {
        self.lock().campaign_value.clone()
    }

    /// The waiting callers, up to the first that wants the key alone.
    pub(crate) fn line(&self) -> Vec<InLine> {
        self.lock().contest.queue().line().up_to_alone()
    }

    /// The call of a set that waits for the key.
    pub(crate) fn call_of(&self, set: SetId) -> Option<CallId> {
        self.lock().contest.queue().line().call_of(set)
    }

    /// The key's value for the first caller in the queue that wants the key alone.
    pub(crate) fn value(&self) -> Option<Arc<[u8]>> {
        let inner = self.lock();
        let call = inner.contest.queue().line().front()?;
        if inner.contest.election().is_caller(call) {
            return Some(inner.campaign_value.clone());
        }
        inner.waiting.get(&call).map(|waiting| waiting.value.clone())
    }

    /// The process owns the key, for a set if `set` is given. Returns the token if a
    /// caller took the ownership.
    pub(crate) fn owned(
        self: &Arc<Self>,
        index: u64,
        cell: Arc<DeadlineCell>,
        holder: Box<Holder>,
        set: Option<SetId>,
    ) -> Option<FencingToken> {
        self.step(|inner, now, effects| inner.contest.owned(now, index, cell, holder, set, effects))
    }

    /// The ownership has ended; its reason is still unknown.
    pub(crate) fn revoke(self: &Arc<Self>) {
        self.step(|inner, now, effects| inner.contest.revoke(now, effects));
    }

    /// The ownership has ended, other than by release.
    pub(crate) fn lost(self: &Arc<Self>, reason: LossReason) {
        self.step(|inner, now, effects| inner.contest.lost(now, reason, effects));
    }

    /// Consul has confirmed the release.
    pub(crate) fn released(self: &Arc<Self>) {
        self.step(|inner, now, effects| inner.contest.released(now, effects));
    }

    /// An obstacle prevents the acquisition for now.
    pub(crate) fn obstructed(self: &Arc<Self>, obstacle: Obstacle) {
        self.step(|inner, now, effects| {
            inner.times.obstructed(now, &obstacle);
            inner.contest.obstructed(now, obstacle, effects);
        });
    }

    /// The key cannot be acquired, however long a caller waits.
    pub(crate) fn failed(self: &Arc<Self>, obstacle: &Obstacle) {
        self.step(|inner, now, effects| {
            inner.times.failed(obstacle);
            inner.contest.failed(now, obstacle, effects);
        });
    }

    /// Stops granting the key; the current lease is lost.
    pub(crate) fn stop(self: &Arc<Self>) {
        self.step(|inner, now, effects| inner.contest.stop(now, effects));
    }

    /// The runtime has ended: nothing is granted or confirmed any more.
    pub(crate) fn abandon(self: &Arc<Self>, reason: LossReason) {
        self.step_and_answer(|inner, now, effects, answers| {
            inner.writes.abandon(answers);
            inner.contest.abandon(now, reason, effects);
        });
    }

    /// Ignores poisoning: each step is one call of the machine, so a panic in another
    /// thread leaves the contest consistent.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step<T>(
        self: &Arc<Self>,
        step: impl FnOnce(&mut Inner, Moment, &mut Vec<Effect>) -> T,
    ) -> T {
        self.step_and_answer(|inner, now, effects, _| step(inner, now, effects))
    }

    /// Like [`step`](Self::step), for a step that also answers writes.
    fn step_and_answer<T>(
        self: &Arc<Self>,
        step: impl FnOnce(&mut Inner, Moment, &mut Vec<Effect>, &mut Answers) -> T,
    ) -> T {
        let mut effects = Vec::new();
        let mut answers = Vec::new();
        let mut deliveries = Vec::new();
        let result = {
            let mut inner = self.lock();
            let result = step(&mut inner, self.clock.now(), &mut effects, &mut answers);
            for effect in effects {
                self.perform(&mut inner, effect, &mut deliveries, &mut answers);
            }
            inner.show();
            result
        };
        for (sender, answer) in answers {
            // The caller may be gone.
            let _ = sender.send(answer);
        }
        for delivery in deliveries {
            match delivery {
                // If the caller is gone, its grant is dropped here, which releases the key.
                Delivery::Answer(sender, answer) => drop(sender.send(answer)),
                Delivery::Confirmation(sender, released) => drop(sender.send(released)),
            }
        }
        result
    }
}

impl std::fmt::Debug for Callers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callers").field("key", &self.key).finish_non_exhaustive()
    }
}
