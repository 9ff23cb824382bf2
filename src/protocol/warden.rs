//! The warden: coordinates the session and the locks of one runtime.
//!
//! ```text
//!              ┌──────── request ────────┐
//!   lock ──idle┼─► warden ◄── notice ── session
//!     ▲        │     │ └──── told, stop ───►
//!     └────────┴─────┘ lose, notify, reap
//! ```
//!
//! It decides the order of events:
//!
//! - *A generation closes.* The warden latches its cell, publishes every ownership
//!   under it as lost, notifies the locks, and only then lets the session go.
//! - *A suspect session is replaced* once nothing is owned under it. The warden
//!   closes the generation itself, so that nothing is granted in between.
//! - *A slot is removed* in two steps. Its actor offers to go; after a while the slot
//!   is reaped if it is still idle.
//! - *The runtime stops.* The warden refuses callers, ends their leases and releases
//!   the keys. It destroys the session once no slot is left, or never if the time
//!   limit passes first.
//! - *A part dies.* What depended on it is lost and published before a successor
//!   starts.

mod messages;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(crate) use self::messages::{Effect, End, Event, ForActors, ForSlots, Readiness, Told, Which};
#[cfg(test)]
use super::mutation::Mutation;
use super::session::{LeftBehind, Notice, Request, SessionView};
use crate::{clock::Moment, error::Error, key::Key, ownership::LossReason};

/// The warden of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Warden {
    /// The open session.
    view: Option<SessionView>,
    /// The session opened last. Until the next one opens, it may not have been
    /// destroyed.
    last: Option<SessionView>,
    /// Why there is no open session, since that was last tried.
    no_session: Option<Error>,
    /// The open session is to be replaced once nothing is owned under it.
    is_suspect: bool,
    /// The actor's number for each slot that has one.
    workers: BTreeMap<Key, u64>,
    workers_made: u64,
    /// Keys whose actors offered to go.
    idle: BTreeSet<Key>,
    sweep_at: Option<Moment>,
    stopping: Option<Stopping>,
}

#[derive(Clone, Copy, Debug)]
struct Stopping {
    until: Moment,
    session_told: bool,
    finished: bool,
}

/// How long an idle slot is kept, in case its key is wanted again.
pub(crate) const LINGER: Duration = Duration::from_millis(250);

impl Warden {
    /// The open session.
    pub(crate) fn view(&self) -> Option<&SessionView> {
        self.view.as_ref()
    }

