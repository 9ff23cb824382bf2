//! The session machine: creates, renews, loses and replaces this process's Consul
//! session.
//!
//! ```text
//!   Absent ──Create──► Creating ──► Open ──renewal gone, deadline, distrust──┐
//!     ▲                   │           │ Raise the fence, then lend it        │
//!     │                   │           │ Renew every sixth of the lease       │
//!     ├─── pause ◄────────┘           └── Stop ──► Stopped                   │
//!     │                                                                      │
//!     └── Destroy until answered ◄── told ── Telling ◄── Closed ◄────────────┘
//! ```
//!
//! Each created session is a *generation* with its own deadline cell. A closed
//! generation never reopens, even if Consul still renews it.
//!
//! Every lock attempt checks the index of the session's fence entry, so the entry
//! is written before the session is shared with any lock. If somebody deletes the
//! entry, all attempts fail, late ones included, until it is raised again at a
//! higher index. Nothing revives an attempt that a raise voided.
//!
//! If a renewal gets no good answer, another one follows after a quarter of the
//! request timeout, in parallel: an interruption that ends one request timeout
//! before the deadline must not lose the session, and requests sent during it may
//! hang.

mod blocked;
mod doomed;
mod fence;
mod messages;
mod opening;
#[cfg(test)]
mod tests;
mod tidying;

use std::time::Duration;

pub(crate) use self::messages::{Effect, Event, LeftBehind, Notice, Request, SessionView};
use self::{blocked::Blocked, doomed::DoomedSessions, tidying::Tidying};
#[cfg(test)]
use super::mutation::Mutation;
use super::{Ticket, Tickets, backoff::backoff};
use crate::{
    clock::Moment,
    config::Timing,
    consul::fact::{Fence, SessionId, SessionsSeen},
    ownership::LossReason,
};

#[derive(Debug)]
enum Phase {
    Absent {
        since: Option<Moment>,
    },
    Creating {
        ticket: Ticket,
        asked_at: Moment,
    },
    Open(Open),
    /// A loss is being reported; cleaning up follows.
    Telling(Open),
    /// Stopping, with a creation still in flight.
    Stopping {
        ticket: Ticket,
    },
    /// Stopped, and its sessions are being searched for and destroyed.
    Stopped,
    Ended,
}

#[derive(Debug)]
struct Open {
    view: SessionView,
    /// When its creation was sent.
    opened_at: Moment,
    /// When the latest successful renewal was sent.
    renewed_at: Moment,
    renew_at: Moment,
    /// When somebody last asked for a renewal. Only one that is sent later answers that.
    asked_at: Moment,
    /// Renewals in flight, with the moment just before each was sent.
    renewals: Vec<(Ticket, Moment)>,
    raise: Raise,
    /// Locks use it, because its fence has been settled once.
    lent: bool,
    /// The releases to wait for before it is destroyed.
    releases: usize,
}

/// The least time between two renewals.
const BETWEEN_RENEWALS: Duration = Duration::from_millis(100);

impl Open {
    /// Renews the session now, or a moment after the last renewal.
    fn renew_soon(&mut self, now: Moment) {
        let sent = self.renewals.iter().map(|(_, sent_at)| *sent_at);
        let last = sent.fold(self.renewed_at, Moment::max);
        self.renew_at = self.renew_at.min(now.max(last + BETWEEN_RENEWALS));
        self.asked_at = now;
    }
}

#[derive(Debug)]
enum Raise {
    Settled,
    Asking(Ticket),
    Again(Moment),
}

/// The session machine.
#[derive(Debug)]
pub(crate) struct Session {
    timing: Timing,
    phase: Phase,
    generation: u64,
    failures: u32,
    blocked: Blocked,
    doomed: DoomedSessions,
    tidying: Tidying,
    tickets: Tickets,
}

/// The pauses after other failures.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Pause after a session could not be used because Consul is too far: each attempt may
/// leave a session behind until its TTL.
const TOO_FAR: Duration = Duration::from_secs(5);

impl Session {
    /// Creates a machine that numbers its generations from `generation + 1`. It destroys what
    /// a machine that died left behind.
    pub(crate) fn new(
        now: Moment,
        timing: Timing,
        generation: u64,
        left_behind: LeftBehind,
    ) -> Self {
        let mut session = Self {
            doomed: DoomedSessions::new(timing.session_ttl),
            phase: Phase::Absent { since: None },
            generation,
            failures: 0,
            blocked: Blocked::default(),
            tidying: Tidying::new(timing.session_ttl),
            tickets: Tickets::default(),
            timing,
        };
        if left_behind != LeftBehind::Nothing {
            session.tidying.expect_stray(now);
        }
        if let LeftBehind::Session(id) = left_behind {
            session.doom(now, id, true);
        }
        session
    }

