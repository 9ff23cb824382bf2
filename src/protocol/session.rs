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

use std::{sync::Arc, time::Duration};

use blocked::{Blocked, Failure};

#[cfg(test)]
use super::mutation::Mutation;
use super::{Ticket, Tickets, cell::DeadlineCell};
use crate::{
    clock::Moment,
    config::Timing,
    consul::fact::{
        Created, Destroyed, Fence, Raised, Renewed, Seen, SessionId, SessionsSeen, StaleFences,
        Trouble,
    },
    error::{Error, Step},
    ownership::LossReason,
};

/// An open session, as locks see it.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) struct SessionView {
    pub(crate) generation: u64,
    pub(crate) id: SessionId,
    pub(crate) cell: Arc<DeadlineCell>,
    /// How far a renewal moves the deadline.
    pub(crate) lease: Duration,
    pub(crate) fence: Fence,
}

/// A message from the session to its locks.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Notice {
    /// A session is open, and locks can use it.
    Opened(SessionView),
    /// The fence changed to this state; attempts made with another one fail.
    Fenced { generation: u64, fence: Fence },
    /// Nothing is owned under this generation any more. The session does not destroy or
    /// replace it until [`Event::Told`] confirms that the locks know.
    Closed { generation: u64, reason: LossReason },
    /// Creating or renewing the session failed with this error.
    Troubled(Error),
}

/// A message from a lock to the session.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Request {
    /// Void every lock attempt made with the fence `seen`.
    RaiseFence { generation: u64, seen: Fence },
    /// Close the generation: there is proof that it is unreliable.
    Distrust { generation: u64, reason: LossReason },
    /// Replace the session once nothing is owned under it: its late attempts cannot be
    /// voided, or only its end frees a key.
    Suspect { generation: u64 },
}

/// An input of the machine.
#[derive(Debug)]
pub(crate) enum Event {
    /// The runtime requests a session.
    Start,
    Created {
        ticket: Ticket,
        answer: Created,
    },
    Renewed {
        ticket: Ticket,
        answer: Renewed,
    },
    Destroyed {
        ticket: Ticket,
        answer: Destroyed,
    },
    Asked(Request),
    Raised {
        ticket: Ticket,
        answer: Raised,
    },
    FenceRead {
        ticket: Ticket,
        answer: Seen,
    },
    /// The answer to [`Effect::List`].
    Listed {
        ticket: Ticket,
        answer: SessionsSeen,
    },
    /// The answer to [`Effect::ListFences`].
    StaleFences {
        ticket: Ticket,
        answer: StaleFences,
    },
    /// Every loss under the generation has been reported to its owner.
    Told {
        generation: u64,
    },
    /// Nothing is owned or wanted any more: end the session.
    Stop,
    /// A wakeup is due.
    Tick,
}

/// An output of the machine.
#[derive(Debug)]
pub(crate) enum Effect {
    Create {
        ticket: Ticket,
    },
    Renew {
        ticket: Ticket,
        session: SessionId,
    },
    /// Destroy the session, then delete its fence entry if it was `raised`.
    Destroy {
        ticket: Ticket,
        session: SessionId,
        raised: bool,
    },
    Raise {
        ticket: Ticket,
        session: SessionId,
        from: Fence,
    },
    ReadFence {
        ticket: Ticket,
        session: SessionId,
    },
    /// List the sessions with this process's name, which no other process uses.
    List {
        ticket: Ticket,
    },
    /// List the fence entries that no session locks.
    ListFences {
        ticket: Ticket,
    },
    /// Delete fence entries that are unchanged since they were listed. Expects no
    /// answer.
    DeleteFences {
        stale: Vec<(SessionId, u64)>,
    },
    Notify(Notice),
    /// Locks work only once an operator has mended this.
    Blocked(String),
    /// Renewals succeed again.
    Recovered,
    /// The session was stopped as requested; no further effect follows.
    Stopped,
}

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
    Stopped,
}

#[derive(Debug)]
struct Open {
    view: SessionView,
    /// When its creation was sent.
    opened_at: Moment,
    /// When the latest successful renewal was sent.
    renewed_at: Moment,
    renew_at: Moment,
    /// Renewals in flight, with the moment just before each was sent.
    renewals: Vec<(Ticket, Moment)>,
    raise: Raise,
    /// Locks use it, because its fence has been settled once.
    lent: bool,
}

