//! The callers of one key: their queue, shared by handle, actor and leases.

mod outline;
mod standing;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::Shared;
use tokio::sync::{Notify, oneshot, watch};

#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::{Clock, Moment},
    error::Error,
    holding::{
        lease::{Lease, LeaseState},
        observer::Leading,
        tenure::Term,
    },
    key::Key,
    ownership::{Holder, LossReason, Released},
    protocol::{
        cell::DeadlineCell,
        election::{self, Election},
        queue::{CallId, Demand, Effect, End, Obstacle, Patience, Queue},
    },
    status::telemetry::{Stopwatch, Telemetry},
    token::FencingToken,
};

/// What a caller waits for.
pub(crate) type Answer = Result<Lease, Error>;

/// How the key of a term was given back, for all who wait for that.
pub(crate) type GivenBack = Shared<oneshot::Receiver<Released>>;

/// What is to be published of a key.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Acquired { token: FencingToken },
    Lost { token: FencingToken, reason: LossReason },
    Released { token: FencingToken },
    Elected { token: FencingToken },
    Deposed { token: FencingToken, reason: LossReason },
    LeaderChanged { leader: Option<Box<Holder>> },
}

/// The queue machine of one key behind a mutex, with the callers' channels, and
/// the election machine, whose campaign is one of the callers.
///
/// What happens is news in the order in which it happened, whatever thread it
/// happened on; [`tell`](Callers::tell) is the one way by which it gets out.
///
/// Nothing is delivered, and no lease dropped, while the mutex is held: a lease
/// that finds its caller gone comes back here.
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
    queue: Queue,
    waiting: HashMap<CallId, Waiting>,
    /// The lease that is out, if any.
    lease: Option<(CallId, Arc<LeaseState>)>,
    hold: Option<Stopwatch>,
    /// Callers that wait for the confirmation of their release.
    releasing: HashMap<CallId, oneshot::Sender<Released>>,
    /// The release of a term that its campaign resigned, while it is under way.
    resigning: Option<(CallId, GivenBack)>,
    cell: Option<Arc<DeadlineCell>>,
    stopped: bool,
    election: Election,
    /// What the key says while the campaign has it.
    campaign_value: Arc<[u8]>,
    /// What the handles of observers and campaigns look at, once there was one:
    /// most keys have none.
    leading: Option<watch::Sender<Leading>>,
    /// Not told yet, the oldest first.
    news: VecDeque<News>,
    #[cfg(test)]
    put_off: bool,
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
        let call = self.work(|inner, effects| {
            if inner.stopped {
                return Err(Error::Stopped);
            }
            if inner.queue.waiting() >= limit {
                return Err(Error::TooManyWaiters { limit });
            }
            let call = inner.queue.enter(patience, effects);
            let wait = self.telemetry.waits(&self.key);
            inner.waiting.insert(call, Waiting { answer, value, wait });
            Ok(call)
        })?;
        Ok((call, receiver))
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Hands out what is to be published, in order, and says what the callers
    /// want once there is nothing more: what they want follows from what was told.
    pub(crate) fn tell(self: &Arc<Self>, mut publish: impl FnMut(News)) -> Demand {
        let now = self.clock.now();
        #[cfg(test)]
        if Mutation::DeposedToldLate.is_chosen() {
            let mut inner = self.lock();
            let put_off = std::mem::replace(&mut inner.put_off, true);
            if !put_off && matches!(inner.news.front(), Some(News::Deposed { .. })) {
                self.poke();
                return inner.demand();
            }
            inner.put_off = false;
        }
        loop {
            let told = self.work(|inner, effects| match inner.news.pop_front() {
                Some(news) => Err(news),
                None => {
                    inner.elect(effects, |election, then| election.go_on(now, then));
                    Ok(inner.demand())
                }
            });
            match told {
                Ok(demand) => return demand,
                Err(news) => publish(news),
            }
        }
    }

    /// When [`tell`](Self::tell) is due though nothing has happened.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        self.lock().election.next_wakeup()
    }

    /// Nobody holds the key, as last read.
    pub(crate) fn free(self: &Arc<Self>) {
        self.work(|inner, effects| {
            inner.elect(effects, |election, then| election.seen(None, then));
        });
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

    /// Whether nobody waits for, has, releases or follows the key.
    pub(crate) fn is_vacant(&self) -> bool {
        let inner = self.lock();
        inner.queue.is_vacant() && !inner.election.is_followed() && inner.news.is_empty()
    }

    /// Why the key could not be had so far.
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        self.lock().queue.obstacle().cloned()
    }

    /// The token of the lease that is out, if one is.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        self.lock().queue.token()
    }

    /// The index at which a caller was last granted the key, if that was under
    /// the present session.
    pub(crate) fn last_index(&self) -> u64 {
        let inner = self.lock();
        let present = inner.cell.as_ref().is_some_and(|cell| cell.ended().is_none());
        if present { inner.queue.last_index() } else { 0 }
    }

    /// What the key says while this process leads.
    #[cfg(feature = "web")]
    pub(crate) fn campaign_value(&self) -> Arc<[u8]> {
        self.lock().campaign_value.clone()
    }

    /// What the first in the queue wants the key to say.
    pub(crate) fn value(&self) -> Option<Arc<[u8]>> {
        let inner = self.lock();
        let call = inner.queue.front()?;
        if inner.election.is_caller(call) {
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
        let now = self.clock.now();
        self.work(|inner, effects| {
            inner.cell = Some(cell.clone());
            let taken = inner.queue.owned(now, index, cell, holder, effects);
            let token = taken.then(|| inner.queue.token())??;
            inner.news.push_back(News::Acquired { token });
            Some(token)
        })
    }

    /// The ownership is over; why is still being asked.
    pub(crate) fn revoke(self: &Arc<Self>) {
        self.work(|inner, effects| inner.queue.revoke(effects));
    }

    /// The ownership is over, other than by release.
    pub(crate) fn lost(self: &Arc<Self>, reason: LossReason) {
        self.work(|inner, effects| {
            let end = inner.queue.lost(reason, effects);
            inner.over(end, reason, effects);
        });
    }

    /// Consul has the key back.
    pub(crate) fn released(self: &Arc<Self>) {
        self.work(|inner, effects| {
            let end = inner.queue.released(effects);
            inner.over(end, LossReason::DeadlinePassed, effects);
        });
    }

    /// Something stands in the way.
    pub(crate) fn obstructed(self: &Arc<Self>, obstacle: Obstacle) {
        self.work(|inner, effects| {
            let holder = match &obstacle {
                Obstacle::Held(holder) => Some(Some(holder.clone())),
                Obstacle::Delayed { .. } => Some(None),
                Obstacle::Trouble(_) => None,
            };
            inner.queue.obstructed(obstacle, effects);
            if let Some(holder) = holder {
                inner.elect(effects, |election, then| election.seen(holder.as_deref(), then));
            }
        });
    }

    /// The key cannot be had.
    pub(crate) fn failed(self: &Arc<Self>, error: Error) {
        self.work(|inner, effects| inner.queue.failed(error, effects));
    }

    /// Nobody is granted anything any more, and a lease that is out is lost.
    pub(crate) fn stop(self: &Arc<Self>) {
        self.work(|inner, effects| {
            inner.stopped = true;
            inner.election.stop();
            inner.queue.failed(Error::Stopped, effects);
            inner.surrender(LossReason::Shutdown, effects);
            effects.push(Effect::Poke);
        });
    }

    /// The runtime is gone: nobody is granted or confirmed anything any more.
    pub(crate) fn abandon(self: &Arc<Self>, reason: LossReason) {
        self.work(|inner, effects| {
            inner.stopped = true;
            inner.election.stop();
            inner.queue.failed(Error::Stopped, effects);
            let end = inner.queue.lost(reason, effects);
            inner.over(end, reason, effects);
        });
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
            while !effects.is_empty() {
                for effect in std::mem::take(&mut effects) {
                    self.perform(&mut inner, effect, &mut effects, &mut deliveries);
                }
            }
            inner.show();
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
        effects: &mut Vec<Effect>,
        deliveries: &mut Vec<Delivery>,
    ) {
        match effect {
            Effect::Grant { call, token } => {
                let Some(cell) = inner.cell.clone() else { return };
                let state = LeaseState::new(self.key.clone(), token, call, cell, self.clock);
                let state = Arc::new(state);
                inner.lease = Some((call, state.clone()));
                inner.hold = Some(self.telemetry.holds(&self.key));
                if token.is_handed_over() {
                    self.telemetry.handed_over(&self.key);
                }
                let holder = inner.queue.holder().cloned();
                let campaigns = inner.election.is_caller(call);
                inner.elect(effects, |election, then| {
                    if campaigns {
                        election.granted(token, then);
                    }
                    election.seen(holder.as_ref(), then);
                });
                if campaigns {
                    return;
                }
                let lease = Lease::new(state, self.clone());
                // Without a channel the lease comes back at once.
                let answer = match inner.waiting.remove(&call) {
                    Some(waiting) => {
                        waiting.wait.stop();
                        waiting.answer
                    }
                    None => oneshot::channel().0,
                };
                deliveries.push(Delivery::Answer(answer, Ok(lease)));
            }
            Effect::Refuse { call, error } => {
                if inner.election.is_caller(call) {
                    inner.election.refused(self.clock.now());
                    self.poke();
                }
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
            Effect::Lost { call, reason } => inner.lose(call, reason, effects),
            Effect::Confirm { call, released } => {
                inner.resigning.take_if(|(resigned, _)| *resigned == call);
                if let Some(sender) = inner.releasing.remove(&call) {
                    deliveries.push(Delivery::Confirmation(sender, released));
                }
            }
            Effect::Poke => self.poke(),
        }
    }
}

impl Inner {
    fn demand(&self) -> Demand {
        let (follow, followings) = (self.election.is_followed(), self.election.followings());
        Demand { follow, followings, ..self.queue.demand() }
    }

    /// Lets the election machine take a step, and does what it says.
    fn elect<T>(
        &mut self,
        effects: &mut Vec<Effect>,
        step: impl FnOnce(&mut Election, &mut Vec<election::Effect>) -> T,
    ) -> T {
        let mut then = Vec::new();
        let result = step(&mut self.election, &mut then);
        for effect in then {
            self.news.push_back(match effect {
                election::Effect::Enter => {
                    let call = self.queue.enter(Patience::Unlimited, effects);
                    self.election.entered(call);
                    continue;
                }
                election::Effect::Elected { token } => News::Elected { token },
                election::Effect::Deposed { token, reason } => News::Deposed { token, reason },
                election::Effect::LeaderChanged { leader } => News::LeaderChanged { leader },
            });
            effects.push(Effect::Poke);
        }
        result
    }

    /// The present lease is lost, and that is told before what follows from it.
    fn surrender(&mut self, reason: LossReason, effects: &mut Vec<Effect>) {
        if let Some((call, token)) = self.queue.surrender(effects) {
            self.news.push_back(News::Lost { token, reason });
            self.lose(call, reason, effects);
        }
    }

    /// A caller's lease is lost.
    fn lose(&mut self, call: CallId, reason: LossReason, effects: &mut Vec<Effect>) {
        self.end(call, |state| state.lose(reason));
        let campaigns = self.election.is_caller(call);
        self.elect(effects, |election, then| {
            if campaigns {
                election.lost(reason, then);
            }
            election.seen(None, then);
        });
    }

    /// An ownership has ended.
    fn over(&mut self, end: Option<End>, reason: LossReason, effects: &mut Vec<Effect>) {
        match end {
            // Who leads is known when the lease has ended.
            Some(End::Lost(token)) => self.news.push_back(News::Lost { token, reason }),
            Some(End::Released(token)) => {
                self.news.push_back(News::Released { token });
                self.elect(effects, |election, then| election.seen(None, then));
            }
            None => {}
        }
    }

    /// Lets the handles see what the election machine knows.
    fn show(&self) {
        let Some(leading) = self.leading.as_ref().filter(|to| to.receiver_count() > 0) else {
            return;
        };
        let election = &self.election;
        let (campaign, token) = (election.campaign(), election.token());
        let is_news = |shown: &Leading| {
            shown.changes != election.changes()
                || shown.campaign != campaign
                || shown.leader.as_ref() != election.leader()
        };
        leading.send_if_modified(|shown| {
            let is_news = is_news(shown);
            if is_news {
                let lease = self.lease.as_ref().filter(|(_, state)| token == Some(state.token()));
                *shown = Leading {
                    changes: election.changes(),
                    leader: election.leader().cloned(),
                    campaign,
                    term: lease.map(|(_, state)| Term::new(state.clone())),
                };
            }
            is_news
        });
    }

    fn end(&mut self, call: CallId, how: impl FnOnce(&LeaseState)) {
        if let Some((_, state)) = self.lease.take_if(|(leased, _)| *leased == call) {
            how(&state);
            if let Some(hold) = self.hold.take() {
                hold.stop();
            }
        }
    }
}

impl std::fmt::Debug for Callers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callers").field("key", &self.key).finish_non_exhaustive()
    }
}
