//! Whether this process owns one key: contend, wait, hold, lose, release.
//!
//! ```text
//!            wanted                     foreign holder
//!   Idle ─────────────► Trying ──changed──► Reading ─────► Waiting
//!    ▲                  │ │ ▲                ▲ │             │ wake
//!    │        delayed ┌─┘ │ └───── free ─────┼─┴─────────────┘
//!    │                ▼   │                  │ void
//!    │             Pausing│                  │
//!    │                    │                  │
//!    │    locked ┌────────┤                  │
//!    │           ▼        └─unknown──► Fencing: raise the fence
//!    │         Owned ──not ours──► Losing ──► lost
//!    │           │ not wanted
//!    └──── Releasing: fenced, repeated until concluded
//! ```
//!
//! One of many waiters rests before it waits, and reads again after that.
//!
//! Four rules carry the guarantees. A grant comes only from the answer to the
//! present lock attempt, at an index above that of every ownership that ended.
//! An attempt whose outcome is unknown is made void, by the session's fence,
//! before anything is concluded from a read. No lock is sent while a release is
//! unconcluded. And while our session has the key, or may have it, without an
//! owner here ([`Leftover`]), the machine does not rest: the lock is taken over
//! by a grant, released, or shown by the leader not to be ours.
//!
//! A key that is followed is looked at though nobody contends: the way is the
//! same, without the tries (`follow.rs`).

mod contend;
mod follow;
mod herd;
mod holders;
mod own;
mod state;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

#[cfg(test)]
use super::mutation::Mutation;
use super::{
    Ticket, Tickets,
    cell::DeadlineCell,
    queue::{Demand, Obstacle},
    session::{Notice, Request, SessionView},
};
use crate::{
    clock::Moment,
    consul::fact::{Expect, Fence, Locked, Released, Seen, SessionId, SessionSeen},
    error::Error,
    ownership::LossReason,
};

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// What the callers want now.
    Demand(Demand),
    Session(Notice),
    Locked {
        ticket: Ticket,
        answer: Locked,
    },
    Released {
        ticket: Ticket,
        answer: Released,
    },
    Read {
        ticket: Ticket,
        answer: Seen,
    },
    Watched {
        ticket: Ticket,
        answer: Seen,
    },
    /// The watch, if there is one, will not be answered.
    WatchLost,
    /// The watched key has not changed for a while: whoever still wants to know
    /// watches again.
    Unchanged {
        ticket: Ticket,
    },
    SessionSeen {
        ticket: Ticket,
        answer: SessionSeen,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Effect {
    Lock {
        ticket: Ticket,
        session: SessionId,
        fence: Fence,
        expect: Expect,
    },
    /// Release the key if our session holds it at `index`, leaving `found`, or
    /// what we locked it with, where something is left.
    Release {
        ticket: Ticket,
        session: SessionId,
        index: u64,
        found: Option<Vec<u8>>,
    },
    /// Read the key as the leader has it.
    Read {
        ticket: Ticket,
    },
    /// Answer when the key's index passes `after`.
    Watch {
        ticket: Ticket,
        after: u64,
    },
    AskSession {
        ticket: Ticket,
        session: SessionId,
    },
    Request(Request),
    /// The lock that comes to be owned replaces what somebody, who took the key for
    /// something else, had written over an earlier lock.
    Overwrote(Vec<u8>),
    /// The process owns the key.
    Own {
        index: u64,
        session: SessionId,
        cell: Arc<DeadlineCell>,
    },
    /// The ownership is over; the reason follows.
    Revoke,
    /// The ownership is over for that reason.
    Lost {
        reason: LossReason,
    },
    /// Consul has the key back.
    Released,
    /// Consul will not take the key back, for this reason; it is asked again.
    Unreleased(Error),
    /// Nobody holds the key, which is followed.
    Free,
    /// Something stands in the way for now.
    Obstructed(Obstacle),
    /// Waiting is of no use.
    Failed(Obstacle),
}

#[derive(Debug)]
enum Phase {
    Idle,
    Trying {
        ticket: Ticket,
        attempt: Attempt,
    },
    Reading {
        ticket: Ticket,
    },
    Waiting {
        ticket: Ticket,
        holder: SessionId,
        after: u64,
    },
    /// It is one of many that wait.
    Resting {
        until: Moment,
    },
    Pausing {
        until: Moment,
        next: Next,
    },
    /// Nobody here can contend, and nobody elsewhere holds the key, which is
    /// followed: it is read again then.
    Following {
        until: Moment,
    },
    /// An attempt is made void before a read decides; `unknown` if it may still
    /// take effect otherwise.
    Fencing {
        attempt: Attempt,
        unknown: bool,
    },
    Owned(own::Own),
    Losing {
        own: own::Own,
        ticket: Ticket,
        until: Moment,
    },
    Releasing(own::Releasing),
}

/// A lock transaction that was sent.
#[derive(Clone, Debug)]
struct Attempt {
    generation: u64,
    fence: Fence,
    expect: Expect,
}

/// What our session has of the key in Consul while no caller owns it here.
///
/// No answer to an attempt forgets it: only a grant, a release, a read of the
/// leader that shows another holder or none, or the session's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leftover {
    None,
    /// An attempt may have locked the key; a read tells.
    Possible,
    /// The leader showed it locked by our session at this index.
    At(u64),
}