#[derive(Debug)]
enum Raise {
    Settled,
    Asking(Ticket),
    Again(Moment),
}

/// A periodic listing while a session is in use.
#[derive(Debug)]
enum Look {
    Never,
    At(Moment),
    Asking(Ticket),
}

impl Look {
    fn due(&self) -> Option<Moment> {
        match self {
            Self::At(at) => Some(*at),
            Self::Never | Self::Asking(_) => None,
        }
    }

    fn is_due(&self, now: Moment) -> bool {
        self.due().is_some_and(|at| at <= now)
    }

    fn asked(&self, ticket: Ticket) -> bool {
        matches!(self, Self::Asking(asked) if *asked == ticket)
    }
}

/// A closed session whose destruction Consul has not confirmed yet.
#[derive(Debug)]
struct Doomed {
    session: SessionId,
    raised: bool,
    asking: Option<Ticket>,
    again_at: Moment,
    /// From then on a refused destruction is not repeated: the TTL has ended the session.
    gives_up_at: Moment,
}

/// The session machine.
#[derive(Debug)]
pub(crate) struct Session {
    timing: Timing,
    phase: Phase,
    generation: u64,
    failures: u32,
    blocked: Blocked,
    doomed: Vec<Doomed>,
    /// The search for sessions created without this process learning their ids.
    strays: Look,
    /// A creation may still be in flight, so the search is repeated once.
    late_strays: bool,
    /// The search for fence entries of crashed processes.
    stale_fences: Look,
    tickets: Tickets,
}

/// Pause before retrying to raise a fence after the token was denied: rights can
/// change.
const DENIED_AGAIN: Duration = Duration::from_secs(60);
/// Pause before retrying to raise a fence after an inconclusive answer.
const RAISE_AGAIN: Duration = Duration::from_millis(250);
/// Delay of the second search for the session of a creation of unknown outcome.
const LATE_STRAY: Duration = Duration::from_secs(30);
/// Pause before retrying a listing that failed.
const LIST_AGAIN: Duration = Duration::from_secs(5);
/// The longest delay of a process's first search for stale fence entries. Each
/// session's delay is random: processes that start together do not search together,
/// and some of many short-lived ones do search.
const FIRST_TIDYING: Duration = Duration::from_secs(600);
/// Interval between later searches.
const TIDYING: Duration = Duration::from_secs(3600);
/// The most entries deleted at once, in one transaction.
const MOST_TIDIED: usize = 32;
/// Pause after the servers refused the TTL: only a change of configuration helps.
const TTL_REFUSED: Duration = Duration::from_secs(10);
/// Pause after a session could not be used because Consul is too far: each attempt may
/// leave a session behind until its TTL.
const TOO_FAR: Duration = Duration::from_secs(5);
/// The most closed sessions whose destruction is retried; the TTL ends older ones.
const MOST_DOOMED: usize = 16;

/// The pause after which a destruction that was refused for want of a right is repeated.
const DENIED_PAUSE: Duration = Duration::from_secs(2);
/// The TTLs after which an unrenewed session has ended at the latest: Consul waits for two,
/// and a late renewal may begin another.
const TTLS_TO_THE_END: u32 = 3;

