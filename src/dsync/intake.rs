//! The intake of requests, from handles and recipients.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix::Addr;
use actix_rt::ArbiterHandle;
use futures::future::{BoxFuture, FutureExt};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tracing::field::{Empty, display};

use super::inspector::{Inspector, RunPreflight};
use crate::{
    actors::{ForWarden, LockSupervisor, Stop},
    config::Timing,
    consul::ask::Keyspace,
    error::{Error, Step},
    holding::{
        callers::Answer,
        keep_alive::KeepAlive,
        lease::Lease,
        slot::Slot,
        slots::{Entered, Purpose, Slots},
    },
    key::Key,
    logs::{self, GuardedSpan},
    messages::{Acquire, Release, TryAcquire, subscribers::Hub},
    ownership::Released,
    protocol::{
        queue::{Obstacle, Patience},
        warden::{self, Readiness},
    },
    status::{findings::Preflight, journal::Journal},
    value::LockValue,
};

/// The future of a reply. The call has already started the request, except those that only read
/// Consul: they start at the first poll.
pub(crate) type Pending<T> = BoxFuture<'static, Result<T, Error>>;

/// The most keys in use that a preflight checks.
const CHECKED_KEYS_IN_USE: usize = 20;

/// Receives requests on any thread.
#[derive(Clone, Debug)]
pub struct Intake {
    pub(crate) slots: Arc<Slots>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) readiness: watch::Receiver<Readiness>,
    pub(crate) supervisor: Addr<LockSupervisor>,
    pub(super) inspector: Addr<Inspector>,
    /// Runs the runtime's actors.
    pub(super) arbiter: ArbiterHandle,
    pub(super) keep_alive: Arc<KeepAlive>,
    pub(crate) service: Arc<str>,
    /// The prefix of keys in Consul's store.
    pub(super) prefix: Option<Arc<str>>,
    pub(crate) timing: Timing,
    pub(crate) journal: Arc<Journal>,
    pub(crate) defaults: Arc<Defaults>,
}

/// Defaults for fields that a request omits.
#[derive(Debug)]
pub(crate) struct Defaults {
    /// The value of locks.
    pub(crate) value: Arc<[u8]>,
    /// The key of campaigns; an error if the service's name does not make a valid key.
    pub(crate) leadership: Result<Key, Error>,
    /// The value of leaders.
    pub(crate) leader_value: LockValue,
}

/// A caller's place in a queue. Dropping it before the reply leaves the queue.
pub(super) struct Place {
    entered: Entered,
    answered: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.answered {
            self.entered.slot.callers.leave(self.entered.call);
        }
    }
}

impl Place {
    async fn answer(&mut self) -> Answer {
        let answer = (&mut self.entered.answer).await;
        self.answered = true;
        answer.unwrap_or(Err(Error::Stopped))
    }

    /// The reply if it has arrived, otherwise the reason for its absence.
    fn out_of_time(&mut self, waited: Duration, readiness: &Readiness) -> Answer {
        if let Ok(answer) = self.entered.answer.try_recv() {
            return answer;
        }
        Err(unserved(&self.entered.slot, waited, readiness))
    }
}

/// Why a caller that waits for the slot's key was not granted it.
pub(super) fn unserved(slot: &Slot, waited: Duration, readiness: &Readiness) -> Error {
    let key = slot.key.clone();
    match (slot.callers.obstacle(), readiness) {
        (Some(Obstacle::Held(holder)), _) => {
            Error::WaitedTooLong { key, waited, holder: Some(holder) }
        }
        (Some(Obstacle::Delayed { .. }), _) | (None, Readiness::Ready) => {
            Error::WaitedTooLong { key, waited, holder: None }
        }
        (Some(obstacle), _) => obstacle.into_error(&key),
        (None, Readiness::Troubled(error)) => error.clone(),
        (None, Readiness::Starting) => {
            let why = format!("Consul has not answered within {waited:.1?}");
            Error::unavailable(Step::CreateSession, why)
        }
        (None, Readiness::Stopped) => Error::Stopped,
    }
}

/// The span of a caller's wait, within the caller's own span.
pub(super) fn wait_span(key: &Key) -> GuardedSpan {
    logs::span!("wait for lock", %key, token = Empty, error = Empty)
}

/// Notes in its span how a wait ended.
fn note(span: &GuardedSpan, result: &Result<Lease, Error>) {
    match result {
        Ok(lease) => span.record("token", display(lease.token())),
        Err(error) => span.record("error", display(error)),
    }
}

impl Intake {
    /// The full key of the record of `key`'s periodic job.
    pub(crate) fn record_of(&self, key: &Key) -> String {
        Keyspace::below(self.prefix.as_deref()).record(key)
    }

    pub(crate) fn acquire(&self, asked: Acquire) -> Pending<Lease> {
        self.acquire_for(Purpose::Lock, asked)
    }

