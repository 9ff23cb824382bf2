//! The callers of one key: their contest behind a mutex, and their channels.

mod outline;
mod standing;

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::Shared;
use tokio::sync::{Notify, oneshot, watch};

use crate::{
    clock::{Clock, Moment},
    error::Error,
    holding::{lease_state::LeaseState, term::Leading},
    key::Key,
    ownership::{Holder, LossReason, Released},
    protocol::{
        cell::DeadlineCell,
        contest::{Contest, Effect, Ending, News},
        queue::{CallId, Demand, Obstacle, Patience},
    },
    status::telemetry::{Stopwatch, Telemetry},
    token::FencingToken,
};

/// What a caller waits for.
pub(crate) type Answer = Result<Grant, Error>;

/// How the key of a term was given back, for all who wait for that.
pub(crate) type GivenBack = Shared<oneshot::Receiver<Released>>;

/// The contest for one key, shared by the handle, the lock's actor and the leases,
/// and the channels over which its callers are answered.
///
/// News is read by [`tell`](Callers::tell) alone, in the order in which it happened,
/// on whatever thread that was.
///
/// Nothing is delivered, and no grant dropped, while the mutex is held: a grant that
/// finds its caller gone comes back here.
pub(crate) struct Callers {
    key: Key,
    clock: Clock,
    telemetry: Telemetry,
    inner: Mutex<Inner>,
    /// Wakes the lock's actor, whichever it is.
    poke: Notify,
}

#[derive(Default)]
struct Inner {
    contest: Contest,
    waiting: HashMap<CallId, Waiting>,
    /// The lease that is out, if any.
    lease: Option<(CallId, Arc<LeaseState>)>,
    hold: Option<Stopwatch>,
    /// Callers that wait for the confirmation of their release.
    releasing: HashMap<CallId, oneshot::Sender<Released>>,
    /// The release of a term that its campaign resigned, while it is under way.
    resigning: Option<(CallId, GivenBack)>,
    /// What the key says while the campaign has it.
    campaign_value: Arc<[u8]>,
    /// What the handles of observers and campaigns look at, once there was one:
    /// most keys have none.
    leading: Option<watch::Sender<Leading>>,
}

/// One caller's grant of the key. Dropping it gives the key back.
#[derive(Debug)]
pub(crate) struct Grant {
    state: Arc<LeaseState>,
    /// The callers to give it back to; none once that was done.
    callers: Option<Arc<Callers>>,
}

struct Waiting {
    answer: oneshot::Sender<Answer>,
    value: Arc<[u8]>,
    wait: Stopwatch,
}

/// What is to be sent once the mutex is free.
enum Delivery {
    Answer(oneshot::Sender<Answer>, Answer),
    Confirmation(oneshot::Sender<Released>, Released),
}

impl Grant {
    pub(crate) fn state(&self) -> &Arc<LeaseState> {
        &self.state
    }