impl Session {
    /// Creates a machine that numbers its generations from `generation + 1`.
    pub(crate) fn new(timing: Timing, generation: u64) -> Self {
        Self {
            timing,
            phase: Phase::Absent { since: None },
            generation,
            failures: 0,
            blocked: Blocked::default(),
            doomed: Vec::new(),
            strays: Look::Never,
            late_strays: false,
            stale_fences: Look::Never,
            tickets: Tickets::default(),
        }
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
    pub(crate) fn doom(&mut self, now: Moment, session: SessionId, raised: bool) {
        if self.doomed.len() == MOST_DOOMED {
            self.doomed.remove(0);
        }
        let gives_up_at = now + self.timing.session_ttl * TTLS_TO_THE_END;
        let doomed = Doomed { session, raised, asking: None, again_at: now, gives_up_at };
        self.doomed.push(doomed);
    }

    /// When an [`Event::Tick`] is due.
    pub(crate) fn next_wakeup(&self, now: Moment) -> Option<Moment> {
        let phase = match &self.phase {
            Phase::Absent { since: Some(at) } => Some(*at),
            Phase::Open(open) => {
                let deadline = open.view.cell.deadline(now).unwrap_or(now);
                let raise = match open.raise {
                    Raise::Again(at) => at,
                    _ => deadline,
                };
                let looks = [&self.strays, &self.stale_fences].into_iter().filter_map(Look::due);
                let looks = looks.filter(|_| open.lent).min().unwrap_or(deadline);
                Some(deadline.min(open.renew_at).min(raise).min(looks))
            }
            Phase::Absent { since: None }
            | Phase::Creating { .. }
            | Phase::Telling(_)
            | Phase::Stopping { .. }
            | Phase::Stopped => None,
        };
        let doomed = self.doomed.iter().filter(|d| d.asking.is_none()).map(|d| d.again_at).min();
        phase.into_iter().chain(doomed).min()
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
            Event::Destroyed { ticket, answer } => self.destroyed(now, ticket, &answer),
            Event::Asked(request) => self.asked(now, request, effects),
            Event::Raised { ticket, answer } => self.raised(now, ticket, answer, effects),
            Event::FenceRead { ticket, answer } => self.fence_read(now, ticket, answer, effects),
            Event::Listed { ticket, answer } => self.listed(now, ticket, answer),
            Event::StaleFences { ticket, answer } => {
                self.fences_listed(now, ticket, answer, effects);
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
                if open.lent && self.strays.is_due(now) {
                    let ticket = self.tickets.next();
                    self.strays = Look::Asking(ticket);
                    effects.push(Effect::List { ticket });
                }
                if open.lent && self.stale_fences.is_due(now) {
                    let ticket = self.tickets.next();
                    self.stale_fences = Look::Asking(ticket);
                    effects.push(Effect::ListFences { ticket });
                }
            }
            _ => {}
        }
        for doomed in &mut self.doomed {
            if doomed.asking.is_none() && doomed.again_at <= now {
                let ticket = self.tickets.next();
                doomed.asking = Some(ticket);
                effects.push(Effect::Destroy {
                    ticket,
                    session: doomed.session.clone(),
                    raised: doomed.raised,
                });
            }
        }
        if matches!(self.phase, Phase::Stopped) && self.doomed.is_empty() {
            effects.push(Effect::Stopped);
        }
    }

    fn check_deadline(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if let Some(view) = self.view().filter(|view| !view.cell.is_valid(now)) {
            // The warden may have latched the cell for another reason.
            let reason = view.cell.ended().unwrap_or(LossReason::DeadlinePassed);
            self.close(reason, effects);
        }
    }

    fn created(&mut self, now: Moment, ticket: Ticket, answer: Created, effects: &mut Vec<Effect>) {
        let asked_at = match self.phase {
            Phase::Creating { ticket: asked, asked_at } if asked == ticket => asked_at,
            // The session is not used.
            _ => {
                if let Created::Session(id) = answer {
                    self.doom(now, id, false);
                }
                if matches!(self.phase, Phase::Stopping { ticket: asked } if asked == ticket) {
                    self.phase = Phase::Stopped;
                }
                return;
            }
        };
        match answer {
            Created::Session(id) => {
                let deadline = self.deadline(now, asked_at, self.timing.session_ttl);
                self.generation += 1;
                let view = SessionView {
                    generation: self.generation,
                    id,
                    cell: Arc::new(DeadlineCell::new(deadline)),
                    lease: self.timing.lease(),
                    fence: Fence::Unraised,
                };
                let ticket = self.tickets.next();
                self.phase = Phase::Open(Open {
                    view: view.clone(),
                    opened_at: asked_at,
                    renewed_at: asked_at,
                    renew_at: asked_at + self.timing.renew_period(),
                    renewals: Vec::new(),
                    raise: Raise::Asking(ticket),
                    lent: false,
                });
                if view.cell.is_valid(now) {
                    self.failures = 0;
                    self.blocked.cleared();
                    #[cfg(test)]
                    if Mutation::LentUnfenced.is_chosen() {
                        return self.fence_is(now, ticket, Fence::Unraised, effects);
                    }
                    let (session, from) = (view.id, view.fence);
                    effects.push(Effect::Raise { ticket, session, from });
                } else {
                    // The answer came too late: the deadline has already passed.
                    self.retire(now);
                    self.pause(now);
                }
            }
            Created::Denied(right) => {
                self.pause(now);
                self.troubled(now, Step::CreateSession, Failure::Denied(right), effects);
            }
            Created::TtlRefused(range) => {
                self.pause(now);
                self.phase = Phase::Absent { since: Some(now + TTL_REFUSED) };
                let why = format!(
                    "is {:?}, but the servers accept {range}; raise it, or lower \
                     session_ttl_min in the servers' configuration",
                    self.timing.session_ttl
                );
                let error = Error::Invalid { field: "timing.session_ttl", why };
                effects.push(Effect::Blocked(error.to_string()));
                effects.push(Effect::Notify(Notice::Troubled(error)));
            }
            Created::Unknown(trouble) => {
                self.pause(now);
                // The session may exist nevertheless.
                (self.strays, self.late_strays) = (Look::At(now), true);
                if let Trouble::TooFar { .. } = trouble {
                    self.phase = Phase::Absent { since: Some(now + TOO_FAR) };
                }
                self.troubled(now, Step::CreateSession, Failure::Unknown(trouble), effects);
            }
        }
    }