/// How contending goes on after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Try(Expect),
    Read,
}

/// Late attempts of a session without a usable fence: the key is looked at from
/// time to time until that session has ended.
#[derive(Debug)]
struct Sweep {
    generation: u64,
    session: SessionId,
    asking: Option<Ticket>,
    at: Moment,
}

/// The lock machine of one key.
#[derive(Debug)]
pub(crate) struct Lock {
    flags: u64,
    phase: Phase,
    session: Option<SessionView>,
    demand: Demand,
    /// The highest index at which an ownership under this session ended.
    floor: u64,
    leftover: Leftover,
    /// The key was seen to be a lock: this process had it, or waited for it.
    is_lock: bool,
    /// What somebody wrote over a lock, and will be replaced by the present attempt.
    edited: Option<Vec<u8>>,
    holders: holders::Holders,
    herd: herd::Herd,
    /// When somebody else was last seen to hold the key.
    rival_at: Option<Moment>,
    /// Until then the key is left to others if it is free.
    yields_until: Moment,
    courtesies: u32,
    /// When the watch showed the key without a holder, if it was live then.
    freed_at: Option<Moment>,
    obstacle: Option<Obstacle>,
    /// Attempts in a row that met lock-delay, or trouble.
    setbacks: u32,
    /// A read is the better start: the key is known to exist.
    resume: Next,
    sweep: Option<Sweep>,
    tickets: Tickets,
    random: u64,
}

/// How often a key with possible late attempts is looked at: their effect is to
/// be undone within 5 s.
const SWEEP_PERIOD: Duration = Duration::from_secs(4);

impl Lock {
    /// A machine for a key whose entries carry `flags`. `seed` feeds the jitter.
    pub(crate) fn new(flags: u64, seed: u64) -> Self {
        Self {
            flags,
            phase: Phase::Idle,
            session: None,
            demand: Demand::default(),
            floor: 0,
            leftover: Leftover::None,
            is_lock: false,
            edited: None,
            holders: holders::Holders::default(),
            herd: herd::Herd::default(),
            rival_at: None,
            yields_until: Moment::default(),
            courtesies: 0,
            freed_at: None,
            obstacle: None,
            setbacks: 0,
            resume: Next::Try(Expect::Missing),
            sweep: None,
            tickets: Tickets::default(),
            random: seed | 1,
        }
    }

    /// Whether nothing is wanted, under way or left to be cleared up.
    pub(crate) fn is_quiet(&self) -> bool {
        let wanted = self.demand.wants() || self.demand.follow;
        let settled = self.leftover == Leftover::None && self.sweep.is_none();
        matches!(self.phase, Phase::Idle) && !wanted && settled
    }

    /// Whether the process owns the key, as far as it knows.
    pub(crate) fn owns(&self) -> bool {
        matches!(self.phase, Phase::Owned(_))
    }

