//! The callers of one key: their queue, shared by handle, actor and leases.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use crate::{
    clock::Clock,
    error::Error,
    key::Key,
    lease::{Lease, LeaseState},
    ownership::{Holder, LossReason, Released},
    protocol::{
        cell::DeadlineCell,
        queue::{CallId, Demand, Effect, End, Obstacle, Patience, Queue},
    },
    token::FencingToken,
};

/// What a caller waits for.
pub(crate) type Answer = Result<Lease, Error>;

/// The queue machine of one key behind a mutex, with the callers' channels.
///
/// Nothing is delivered, and no lease dropped, while the mutex is held: a lease
/// that finds its caller gone comes back here.
pub(crate) struct Callers {
    key: Key,
    clock: Clock,
    inner: Mutex<Inner>,
    /// Wakes the lock's actor, whichever it is.
    poke: Notify,
}

#[derive(Default)]
struct Inner {
    queue: Queue,
    waiting: HashMap<CallId, Waiting>,
    /// The lease that is out, if any.
    lease: Option<(CallId, Arc<LeaseState>)>,
    /// Callers that wait for the confirmation of their release.
    releasing: HashMap<CallId, oneshot::Sender<Released>>,
    cell: Option<Arc<DeadlineCell>>,
    stopped: bool,
}

struct Waiting {
    answer: oneshot::Sender<Answer>,
    value: Arc<[u8]>,
}

/// The callers of a key, for people.
#[derive(Debug)]
pub(crate) struct Outline {
    /// The token of the lease that is out, and how long it stays valid as far as
    /// the clock goes.
    pub(crate) lease: Option<(FencingToken, Duration)>,
    /// A lease is out that is not valid any more.
    pub(crate) is_lost: bool,
    /// This process, while it owns the key.
    pub(crate) owner: Option<Holder>,
    pub(crate) waiting: usize,
    /// Why the key could not be had so far.
    pub(crate) obstacle: Option<Obstacle>,
}

/// What is to be sent once the mutex is free.
enum Delivery {
    Answer(oneshot::Sender<Answer>, Answer),
    Confirmation(oneshot::Sender<Released>, Released),
}

impl Callers {
    pub(crate) fn new(key: Key, clock: Clock) -> Self {
        Self { key, clock, inner: Mutex::default(), poke: Notify::new() }
    }

    /// Asks for the key. The answer comes over the channel.
    ///
    /// # Errors
    /// [`Error::TooManyWaiters`] beyond `limit`; [`Error::Stopped`].
    pub(crate) fn enter(
        self: &Arc<Self>,
        patience: Patience,
        value: Arc<[u8]>,
        limit: usize,
    ) -> Result<(CallId, oneshot::Receiver<Answer>), Error> {
        let (answer, receiver) = oneshot::channel();
        let call = self.work(|inner, effects| {
            if inner.stopped {
                return Err(Error::Stopped);
            }
            if inner.queue.waiting() >= limit {
                return Err(Error::TooManyWaiters { limit });
            }
            let call = inner.queue.enter(patience, effects);
            inner.waiting.insert(call, Waiting { answer, value });
            Ok(call)
        })?;
        Ok((call, receiver))
    }

    /// The caller waits no longer.
    pub(crate) fn leave(self: &Arc<Self>, call: CallId) {
        self.work(|inner, effects| {
            inner.waiting.remove(&call);
            inner.queue.leave(call, effects);
        });
    }

    /// The caller's lease is dropped.
    pub(crate) fn end(self: &Arc<Self>, call: CallId) {
        let now = self.clock.now();
        self.work(|inner, effects| inner.queue.end(now, call, false, effects));
    }

    /// The caller gives its lease back and waits for the confirmation.
    pub(crate) fn release(self: &Arc<Self>, call: CallId) -> oneshot::Receiver<Released> {
        let (sender, receiver) = oneshot::channel();
        let now = self.clock.now();
        self.work(|inner, effects| {
            match inner.lease.as_ref().filter(|(leased, _)| *leased == call) {
                Some(_) => {
                    inner.releasing.insert(call, sender);
                    inner.queue.end(now, call, true, effects);
                }
                // Lost and told before: the lease says why.
                None => drop(sender),
            }
        });
        receiver
    }

    /// Wakes when something has changed since it was last called.
    pub(crate) async fn poked(&self) {
        self.poke.notified().await;
    }

    /// Makes [`poked`](Self::poked) wake.
    pub(crate) fn poke(&self) {
        self.poke.notify_one();
    }

    /// What the callers want.
    pub(crate) fn demand(&self) -> Demand {
        self.lock().queue.demand()
    }

    /// Whether nobody waits for, has or releases the key.
    pub(crate) fn is_vacant(&self) -> bool {
        self.lock().queue.is_vacant()
    }