    pub(crate) fn acquire_for(
        &self,
        purpose: Purpose,
        Acquire { key, within, value, holding }: Acquire,
    ) -> Pending<Lease> {
        let asked_at = Instant::now();
        let span = wait_span(&key);
        let place = self.enter(&key, purpose, Patience::Unlimited, value);
        if let Ok(Place { entered, .. }) = &place
            && !holding.is_empty()
        {
            entered.slot.callers.declare(entered.call, holding.into());
        }
        self.granted(place, asked_at, within, span)
    }

    pub(crate) fn try_acquire(&self, TryAcquire { key, value }: TryAcquire) -> Pending<Lease> {
        let span = wait_span(&key);
        let place = self.enter(&key, Purpose::Lock, Patience::None, value);
        self.granted(place, Instant::now(), None, span)
    }

    /// The lease that a caller waits for, at most `within` from `asked_at`.
    pub(super) fn granted(
        &self,
        place: Result<Place, Error>,
        asked_at: Instant,
        within: Option<Duration>,
        span: GuardedSpan,
    ) -> Pending<Lease> {
        let (readiness, keep_alive) = (self.readiness.clone(), self.keep_alive.clone());
        let granted = async move {
            let mut place = place?;
            // An instant too far away to represent means no limit.
            let end = within.and_then(|limit| asked_at.checked_add(limit));
            let answer = match end {
                None => place.answer().await,
                Some(end) => match tokio::time::timeout_at(end, place.answer()).await {
                    Ok(answer) => answer,
                    Err(_) => place.out_of_time(asked_at.elapsed(), &readiness.borrow()),
                },
            };
            answer.map(|grant| Lease::of(grant, keep_alive))
        };
        let noted = span.clone();
        let granted = Box::pin(granted.inspect(move |result| note(&noted, result)));
        Box::pin(logs::traced(span, granted))
    }

    fn enter(
        &self,
        key: &Key,
        purpose: Purpose,
        patience: Patience,
        value: Option<LockValue>,
    ) -> Result<Place, Error> {
        let value = self.value_of(value)?;
        Ok(self.placed(self.slots.enter(key, purpose, patience, value)?))
    }

    pub(super) fn placed(&self, entered: Entered) -> Place {
        self.announce(&entered.slot, entered.is_new);
        Place { entered, answered: false }
    }

    /// The value of a lock.
    pub(super) fn value_of(&self, value: Option<LockValue>) -> Result<Arc<[u8]>, Error> {
        Ok(match value {
            Some(value) => value.to_bytes()?.into(),
            None => self.defaults.value.clone(),
        })
    }

    /// Asks the supervisor for an actor for the slot if it is new.
    pub(super) fn announce(&self, slot: &Slot, is_new: bool) {
        if is_new {
            self.supervisor.do_send(ForWarden(warden::Event::SlotMade(slot.key.clone())));
        }
    }

    pub(crate) fn release(&self, Release(lease): Release) -> Pending<Released> {
        let given_back = lease.give_back();
        Box::pin(async move { Ok(given_back.await) })
    }

    /// Checks `keys` and some of the keys in use.
    pub(super) async fn preflight(&self, mut keys: BTreeSet<Key>) -> Result<Preflight, Error> {
        if self.slots.is_stopped() {
            return Err(Error::Stopped);
        }
        let in_use: BTreeSet<Key> = self.slots.all().iter().map(|slot| slot.key.clone()).collect();
        keys.extend(in_use.into_iter().take(CHECKED_KEYS_IN_USE));
        let (reply, answer) = oneshot::channel();
        self.inspector.do_send(RunPreflight { keys, reply });
        answer.await.map_err(|_| Error::Stopped)
    }

    /// Waits until a session exists or the current attempt fails.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let mut readiness = self.readiness.clone();
        let mut is_news = false;
        loop {
            match &*readiness.borrow_and_update() {
                // After a stop of the process, its session's end may not be shown yet.
                Readiness::Ready if self.journal.health().ready => return Ok(()),
                Readiness::Stopped => return Err(Error::Stopped),
                Readiness::Troubled(error) if is_news => return Err(error.clone()),
                Readiness::Starting | Readiness::Ready | Readiness::Troubled(_) => {}
            }
            readiness.changed().await.map_err(|_| Error::Stopped)?;
            is_news = true;
        }
    }

    /// Ends the runtime.
    pub(crate) async fn shutdown(&self, limit: Duration) -> Result<(), Error> {
        let (done, result) = oneshot::channel();
        self.supervisor.do_send(Stop { limit, done: Some(done) });
        if let Ok(ended) = result.await {
            return ended;
        }
        // It had already ended, or failed meanwhile.
        self.journal.end().unwrap_or_else(|| {
            let why = "the runtime has failed; the session frees its keys when its TTL ends it";
            Err(Error::unavailable(Step::DestroySession, why))
        })
    }
}