    fn renewed(&mut self, now: Moment, ticket: Ticket, answer: Renewed, effects: &mut Vec<Effect>) {
        let timing = self.timing.clone();
        let Phase::Open(open) = &mut self.phase else { return };
        let Some(place) = open.renewals.iter().position(|(asked, _)| *asked == ticket) else {
            return;
        };
        let (_, sent_at) = open.renewals.swap_remove(place);
        match answer {
            Renewed::Alive { ttl } => {
                let ttl = ttl.unwrap_or(timing.session_ttl);
                let deadline = self.deadline(now, sent_at, ttl);
                let Phase::Open(open) = &mut self.phase else { return };
                open.renewed_at = open.renewed_at.max(sent_at);
                open.renew_at = open.renew_at.max(sent_at + timing.renew_period());
                if !open.view.cell.extend(now, deadline) {
                    self.close(LossReason::DeadlinePassed, effects);
                } else {
                    self.blocked.cleared();
                    if std::mem::take(&mut self.failures) > 0 {
                        effects.push(Effect::Recovered);
                    }
                }
            }
            Renewed::Gone => self.close(LossReason::SessionGone, effects),
            Renewed::Denied(right) => {
                self.failures = self.failures.saturating_add(1);
                self.troubled(now, Step::RenewSession, Failure::Denied(right), effects);
            }
            Renewed::Unknown(trouble) => {
                self.failures = self.failures.saturating_add(1);
                self.troubled(now, Step::RenewSession, Failure::Unknown(trouble), effects);
            }
        }
    }

    /// Reports a failed request, and what only an operator can mend.
    fn troubled(&mut self, now: Moment, step: Step, failure: Failure, effects: &mut Vec<Effect>) {
        let (error, why) = self.blocked.failed(now, &self.timing, step, failure);
        effects.extend(why.map(Effect::Blocked));
        effects.push(Effect::Notify(Notice::Troubled(error)));
    }