    /// The open session, if there is one.
    pub(crate) fn view(&self) -> Option<&SessionView> {
        match &self.phase {
            Phase::Open(open) => Some(&open.view),
            _ => None,
        }
    }

    /// The session that locks use, and when its creation and its latest successful renewal
    /// were sent.
    pub(crate) fn lent(&self) -> Option<(&SessionView, Moment, Moment)> {
        match &self.phase {
            Phase::Open(open) if open.lent => Some((&open.view, open.opened_at, open.renewed_at)),
            _ => None,
        }
    }

    /// Schedules the destruction of a session.
    fn doom(&mut self, now: Moment, session: SessionId, raised: bool) {
        self.doomed.add(now, session, raised);
    }

    /// When an [`Event::Tick`] is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        let phase = match &self.phase {
            Phase::Absent { since: Some(at) } => Some(*at),
            Phase::Open(open) => {
                // A latched cell is due at once: its last renewal is in the past.
                let deadline = open.view.cell.due().unwrap_or(open.renewed_at);
                let raise = match open.raise {
                    Raise::Again(at) => at,
                    _ => deadline,
                };
                let tidying = self.tidying.next_wakeup().filter(|_| open.lent);
                Some(deadline.min(open.renew_at).min(raise).min(tidying.unwrap_or(deadline)))
            }
            Phase::Stopped => self.tidying.next_look_for_strays(),
            Phase::Absent { since: None }
            | Phase::Creating { .. }
            | Phase::Telling(_)
            | Phase::Stopping { .. }
            | Phase::Ended => None,
        };
        phase.into_iter().chain(self.doomed.next_wakeup()).min()
    }

    /// Processes an event and appends the resulting effects.
    pub(crate) fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        // Whatever the event, a passed deadline is handled first.
        self.check_deadline(now, effects);
        match event {
            Event::Start => {
                if matches!(self.phase, Phase::Absent { since: None }) {
                    self.phase = Phase::Absent { since: Some(now) };
                }
            }
            Event::Created { ticket, answer } => self.created(now, ticket, answer, effects),
            Event::Renewed { ticket, answer } => self.renewed(now, ticket, answer, effects),
            Event::Destroyed { ticket, answer } => {
                let stopped = matches!(self.phase, Phase::Stopped);
                let (answer, tickets) = ((ticket, &answer), &mut self.tickets);
                self.doomed.destroyed(now, answer, stopped, tickets, effects);
            }
            Event::Asked(request) => self.asked(now, request, effects),
            Event::Raised { ticket, answer } => self.raised(now, ticket, answer, effects),
            Event::FenceRead { ticket, answer } => self.fence_read(now, ticket, answer, effects),
            Event::Listed { ticket, answer } => self.listed(now, ticket, answer),
            Event::StaleFences { ticket, answer } => {
                let present = self.view().map(|view| view.id.clone());
                self.tidying.fences_listed(now, ticket, answer, present.as_ref(), effects);
            }
            Event::Told { generation } => self.told(now, generation),
            Event::Stop => self.stop(now),
            Event::Tick => {}
        }
        #[cfg(test)]
        if Mutation::LossToldAfterRetry.is_chosen()
            && let Some(Effect::Notify(Notice::Closed { generation, .. })) = effects.last()
        {
            self.told(now, *generation);
            self.act(now, effects);
            return effects
                .sort_by_key(|effect| matches!(effect, Effect::Notify(Notice::Closed { .. })));
        }
        self.act(now, effects);
    }

    /// Sends every request that is due.
    fn act(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Absent { since: Some(at) } if *at <= now => {
                let ticket = self.tickets.next();
                self.phase = Phase::Creating { ticket, asked_at: now };
                effects.push(Effect::Create { ticket });
            }
            Phase::Open(open) => {
                if open.renew_at <= now {
                    let ticket = self.tickets.next();
                    open.renewals.push((ticket, now));
                    // A successful answer postpones this.
                    open.renew_at = now + self.timing.request_timeout() / 4;
                    effects.push(Effect::Renew { ticket, session: open.view.id.clone() });
                }
                if matches!(open.raise, Raise::Again(at) if at <= now) {
                    let ticket = self.tickets.next();
                    open.raise = Raise::Asking(ticket);
                    // A lost reply may hide a raise that took effect, so read first.
                    effects.push(Effect::ReadFence { ticket, session: open.view.id.clone() });
                }
                if open.lent {
                    self.tidying.act(now, &mut self.tickets, effects);
                }
            }
            Phase::Stopped => self.tidying.look_for_strays(now, &mut self.tickets, effects),
            _ => {}
        }
        self.doomed.act(now, &mut self.tickets, effects);
        let is_clean = self.doomed.is_empty() && !self.tidying.expects_strays();
        if matches!(self.phase, Phase::Stopped) && is_clean {
            self.phase = Phase::Ended;
            effects.push(Effect::Stopped { left: self.doomed.left() });
        }
    }

    fn check_deadline(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if let Some(view) = self.view().filter(|view| !view.cell.is_valid(now)) {
            // The warden may have latched the cell for another reason.
            let reason = view.cell.ended().unwrap_or(LossReason::DeadlinePassed);
            self.close(reason, effects);
        }
    }

    /// Closes the open generation: latches its cell and reports the loss. Destroying
    /// and replacing it come only after [`Event::Told`].
    fn close(&mut self, reason: LossReason, effects: &mut Vec<Effect>) {
        #[cfg(test)]
        if Mutation::CellRevived.is_chosen() && reason == LossReason::DeadlinePassed {
            return;
        }
        let old = std::mem::replace(&mut self.phase, Phase::Absent { since: None });
        let Phase::Open(open) = old else {
            self.phase = old;
            return;
        };
        open.view.cell.latch(reason);
        effects.push(Effect::Notify(Notice::Closed { generation: open.view.generation, reason }));
        self.phase = Phase::Telling(open);
    }

    fn told(&mut self, now: Moment, generation: u64) {
        if matches!(&self.phase, Phase::Telling(open) if open.view.generation == generation) {
            self.retire(now);
            self.phase = Phase::Absent { since: Some(now) };
        }
    }

    /// How many releases of this generation are under way, until it is to be destroyed.
    fn releases(&mut self, generation: u64) -> Option<&mut usize> {
        match &mut self.phase {
            Phase::Open(open) | Phase::Telling(open) if open.view.generation == generation => {
                Some(&mut open.releases)
            }
            _ => None,
        }
    }

    /// Moves the session to the sessions to destroy.
    fn retire(&mut self, now: Moment) {
        let old = std::mem::replace(&mut self.phase, Phase::Absent { since: None });
        if let Phase::Open(open) | Phase::Telling(open) = old {
            open.view.cell.latch(LossReason::Shutdown);
            let raised =
                open.view.fence != Fence::Unraised || !matches!(open.raise, Raise::Settled);
            self.doom(now, open.view.id.clone(), raised);
            self.doomed.wait(now, &open.view, open.releases);
        }
    }

    fn pause(&mut self, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        let pause = backoff(PAUSE, self.failures - 1, LONGEST_PAUSE);
        self.phase = Phase::Absent { since: Some(now + pause) };
    }

    fn stop(&mut self, now: Moment) {
        self.tidying.hurry(now);
        match self.phase {
            Phase::Creating { ticket, .. } => self.phase = Phase::Stopping { ticket },
            Phase::Stopping { .. } | Phase::Stopped | Phase::Ended => {}
            Phase::Absent { .. } | Phase::Open(_) | Phase::Telling(_) => {
                self.retire(now);
                self.phase = Phase::Stopped;
            }
        }
    }

    /// Dooms every session with this process's name except the current one.
    fn listed(&mut self, now: Moment, ticket: Ticket, answer: SessionsSeen) {
        let present = match &self.phase {
            Phase::Open(open) => Some(open.view.id.clone()),
            Phase::Stopped => None,
            _ => return self.tidying.search_again(now, ticket),
        };
        for stray in self.tidying.sessions_listed(now, ticket, answer, present.as_ref()) {
            if !self.doomed.contains(&stray) {
                // It may have a fence entry.
                self.doom(now, stray, true);
            }
        }
    }

    fn asked(&mut self, now: Moment, request: Request, effects: &mut Vec<Effect>) {
        match request {
            Request::RaiseFence { generation, seen } => {
                self.raise_fence(now, generation, seen, effects);
            }
            Request::ReleaseBegun { generation } => match self.releases(generation) {
                Some(releases) => *releases += 1,
                None => self.doomed.release_begun(generation),
            },
            Request::ReleaseEnded { generation } => match self.releases(generation) {
                Some(releases) => *releases = releases.saturating_sub(1),
                None => self.doomed.release_ended(now, generation),
            },
            Request::Renew { generation } => {
                if let Phase::Open(open) = &mut self.phase
                    && open.view.generation == generation
                {
                    open.renew_soon(now);
                }
            }
            Request::Distrust { generation, reason } => {
                if self.view().is_some_and(|view| view.generation == generation) {
                    self.close(reason, effects);
                }
            }
            // The warden knows what is owned and sends `Distrust` when nothing is.
            Request::Suspect { .. } => {}
        }
    }
}