    /// Gives the key back with this call; the future is how that went.
    pub(crate) fn give_back(mut self) -> impl Future<Output = Released> + Send + use<> {
        let confirmed = self.callers.take().map(|callers| callers.release(self.state.call()));
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

impl Deref for Grant {
    type Target = LeaseState;

    fn deref(&self) -> &LeaseState {
        &self.state
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(callers) = self.callers.take() {
            callers.end(self.state.call());
        }
    }
}

impl Callers {
    pub(crate) fn new(key: Key, clock: Clock, telemetry: Telemetry) -> Self {
        Self { key, clock, telemetry, inner: Mutex::default(), poke: Notify::new() }
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
        let call = self.work(|inner, now, effects| {
            if inner.contest.is_stopped() {
                return Err(Error::Stopped);
            }
            if inner.contest.queue().waiting() >= limit {
                return Err(Error::TooManyWaiters { key: self.key.clone(), limit });
            }
            let call = inner.contest.enter(now, patience, effects);
            let wait = self.telemetry.waits(&self.key);
            inner.waiting.insert(call, Waiting { answer, value, wait });
            Ok(call)
        })?;
        Ok((call, receiver))
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Hands out the news, in order, and returns what the callers want once there is
    /// no more.
    pub(crate) fn tell(self: &Arc<Self>, mut publish: impl FnMut(News)) -> Demand {
        loop {
            match self.work(|inner, now, effects| inner.contest.report(now, effects)) {
                Ok(demand) => return demand,
                Err(news) => publish(news),
            }
        }
    }

    /// When [`tell`](Self::tell) is due although nothing has happened.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        self.lock().contest.next_wakeup()
    }

    /// Nobody holds the key, as last read.
    pub(crate) fn free(self: &Arc<Self>) {
        self.work(|inner, now, effects| inner.contest.free(now, effects));
    }

    /// The caller waits no longer.
    pub(crate) fn leave(self: &Arc<Self>, call: CallId) {
        self.work(|inner, now, effects| {
            inner.waiting.remove(&call);
            inner.contest.leave(now, call, effects);
        });
    }

    /// The caller's lease is dropped.
    fn end(self: &Arc<Self>, call: CallId) {
        self.work(|inner, now, effects| inner.contest.end(now, call, false, effects));
    }

    /// The caller gives its lease back and waits for the confirmation.
    fn release(self: &Arc<Self>, call: CallId) -> oneshot::Receiver<Released> {
        let (sender, receiver) = oneshot::channel();
        self.work(|inner, now, effects| {
            match inner.lease.as_ref().filter(|(leased, _)| *leased == call) {
                Some(_) => {
                    inner.releasing.insert(call, sender);
                    inner.contest.end(now, call, true, effects);
                }
                // Lost and reported before: the lease says why.
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

    /// Whether nobody waits for, has, releases or follows the key.
    pub(crate) fn is_vacant(&self) -> bool {
        self.lock().contest.is_vacant()
    }

    /// Why the key could not be had so far.
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        self.lock().contest.queue().obstacle().cloned()
    }

    /// The token of the lease that is out, if one is.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        self.lock().contest.queue().token()
    }

    /// The index at which a caller was last granted the key, if that was under
    /// the present session.
    pub(crate) fn last_index(&self) -> u64 {
        self.lock().contest.last_index()
    }

    /// What the key says while this process leads.
    #[cfg(feature = "web")]
    pub(crate) fn campaign_value(&self) -> Arc<[u8]> {
        self.lock().campaign_value.clone()
    }

    /// What the first in the queue wants the key to say.
    pub(crate) fn value(&self) -> Option<Arc<[u8]>> {
        let inner = self.lock();
        let call = inner.contest.queue().front()?;
        if inner.contest.election().is_caller(call) {
            return Some(inner.campaign_value.clone());
        }
        inner.waiting.get(&call).map(|waiting| waiting.value.clone())
    }

    /// The process owns the key. Returns the token, if a caller took it.
    pub(crate) fn owned(
        self: &Arc<Self>,
        index: u64,
        cell: Arc<DeadlineCell>,
        holder: Box<Holder>,
    ) -> Option<FencingToken> {
        self.work(|inner, now, effects| inner.contest.owned(now, index, cell, holder, effects))
    }

    /// The ownership is over; the reason is still being asked for.
    pub(crate) fn revoke(self: &Arc<Self>) {
        self.work(|inner, now, effects| inner.contest.revoke(now, effects));
    }

    /// The ownership is over, other than by release.
    pub(crate) fn lost(self: &Arc<Self>, reason: LossReason) {
        self.work(|inner, now, effects| inner.contest.lost(now, reason, effects));
    }

    /// Consul has the key back.
    pub(crate) fn released(self: &Arc<Self>) {
        self.work(|inner, now, effects| inner.contest.released(now, effects));
    }

    /// Something stands in the way.
    pub(crate) fn obstructed(self: &Arc<Self>, obstacle: Obstacle) {
        self.work(|inner, now, effects| inner.contest.obstructed(now, obstacle, effects));
    }

    /// The key cannot be had.
    pub(crate) fn failed(self: &Arc<Self>, obstacle: &Obstacle) {
        self.work(|inner, now, effects| inner.contest.failed(now, obstacle, effects));
    }

    /// Nothing is granted any more, and a lease that is out is lost.
    pub(crate) fn stop(self: &Arc<Self>) {
        self.work(|inner, now, effects| inner.contest.stop(now, effects));
    }

    /// The runtime is gone: nothing is granted or confirmed any more.
    pub(crate) fn abandon(self: &Arc<Self>, reason: LossReason) {
        self.work(|inner, now, effects| inner.contest.abandon(now, reason, effects));
    }

    /// A panic in another thread leaves the contest as consistent as its machine
    /// made it: each step is one call.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work<T>(
        self: &Arc<Self>,
        step: impl FnOnce(&mut Inner, Moment, &mut Vec<Effect>) -> T,
    ) -> T {
        let mut effects = Vec::new();
        let mut deliveries = Vec::new();
        let result = {
            let mut inner = self.lock();
            let result = step(&mut inner, self.clock.now(), &mut effects);
            for effect in effects {
                self.perform(&mut inner, effect, &mut deliveries);
            }
            inner.show();
            result
        };
        for delivery in deliveries {
            match delivery {
                // A caller that is gone gives the key back by dropping its grant.
                Delivery::Answer(sender, answer) => drop(sender.send(answer)),
                Delivery::Confirmation(sender, released) => drop(sender.send(released)),
            }
        }
        result
    }

    fn perform(self: &Arc<Self>, inner: &mut Inner, effect: Effect, to: &mut Vec<Delivery>) {
        match effect {
            Effect::Grant { call, token, cell, leads } => {
                let state = LeaseState::new(self.key.clone(), token, call, cell, self.clock);
                let state = Arc::new(state);
                inner.lease = Some((call, state.clone()));
                inner.hold = Some(self.telemetry.holds(&self.key));
                if token.is_handed_over() {
                    self.telemetry.handed_over(&self.key);
                }
                if leads {
                    return;
                }
                let grant = Grant { state, callers: Some(self.clone()) };
                // Without a channel the grant comes back at once.
                let answer = match inner.waiting.remove(&call) {
                    Some(waiting) => {
                        waiting.wait.stop();
                        waiting.answer
                    }
                    None => oneshot::channel().0,
                };
                to.push(Delivery::Answer(answer, Ok(grant)));
            }
            Effect::Refuse { call, obstacle } => {
                if let Some(waiting) = inner.waiting.remove(&call) {
                    let error = obstacle.into_error(&self.key);
                    to.push(Delivery::Answer(waiting.answer, Err(error)));
                }
            }
            Effect::End { call, how } => inner.end(call, how),
            Effect::Confirm { call, released } => {
                inner.resigning.take_if(|(resigned, _)| *resigned == call);
                if let Some(sender) = inner.releasing.remove(&call) {
                    to.push(Delivery::Confirmation(sender, released));
                }
            }
            Effect::Poke => self.poke(),
        }
    }
}

impl Inner {
    fn end(&mut self, call: CallId, how: Ending) {
        let Some((_, state)) = self.lease.as_ref().filter(|(leased, _)| *leased == call) else {
            return;
        };
        match how {
            Ending::Revoked => return state.revoke(),
            Ending::Returned => state.returned(),
            Ending::Lost(reason) => state.lose(reason),
        }
        self.lease = None;
        if let Some(hold) = self.hold.take() {
            hold.stop();
        }
    }

    /// Lets the handles see what the election machine knows.
    fn show(&self) {
        let Some(leading) = self.leading.as_ref().filter(|to| to.receiver_count() > 0) else {
            return;
        };
        let election = self.contest.election();
        let (campaign, token) = (election.campaign(), election.token());
        leading.send_if_modified(|shown| {
            let is_news = shown.changes != election.changes()
                || shown.campaign != campaign
                || shown.leader.as_ref() != election.leader();
            if is_news {
                let lease = self.lease.as_ref().filter(|(_, state)| token == Some(state.token()));
                *shown = Leading {
                    changes: election.changes(),
                    leader: election.leader().cloned(),
                    campaign,
                    term: lease.map(|(_, state)| state.clone()),
                };
            }
            is_news
        });
    }
}

impl std::fmt::Debug for Callers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callers").field("key", &self.key).finish_non_exhaustive()
    }
}