    /// When an [`Event::Tick`] is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        let sweep = self.sweep.as_ref().filter(|sweep| sweep.asking.is_none()).map(|s| s.at);
        match &self.phase {
            Phase::Idle => sweep,
            Phase::Following { until } => sweep.into_iter().chain([*until]).min(),
            Phase::Resting { until }
            | Phase::Pausing { until, .. }
            | Phase::Losing { until, .. } => Some(*until),
            Phase::Owned(own) => own.next_wakeup(),
            Phase::Releasing(releasing) => releasing.next_wakeup(),
            Phase::Trying { .. }
            | Phase::Reading { .. }
            | Phase::Waiting { .. }
            | Phase::Fencing { .. } => None,
        }
    }

    /// Takes in what happened and appends what is to be done.
    pub(crate) fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Demand(demand) => self.demanded(demand, effects),
            Event::Session(notice) => self.notified(now, notice, effects),
            Event::Locked { ticket, answer } => self.locked(now, ticket, answer, effects),
            Event::Released { ticket, answer } => self.released(now, ticket, answer, effects),
            Event::Read { ticket, answer } => self.read(now, ticket, answer, effects),
            Event::Watched { ticket, answer } => self.watched(now, ticket, answer, effects),
            Event::WatchLost => self.watch_lost(now, effects),
            Event::Unchanged { ticket } => self.unchanged(now, ticket, effects),
            Event::SessionSeen { ticket, answer } => {
                self.session_seen(now, ticket, &answer, effects);
            }
            Event::Tick => {}
        }
        self.act(now, effects);
    }

    /// The actor that ran this machine died, at whatever point: what was owned
    /// is lost, and what may be under way is made void. `floor` is the highest
    /// index at which a caller was ever granted the key.
    pub(crate) fn recover(&mut self, now: Moment, floor: u64, effects: &mut Vec<Effect>) {
        self.floor = self.floor.max(floor);
        effects.push(Effect::Lost { reason: LossReason::RuntimeFailed });
        self.demand = Demand::default();
        self.phase = Phase::Idle;
        #[cfg(test)]
        if Mutation::RecoveredUnclean.is_chosen() {
            return self.act(now, effects);
        }
        if let Some(view) = self.session.clone() {
            let (generation, fence) = (view.generation, view.fence);
            let attempt = Attempt { generation, fence, expect: Expect::Missing };
            self.make_void(attempt, true, effects);
        }
        self.act(now, effects);
    }

    /// Does what is due without anything else having to happen.
    fn act(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let contends = self.contends();
        match &mut self.phase {
            Phase::Idle | Phase::Following { .. } if self.leftover != Leftover::None => {
                self.settle_leftover(effects);
            }
            Phase::Idle if contends => self.begin(effects),
            Phase::Idle if self.demand.follow => self.look(effects),
            Phase::Idle => self.sweep_if_due(now, effects),
            Phase::Following { until } => {
                if *until <= now || contends || !self.demand.follow {
                    self.phase = Phase::Idle;
                    self.act(now, effects);
                } else {
                    self.sweep_if_due(now, effects);
                }
            }
            Phase::Waiting { .. } if !self.demand.wants() => {
                if !self.demand.follow {
                    self.phase = Phase::Idle;
                    self.sweep_if_due(now, effects);
                }
            }
            Phase::Pausing { until, next } if !self.demand.wants() => {
                // What was paused for may be a try: only a read may be made now.
                let reads = self.demand.follow || self.leftover == Leftover::Possible;
                if !(reads && *next == Next::Read && now < *until) {
                    self.phase = Phase::Idle;
                    self.act(now, effects);
                }
            }
            Phase::Waiting { .. } => self.tell_impatient(effects),
            // Who does not wait, or follows the key, is told what is so now.
            Phase::Resting { until } => {
                let demand = self.demand;
                if *until <= now || demand.impatient || demand.follow || !demand.wants() {
                    self.resume = Next::Read;
                    self.phase = Phase::Idle;
                    self.act(now, effects);
                }
            }
            Phase::Pausing { until, next } => {
                if *until <= now {
                    self.resume = *next;
                    self.phase = Phase::Idle;
                    self.act(now, effects);
                } else {
                    self.tell_impatient(effects);
                }
            }
            Phase::Owned(_) => self.keep_or_release(now, effects),
            Phase::Losing { until, .. } if *until <= now => {
                self.lose(LossReason::ForceReleased, effects);
                self.act(now, effects);
            }
            Phase::Releasing(_) => self.release_again_if_due(now, effects),
            Phase::Trying { .. }
            | Phase::Reading { .. }
            | Phase::Fencing { .. }
            | Phase::Losing { .. } => {}
        }
    }

    /// Takes over what our session has of the key, gives it back if nobody here
    /// wants it, or finds out.
    fn settle_leftover(&mut self, effects: &mut Vec<Effect>) {
        match self.leftover {
            Leftover::None => {}
            Leftover::Possible => self.look(effects),
            Leftover::At(index) if self.demand.wants() => {
                self.try_lock(Expect::Index(index), effects);
            }
            Leftover::At(index) => self.release_leftover(index, effects),
        }
    }

    /// Nothing can be had with the session any more, and it has nothing.
    fn forget_session(&mut self) {
        self.session = None;
        self.leftover = Leftover::None;
    }

    /// The effect of an attempt can neither be excluded nor read: the key is looked
    /// at from time to time, until the session has ended.
    fn sweep_from_now(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(view) = self.session.as_ref().filter(|_| self.sweep.is_none()) else { return };
        let (generation, session) = (view.generation, view.id.clone());
        self.sweep = Some(Sweep { generation, session, asking: None, at: now + SWEEP_PERIOD });
        effects.push(Effect::Request(Request::Suspect { generation }));
    }

    /// Looks for a late attempt's effect.
    fn sweep_if_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if let Some(sweep) = self.sweep.as_mut().filter(|s| s.asking.is_none() && s.at <= now) {
            let ticket = self.tickets.next();
            sweep.asking = Some(ticket);
            effects.push(Effect::Read { ticket });
        }
    }

    fn notified(&mut self, now: Moment, notice: Notice, effects: &mut Vec<Effect>) {
        match notice {
            Notice::Opened(view) => self.session = Some(view),
            Notice::Fenced { generation, fence } => self.fenced(now, generation, fence, effects),
            Notice::Closed { generation, reason } => self.closed(generation, reason, effects),
            Notice::Troubled(error) => self.troubled(now, error, effects),
        }
    }

    fn closed(&mut self, generation: u64, reason: LossReason, effects: &mut Vec<Effect>) {
        if self.session.as_ref().is_some_and(|view| view.generation == generation) {
            self.forget_session();
        }
        if self.sweep.as_ref().is_some_and(|sweep| sweep.generation == generation) {
            self.sweep = None;
        }
        match &self.phase {
            Phase::Owned(own) | Phase::Losing { own, .. } if own.generation == generation => {
                self.lose(reason, effects);
            }
            // The owner had given it back; now Consul takes it back by itself.
            Phase::Releasing(releasing) if releasing.own.generation == generation => {
                self.lose(reason, effects);
            }
            // The session's end makes its attempts void.
            Phase::Trying { attempt, .. } | Phase::Fencing { attempt, .. }
                if attempt.generation == generation =>
            {
                self.phase = Phase::Idle;
                self.resume = Next::Read;
            }
            // The store may be another, in which the key has a lower index: the
            // watch would wait for the old one to be passed.
            Phase::Waiting { .. }
                if matches!(reason, LossReason::SessionGone | LossReason::StoreReplaced) =>
            {
                self.resume = Next::Read;
                self.phase = Phase::Idle;
            }
            _ => {}
        }
        // Only the same session can lock a key again at an index it had before;
        // and another store may begin with lower indexes.
        self.floor = 0;
    }

    fn fenced(&mut self, now: Moment, generation: u64, fence: Fence, effects: &mut Vec<Effect>) {
        let Some(view) = self.session.as_mut().filter(|view| view.generation == generation) else {
            return;
        };
        view.fence = fence;
        let Phase::Fencing { attempt, unknown } = &self.phase else { return };
        if attempt.generation != generation || (attempt.fence == fence && fence != Fence::Unusable)
        {
            return;
        }
        // One that did not check the fence is not made void by it.
        let is_void = fence != Fence::Unusable && attempt.fence != Fence::Unusable;
        if *unknown && !is_void {
            self.sweep_from_now(now, effects);
        }
        self.look(effects);
    }

    fn read(&mut self, now: Moment, ticket: Ticket, answer: Seen, effects: &mut Vec<Effect>) {
        if let Some(sweep) = self.sweep.as_mut().filter(|sweep| sweep.asking == Some(ticket)) {
            sweep.asking = None;
            sweep.at = now + SWEEP_PERIOD;
            if let Phase::Idle | Phase::Following { .. } = self.phase
                && let Seen::Found { entry, .. } = &answer
                && entry.session.as_ref() == Some(&sweep.session)
            {
                self.leftover = Leftover::At(entry.modify_index);
            }
            return;
        }
        match &self.phase {
            Phase::Reading { ticket: asked } if *asked == ticket => {
                self.judge(now, answer, effects);
            }
            Phase::Owned(_) => self.own_read(now, ticket, answer, effects),
            Phase::Releasing(_) => self.release_read(now, ticket, answer, effects),
            _ => {}
        }
    }

    /// Makes an attempt void before anything is concluded; `unknown` if it may
    /// still take effect otherwise.
    fn make_void(&mut self, attempt: Attempt, unknown: bool, effects: &mut Vec<Effect>) {
        let (generation, seen) = (attempt.generation, attempt.fence);
        effects.push(Effect::Request(Request::RaiseFence { generation, seen }));
        self.leftover = Leftover::Possible;
        self.phase = Phase::Fencing { attempt, unknown };
    }

    /// Half to all of `span`, at random.
    fn jittered(&mut self, span: Duration) -> Duration {
        span.mul_f64(0.5 + self.share() / 2.0)
    }

    /// A number from 0 to 1, at random.
    fn share(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 40) as f64 / (1u64 << 24) as f64
    }
}