    /// The deadline proven by an answer to a request sent at `sent_at`.
    fn deadline(&self, now: Moment, sent_at: Moment, ttl: Duration) -> Moment {
        #[cfg(test)]
        if Mutation::LeaseFromResponse.is_chosen() {
            return now + self.timing.lease_under(ttl);
        } else if Mutation::DoubleTtlAsDeadline.is_chosen() {
            return sent_at + ttl * 2;
        } else if Mutation::LockDelayLeftOut.is_chosen() {
            return sent_at + Timing { fast_failover: true, ..self.timing }.lease_under(ttl);
        }
        let _ = now;
        sent_at + self.timing.lease_under(ttl)
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

    /// Moves the session to the sessions to destroy.
    fn retire(&mut self, now: Moment) {
        let old = std::mem::replace(&mut self.phase, Phase::Absent { since: None });
        if let Phase::Open(open) | Phase::Telling(open) = old {
            open.view.cell.latch(LossReason::Shutdown);
            let raised =
                open.view.fence != Fence::Unraised || !matches!(open.raise, Raise::Settled);
            self.doom(now, open.view.id, raised);
        }
    }

    fn pause(&mut self, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Absent { since: Some(now + backoff(self.failures)) };
    }

    fn destroyed(&mut self, now: Moment, ticket: Ticket, answer: &Destroyed) {
        let Some(place) = self.doomed.iter().position(|d| d.asking == Some(ticket)) else { return };
        let doomed = &mut self.doomed[place];
        doomed.asking = None;
        match answer {
            Destroyed::Unknown(trouble) if *trouble != Trouble::UnknownToken => {
                doomed.again_at = now + Duration::from_millis(500);
            }
            // The token may get the right back, and until then the session keeps its keys.
            // A stop does not wait for that.
            Destroyed::Denied(_) | Destroyed::Unknown(_)
                if now < doomed.gives_up_at && !matches!(self.phase, Phase::Stopped) =>
            {
                doomed.again_at = now + DENIED_PAUSE;
            }
            Destroyed::Done | Destroyed::Denied(_) | Destroyed::Unknown(_) => {
                drop(self.doomed.remove(place));
            }
        }
    }

    fn stop(&mut self, now: Moment) {
        match self.phase {
            Phase::Creating { ticket, .. } => self.phase = Phase::Stopping { ticket },
            Phase::Stopping { .. } | Phase::Stopped => {}
            Phase::Absent { .. } | Phase::Open(_) | Phase::Telling(_) => {
                self.retire(now);
                self.phase = Phase::Stopped;
            }
        }
    }

    fn asked(&mut self, now: Moment, request: Request, effects: &mut Vec<Effect>) {
        match request {
            Request::RaiseFence { generation, seen } => {
                self.raise_fence(now, generation, seen, effects);
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

    fn raise_fence(
        &mut self,
        now: Moment,
        generation: u64,
        seen: Fence,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Open(open) = &mut self.phase else { return };
        if open.view.generation != generation {
            return;
        }
        if open.view.fence != seen || seen == Fence::Unusable {
            // Already raised: the lock has not received the notice yet.
            effects.push(Effect::Notify(Notice::Fenced { generation, fence: open.view.fence }));
        } else if matches!(open.raise, Raise::Settled) {
            let ticket = self.tickets.next();
            open.raise = Raise::Asking(ticket);
            effects.push(Effect::Raise { ticket, session: open.view.id.clone(), from: seen });
        } else if let Raise::Again(at) = &mut open.raise {
            *at = now;
        }
    }

    fn raised(&mut self, now: Moment, ticket: Ticket, answer: Raised, effects: &mut Vec<Effect>) {
        match answer {
            Raised::At(index) => self.fence_is(now, ticket, Fence::At(index), effects),
            Raised::Denied(_) => self.fence_denied(now, ticket, effects),
            Raised::Stale => self.raise_again(ticket, now),
            Raised::Unknown(trouble) => {
                if self.is_lent() {
                    return self.raise_again(ticket, now + RAISE_AGAIN);
                }
                if let Trouble::TooFar { .. } = trouble {
                    // No renewal would be answered either.
                    self.retire(now);
                    self.phase = Phase::Absent { since: Some(now + TOO_FAR) };
                }
                self.troubled(now, Step::CreateSession, Failure::Unknown(trouble), effects);
                self.raise_again(ticket, now + RAISE_AGAIN);
            }
        }
    }

    fn fence_read(&mut self, now: Moment, ticket: Ticket, answer: Seen, effects: &mut Vec<Effect>) {
        let Phase::Open(open) = &mut self.phase else { return };
        let stands = match answer {
            Seen::Found { entry, .. } => Fence::At(entry.modify_index),
            Seen::Missing { .. } => Fence::Unraised,
            Seen::Denied(_) | Seen::NameRefused(_) => {
                return self.fence_denied(now, ticket, effects);
            }
            Seen::Unknown(_) => return self.raise_again(ticket, now + RAISE_AGAIN),
        };
        // A deleted entry must be rewritten as well. An entry that is unchanged since it
        // could not be raised voids nothing.
        let is_later = match (stands, open.view.fence) {
            (Fence::At(stands), Fence::At(known)) => stands > known,
            (Fence::At(_), Fence::Unraised) => true,
            _ => false,
        };
        if is_later {
            self.fence_is(now, ticket, stands, effects);
        } else if matches!(open.raise, Raise::Asking(asked) if asked == ticket) {
            let ticket = self.tickets.next();
            open.raise = Raise::Asking(ticket);
            effects.push(Effect::Raise { ticket, session: open.view.id.clone(), from: stands });
        }
    }

    fn fence_is(&mut self, now: Moment, ticket: Ticket, fence: Fence, effects: &mut Vec<Effect>) {
        let Phase::Open(open) = &mut self.phase else { return };
        if !matches!(open.raise, Raise::Asking(asked) if asked == ticket) {
            return;
        }
        if let (Fence::At(raised), Fence::At(before)) = (fence, open.view.fence)
            && raised <= before
        {
            // Indexes only rise within one store's history.
            return self.close(LossReason::StoreReplaced, effects);
        }
        open.raise = Raise::Settled;
        open.view.fence = fence;
        if std::mem::replace(&mut open.lent, true) {
            effects
                .push(Effect::Notify(Notice::Fenced { generation: open.view.generation, fence }));
            return;
        }
        if let Look::Never = self.stale_fences {
            self.stale_fences = Look::At(now + FIRST_TIDYING.mul_f64(share(&open.view.id)));
        }
        effects.push(Effect::Notify(Notice::Opened(open.view.clone())));
    }

    /// Handles a denied raise: locks do without a fence until the token may write it.
    fn fence_denied(&mut self, now: Moment, ticket: Ticket, effects: &mut Vec<Effect>) {
        let Phase::Open(open) = &mut self.phase else { return };
        if !matches!(open.raise, Raise::Asking(asked) if asked == ticket) {
            return;
        }
        let is_known = open.lent && open.view.fence == Fence::Unusable;
        if !is_known {
            self.fence_is(now, ticket, Fence::Unusable, effects);
        }
        if let Phase::Open(open) = &mut self.phase {
            open.raise = Raise::Again(now + DENIED_AGAIN);
        }
    }

    /// Dooms every session with this process's name except the current one.
    fn listed(&mut self, now: Moment, ticket: Ticket, answer: SessionsSeen) {
        if !self.strays.asked(ticket) {
            return;
        }
        // A session being created would be mistaken for a stray.
        let Phase::Open(open) = &self.phase else {
            self.strays = Look::At(now);
            return;
        };
        let present = open.view.id.clone();
        self.strays = match answer {
            SessionsSeen::Found(sessions) => {
                for session in sessions {
                    let is_known = self.doomed.iter().any(|doomed| doomed.session == session);
                    if session != present && !is_known {
                        self.doom(now, session, false);
                    }
                }
                let again = std::mem::take(&mut self.late_strays);
                if again { Look::At(now + LATE_STRAY) } else { Look::Never }
            }
            SessionsSeen::Denied(_) => Look::Never,
            SessionsSeen::Unknown(_) => Look::At(now + LIST_AGAIN),
        };
    }

    /// Deletes fence entries that no session locks. Their sessions have ended, or
    /// somebody unlocked them by force; in that case the owner raises its fence again,
    /// and nothing is revived.
    fn fences_listed(
        &mut self,
        now: Moment,
        ticket: Ticket,
        answer: StaleFences,
        effects: &mut Vec<Effect>,
    ) {
        if !self.stale_fences.asked(ticket) {
            return;
        }
        self.stale_fences = Look::At(now + TIDYING);
        if let StaleFences::Found(mut stale) = answer {
            stale.retain(|(session, _)| self.view().is_none_or(|view| view.id != *session));
            stale.truncate(MOST_TIDIED);
            if !stale.is_empty() {
                effects.push(Effect::DeleteFences { stale });
            }
        }
    }

    fn is_lent(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if open.lent)
    }

    fn raise_again(&mut self, ticket: Ticket, at: Moment) {
        if let Phase::Open(open) = &mut self.phase
            && matches!(open.raise, Raise::Asking(asked) if asked == ticket)
        {
            open.raise = Raise::Again(at);
        }
    }
}

/// A pseudo-random number between 0 and 1, derived from a session's id.
fn share(id: &SessionId) -> f64 {
    let fold = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    f64::from(id.as_str().bytes().fold(0x811c_9dc5, fold)) / f64::from(u32::MAX)
}

/// The pause after `failures` consecutive failures: 100 ms to 2 s.
fn backoff(failures: u32) -> Duration {
    Duration::from_millis(50 << failures.clamp(1, 6)).min(Duration::from_secs(2))
}

pub(crate) fn unavailable(step: Step, trouble: &Trouble) -> Error {
    Error::Unavailable { step, why: trouble.to_string() }
}

#[cfg(test)]
mod tests;