    /// Why the key could not be had so far.
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        self.lock().queue.obstacle().cloned()
    }

    /// The token of the lease that is out, if one is.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        self.lock().queue.token()
    }

    /// How many callers wait.
    #[cfg(feature = "metrics")]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().queue.waiting()
    }

    /// What can be told of the callers at this moment.
    pub(crate) fn outline(&self) -> Outline {
        let inner = self.lock();
        let lease = inner.lease.as_ref().filter(|(_, state)| state.is_valid());
        Outline {
            is_lost: lease.is_none() && inner.lease.is_some(),
            lease: lease.map(|(_, state)| (state.token(), state.remaining())),
            owner: inner.queue.holder().cloned(),
            waiting: inner.queue.waiting(),
            obstacle: inner.queue.obstacle().cloned(),
        }
    }

    /// The index at which a caller was last granted the key, if that was under
    /// the present session.
    pub(crate) fn last_index(&self) -> u64 {
        let inner = self.lock();
        let present = inner.cell.as_ref().is_some_and(|cell| cell.ended().is_none());
        if present { inner.queue.last_index() } else { 0 }
    }

    /// What the first in the queue wants the key to say.
    pub(crate) fn value(&self) -> Option<Arc<[u8]>> {
        let inner = self.lock();
        let call = inner.queue.front()?;
        inner.waiting.get(&call).map(|waiting| waiting.value.clone())
    }

    /// The process owns the key. Returns the token, if a caller took it.
    pub(crate) fn owned(
        self: &Arc<Self>,
        index: u64,
        cell: Arc<DeadlineCell>,
        holder: Box<Holder>,
    ) -> Option<FencingToken> {
        let now = self.clock.now();
        self.work(|inner, effects| {
            inner.cell = Some(cell.clone());
            inner.queue.owned(now, index, cell, holder, effects).then(|| inner.queue.token())?
        })
    }

    /// The ownership is over; why is still being asked.
    pub(crate) fn revoke(self: &Arc<Self>) {
        self.work(|inner, effects| inner.queue.revoke(effects));
    }

    /// The ownership is over, other than by release.
    pub(crate) fn lost(self: &Arc<Self>, reason: LossReason) -> Option<End> {
        self.work(|inner, effects| inner.queue.lost(reason, effects))
    }

    /// Consul has the key back.
    pub(crate) fn released(self: &Arc<Self>) -> Option<End> {
        self.work(|inner, effects| inner.queue.released(effects))
    }

    /// Something stands in the way.
    pub(crate) fn obstructed(self: &Arc<Self>, obstacle: Obstacle) {
        self.work(|inner, effects| inner.queue.obstructed(obstacle, effects));
    }

    /// The key cannot be had.
    pub(crate) fn failed(self: &Arc<Self>, error: Error) {
        self.work(|inner, effects| inner.queue.failed(error, effects));
    }

    /// Nobody is granted anything any more, and a lease that is out is lost.
    /// Returns its token.
    pub(crate) fn stop(self: &Arc<Self>) -> Option<FencingToken> {
        self.work(|inner, effects| {
            inner.stopped = true;
            inner.queue.failed(Error::Stopped, effects);
            inner.queue.surrender(LossReason::Shutdown, effects)
        })
    }

    /// The runtime is gone: nobody is granted or confirmed anything any more.
    pub(crate) fn abandon(self: &Arc<Self>, reason: LossReason) -> Option<End> {
        self.work(|inner, effects| {
            inner.stopped = true;
            inner.queue.failed(Error::Stopped, effects);
            inner.queue.lost(reason, effects)
        })
    }

    /// A panic in another thread leaves the queue as consistent as its machine
    /// made it: each step is one call.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work<T>(self: &Arc<Self>, step: impl FnOnce(&mut Inner, &mut Vec<Effect>) -> T) -> T {
        let mut effects = Vec::new();
        let mut deliveries = Vec::new();
        let result = {
            let mut inner = self.lock();
            let result = step(&mut inner, &mut effects);
            for effect in effects {
                self.perform(&mut inner, effect, &mut deliveries);
            }
            result
        };
        for delivery in deliveries {
            match delivery {
                // A caller that is gone hands its lease back by dropping it.
                Delivery::Answer(sender, answer) => drop(sender.send(answer)),
                Delivery::Confirmation(sender, released) => drop(sender.send(released)),
            }
        }
        result
    }

    fn perform(
        self: &Arc<Self>,
        inner: &mut Inner,
        effect: Effect,
        deliveries: &mut Vec<Delivery>,
    ) {
        match effect {
            Effect::Grant { call, token } => {
                let Some(cell) = inner.cell.clone() else { return };
                let state = LeaseState::new(self.key.clone(), token, call, cell, self.clock);
                let state = Arc::new(state);
                inner.lease = Some((call, state.clone()));
                let lease = Lease::new(state, self.clone());
                // Without a channel the lease comes back at once.
                let answer = match inner.waiting.remove(&call) {
                    Some(waiting) => waiting.answer,
                    None => oneshot::channel().0,
                };
                deliveries.push(Delivery::Answer(answer, Ok(lease)));
            }
            Effect::Refuse { call, error } => {
                if let Some(waiting) = inner.waiting.remove(&call) {
                    deliveries.push(Delivery::Answer(waiting.answer, Err(error)));
                }
            }
            Effect::Ended { call } => inner.end(call, LeaseState::returned),
            Effect::Revoked { call } => {
                if let Some((_, state)) = inner.lease.as_ref().filter(|(leased, _)| *leased == call)
                {
                    state.revoke();
                }
            }
            Effect::Lost { call, reason } => inner.end(call, |state| state.lose(reason)),
            Effect::Confirm { call, released } => {
                if let Some(sender) = inner.releasing.remove(&call) {
                    deliveries.push(Delivery::Confirmation(sender, released));
                }
            }
            Effect::Poke => self.poke(),
        }
    }
}

impl Inner {
    fn end(&mut self, call: CallId, how: impl FnOnce(&LeaseState)) {
        if let Some((_, state)) = self.lease.take_if(|(leased, _)| *leased == call) {
            how(&state);
        }
    }
}

impl std::fmt::Debug for Callers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callers").field("key", &self.key).finish_non_exhaustive()
    }
}
