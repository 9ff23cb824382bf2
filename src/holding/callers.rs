//! The callers of one key: their contest, behind a mutex, and their reply channels.

#[cfg(test)]
mod anatomy;
mod outline;
mod standing;
mod writes;
mod writing;

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::Shared;
use tokio::sync::{Notify, oneshot, watch};

use writes::{Answers, Writes};
pub(crate) use writes::{Content, WriteAnswer};

use crate::{
    clock::{Clock, Moment},
    error::Error,
    holding::{lease_state::LeaseState, term::Leading},
    key::Key,
    ownership::{Holder, LossReason, Released},
    protocol::{
        cell::DeadlineCell,
        contest::{Contest, Effect, Ending, News},
        gather::{InLine, SetId},
        queue::{CallId, Demand, HandOver, Obstacle, Patience},
    },
    status::telemetry::{Stopwatch, Telemetry},
    token::FencingToken,
};

/// The reply that a caller waits for.
pub(crate) type Answer = Result<Grant, Error>;

/// The outcome of a resigned term's release, for everybody who waits for it.
pub(crate) type SharedRelease = Shared<oneshot::Receiver<Released>>;

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

#[derive(Default)]
struct Inner {
    contest: Contest,
    waiting: HashMap<CallId, Waiting>,
    /// The current lease.
    lease: Option<(CallId, Arc<LeaseState>)>,
    hold: Option<Stopwatch>,
    /// Callers that wait for their release to be confirmed.
    releasing: HashMap<CallId, oneshot::Sender<Released>>,
    /// The unconfirmed release of a resigned term.
    resigning: Option<(CallId, SharedRelease)>,
    /// The key's value while the campaign owns it.
    campaign_value: Arc<[u8]>,
    writes: Writes,
    /// The view of observers and campaigns. Created for the first one, since most
    /// keys have none.
    leading: Option<watch::Sender<Leading>>,
}

/// One caller's grant of the key. Dropping it releases the key.
#[derive(Debug)]
pub(crate) struct Grant {
    state: Arc<LeaseState>,
    /// Where to release the grant; `None` once it was released.
    callers: Option<Arc<Callers>>,
}

struct Waiting {
    answer: oneshot::Sender<Answer>,
    value: Arc<[u8]>,
    wait: Stopwatch,
}

/// A reply to send once the mutex is free.
enum Delivery {
    Answer(oneshot::Sender<Answer>, Answer),
    Confirmation(oneshot::Sender<Released>, Released),
}

impl Grant {
    /// For mocks: it belongs to no key's callers.
    #[cfg(feature = "embedded")]
    pub(crate) fn without_lock(state: Arc<LeaseState>) -> Self {
        Self { state, callers: None }
    }

    pub(crate) fn state(&self) -> &Arc<LeaseState> {
        &self.state
    }

    /// Releases the key with this call. The future completes with the outcome.
    pub(crate) fn give_back(mut self) -> impl Future<Output = Released> + Send + use<> {
        let confirmed = self.callers.take().map(|callers| callers.release(self.state.call()));
        // Only a mock's grant has no callers here.
        let mock_is_valid = confirmed.is_none() && self.state.is_valid();
        let state = self.state.clone();
        async move {
            if let Some(confirmed) = confirmed
                && let Ok(released) = confirmed.await
            {
                return released;
            }
            if mock_is_valid {
                return Released::Confirmed;
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
    pub(crate) fn new(key: Key, clock: Clock, telemetry: Telemetry, hand_over: HandOver) -> Self {
        let inner = Inner { contest: Contest::new(hand_over), ..Inner::default() };
        Self { key, clock, telemetry, inner: Mutex::new(inner), poke: Notify::new() }
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
            inner.waiting.insert(call, Waiting { answer, value, wait });
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
        self.step(|inner, now, effects| inner.contest.obstructed(now, obstacle, effects));
    }

    /// The key cannot be acquired, however long a caller waits.
    pub(crate) fn failed(self: &Arc<Self>, obstacle: &Obstacle) {
        self.step(|inner, now, effects| inner.contest.failed(now, obstacle, effects));
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

    fn perform(
        self: &Arc<Self>,
        inner: &mut Inner,
        effect: Effect,
        to: &mut Vec<Delivery>,
        answers: &mut Answers,
    ) {
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
                    if token.is_handed_over() {
                        inner.writes.add_own_value(state, inner.campaign_value.clone());
                    }
                    return;
                }
                let grant = Grant { state, callers: Some(self.clone()) };
                // Without a channel, the grant is dropped and thereby released.
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
            Effect::End { call, how } => inner.end(call, how, answers),
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
    /// The demand, if there is no more news.
    fn report(&mut self, now: Moment, effects: &mut Vec<Effect>) -> Result<Demand, News> {
        let demand = self.contest.report(now, effects)?;
        Ok(Demand { write: self.writes.in_line() > 0, ..demand })
    }

    fn end(&mut self, call: CallId, how: Ending, answers: &mut Answers) {
        let Some((_, state)) = self.lease.as_ref().filter(|(leased, _)| *leased == call) else {
            return;
        };
        match how {
            Ending::Revoked => return state.revoke(),
            Ending::Returned => state.returned(),
            Ending::Lost(reason) => state.lose(reason),
        }
        self.lease = None;
        self.writes.end(call, answers);
        if let Some(hold) = self.hold.take() {
            hold.stop();
        }
    }

    /// Updates the view of observers and campaigns.
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