    /// When an [`Event::Tick`] is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        match self.stopping {
            Some(Stopping { finished: true, .. }) => None,
            stopping => stopping.map(|s| s.until).into_iter().chain(self.sweep_at).min(),
        }
    }

    /// Processes an event and appends the resulting effects.
    pub(crate) fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        if self.stopping.is_some_and(|stopping| stopping.finished) {
            return;
        }
        match event {
            Event::Start => {
                effects.push(Effect::Actors(ForActors::StartWatch));
                self.start_session(LeftBehind::Nothing, effects);
            }
            Event::SlotMade(key) => self.slot_made(key, effects),
            Event::Idle(key) => self.offered(now, key, effects),
            Event::Asked(Request::Suspect { generation }) => self.suspected(now, generation),
            Event::Asked(request) => Told::Asked(request).tell(effects),
            Event::Notified(notice) => self.notified(notice, effects),
            Event::SessionStopped { left } => {
                self.finish(left.map_or(End::Orderly, End::SessionLeft), effects);
            }
            Event::SessionDied => self.session_died(effects),
            Event::WatchDied => {
                effects.push(Effect::Actors(ForActors::StartWatch));
                #[cfg(test)]
                if Mutation::WatchLossUntold.is_chosen() {
                    return;
                }
                effects.push(Effect::Slots(ForSlots::WatchLost));
            }
            Event::LockDied { key, worker } => self.lock_died(key, worker, effects),
            Event::Reaped { keys, left } => self.reaped(keys, left, effects),
            Event::Surveyed { owned } => self.surveyed(now, owned, effects),
            Event::Stop { limit } => self.stop(now, limit, effects),
            Event::Tick => {}
        }
        self.act(now, effects);
    }

    /// Takes the steps that are due.
    fn act(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.stopping.is_some_and(|stopping| stopping.until <= now) {
            return self.finish(End::LimitPassed, effects);
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep_at = None;
            let idle = std::mem::take(&mut self.idle);
            if !idle.is_empty() {
                let which = Which::Of(idle.into_iter().collect());
                effects.push(Effect::Slots(ForSlots::Reap(which)));
            }
            if self.is_suspect {
                effects.push(Effect::Slots(ForSlots::Survey));
            }
        }
    }

    fn sweep_later(&mut self, now: Moment) {
        self.sweep_at.get_or_insert(now + LINGER);
    }

    fn start_session(&self, left_behind: LeftBehind, effects: &mut Vec<Effect>) {
        let generation = self.last.as_ref().map_or(0, |view| view.generation);
        let order = ForActors::StartSession { generation, left_behind };
        effects.push(Effect::Actors(order));
    }

    fn left_behind(&self) -> LeftBehind {
        #[cfg(test)]
        if Mutation::LeftBehindForgotten.is_chosen() {
            return LeftBehind::Nothing;
        }
        let last = self.last.as_ref().map(|view| view.id.clone());
        last.map_or(LeftBehind::Unknown, LeftBehind::Session)
    }

    fn show(&self, readiness: Readiness, effects: &mut Vec<Effect>) {
        if self.stopping.is_none() {
            effects.push(Effect::Actors(ForActors::Show(readiness)));
        }
    }

    fn slot_made(&mut self, key: Key, effects: &mut Vec<Effect>) {
        // An earlier slot of the key was reaped before its message arrived, and that
        // message has already started the actor.
        if self.workers.contains_key(&key) {
            return;
        }
        if let Some(view) = &self.view {
            let (which, notice) = (Which::Of(vec![key.clone()]), Notice::Opened(view.clone()));
            effects.push(Effect::Slots(ForSlots::Notify { which, notice }));
        } else if let Some(error) = &self.no_session {
            let (which, notice) = (Which::Of(vec![key.clone()]), Notice::Troubled(error.clone()));
            effects.push(Effect::Slots(ForSlots::Notify { which, notice }));
        }
        self.start_lock(key, false, effects);
    }

    fn start_lock(&mut self, key: Key, recovering: bool, effects: &mut Vec<Effect>) {
        self.workers_made += 1;
        let worker = self.workers_made;
        self.workers.insert(key.clone(), worker);
        effects.push(Effect::Actors(ForActors::StartLock { key, worker, recovering }));
    }

    fn lock_died(&mut self, key: Key, worker: u64, effects: &mut Vec<Effect>) {
        // An actor that was already retired does not affect its successor.
        if self.workers.get(&key) != Some(&worker) {
            return;
        }
        // Its successor has to recover before the slot may go.
        self.idle.remove(&key);
        let (which, reason) = (Which::Of(vec![key.clone()]), LossReason::RuntimeFailed);
        effects.push(Effect::Slots(ForSlots::Lose { which, reason }));
        self.start_lock(key, true, effects);
    }

    /// Handles an actor's offer to go.
    fn offered(&mut self, now: Moment, key: Key, effects: &mut Vec<Effect>) {
        if self.stopping.is_some() {
            effects.push(Effect::Slots(ForSlots::Reap(Which::Of(vec![key]))));
        } else {
            self.idle.insert(key);
            self.sweep_later(now);
        }
    }

    fn notified(&mut self, notice: Notice, effects: &mut Vec<Effect>) {
        match &notice {
            Notice::Opened(view) => {
                self.view = Some(view.clone());
                self.last = Some(view.clone());
                self.no_session = None;
                self.show(Readiness::Ready, effects);
            }
            Notice::Fenced { generation, fence } => {
                if let Some(view) = self.view.as_mut().filter(|v| v.generation == *generation) {
                    view.fence = *fence;
                }
            }
            Notice::Closed { generation, reason } => {
                if self.view.as_ref().is_some_and(|view| view.generation == *generation) {
                    self.close(*reason, effects);
                }
                return Told::Closed { generation: *generation }.tell(effects);
            }
            // Held keys stay held until the deadline; the session keeps retrying.
            Notice::Troubled(_) if self.view.is_some() => return,
            Notice::Troubled(error) => {
                self.no_session = Some(error.clone());
                self.show(Readiness::Troubled(error.clone()), effects);
            }
        }
        effects.push(Effect::Slots(ForSlots::Notify { which: Which::All, notice }));
    }

    /// Closes the open session. All losses under it are published, for all keys, before
    /// any other consequence.
    fn close(&mut self, reason: LossReason, effects: &mut Vec<Effect>) {
        let Some(SessionView { generation, cell, .. }) = self.view.take() else { return };
        cell.latch(reason);
        self.is_suspect = false;
        self.show(Readiness::Starting, effects);
        #[cfg(test)]
        let untold = Mutation::SessionGoesUntold.is_chosen();
        #[cfg(not(test))]
        let untold = false;
        if !untold {
            effects.push(Effect::Slots(ForSlots::Lose { which: Which::All, reason }));
        }
        let notice = Notice::Closed { generation, reason };
        effects.push(Effect::Slots(ForSlots::Notify { which: Which::All, notice }));
    }

    fn session_died(&mut self, effects: &mut Vec<Effect>) {
        self.close(LossReason::RuntimeFailed, effects);
        self.start_session(self.left_behind(), effects);
        if let Some(stopping) = &mut self.stopping {
            stopping.session_told = false;
            effects.push(Effect::Slots(ForSlots::Reap(Which::All)));
        }
    }

    fn reaped(&mut self, keys: Vec<Key>, left: usize, effects: &mut Vec<Effect>) {
        for key in keys {
            // A slot without an actor has none to retire.
            if self.workers.remove(&key).is_some() {
                effects.push(Effect::Actors(ForActors::Retire { key }));
            }
        }
        if let Some(stopping) = &mut self.stopping
            && left == 0
            && !std::mem::replace(&mut stopping.session_told, true)
        {
            Told::Stop.tell(effects);
        }
    }

    fn suspected(&mut self, now: Moment, generation: u64) {
        if self.view.as_ref().is_some_and(|view| view.generation == generation) {
            self.is_suspect = true;
            self.sweep_later(now);
        }
    }

    fn surveyed(&mut self, now: Moment, owned: usize, effects: &mut Vec<Effect>) {
        let Some(view) = self.view.as_ref().filter(|_| self.is_suspect) else { return };
        let generation = view.generation;
        #[cfg(test)]
        let owned = if Mutation::SuspectReplacedEarly.is_chosen() { 0 } else { owned };
        if owned > 0 {
            self.sweep_later(now);
        } else {
            let reason = LossReason::SessionGone;
            self.close(reason, effects);
            Told::Asked(Request::Distrust { generation, reason }).tell(effects);
        }
    }

    fn stop(&mut self, now: Moment, limit: Duration, effects: &mut Vec<Effect>) {
        if self.stopping.is_some() {
            return;
        }
        self.show(Readiness::Stopped, effects);
        self.stopping = Some(Stopping { until: now + limit, session_told: false, finished: false });
        self.idle.clear();
        effects.push(Effect::Slots(ForSlots::StopCallers));
        #[cfg(test)]
        if Mutation::SessionStopsFirst.is_chosen() {
            Told::Stop.tell(effects);
        }
        effects.push(Effect::Slots(ForSlots::Reap(Which::All)));
    }

    fn finish(&mut self, end: End, effects: &mut Vec<Effect>) {
        // The limit may have passed as well.
        if let Some(stopping) = &mut self.stopping
            && !std::mem::replace(&mut stopping.finished, true)
        {
            effects.push(Effect::Actors(ForActors::Finish(end)));
        }
    }
}

impl Told {
    fn tell(self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Actors(ForActors::TellSession(self)));
    }
}
