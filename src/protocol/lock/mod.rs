//! The lock machine of one key: contend, wait, hold, lose, release.
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
//! One of many waiters rests before it waits, then reads the key again.
//!
//! Four rules carry the guarantees. Only the answer to the current lock attempt
//! grants the key, and only at an index above the index of every ended ownership. An
//! attempt of unknown outcome is voided by raising the session's fence before a
//! read decides anything. No lock request is sent while a release is unresolved.
//! While our session holds the key in Consul, or may hold it, without an owner here
//! ([`Leftover`]), the machine does not rest: it takes the lock over, releases it,
//! or reads from the leader that it is not ours.
//!
//! A followed key is read even if nobody contends. It goes through the same phases
//! without lock attempts (`follow.rs`).

mod contend;
mod follow;
mod herd;
mod holders;
mod late;
mod own;
mod release;
mod state;
#[cfg(test)]
mod tests;
mod write;

use std::{sync::Arc, time::Duration};

use super::{
    Ticket, Tickets,
    cell::DeadlineCell,
    queue::{Demand, Obstacle},
    session::{Notice, Request, SessionView},
};
use crate::{
    clock::Moment,
    consul::fact::{Expect, Fence, Locked, Released, Seen, SessionId, SessionSeen, Written},
    error::Error,
    ownership::LossReason,
};

/// An input of the machine.
#[derive(Debug)]
pub(crate) enum Event {
    /// The callers' current demand.
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
    /// The open watch, if any, will not be answered.
    WatchLost,
    /// The watched key has not changed for a while. A machine that is still interested
    /// watches it again.
    Unchanged {
        ticket: Ticket,
    },
    SessionSeen {
        ticket: Ticket,
        answer: SessionSeen,
    },
    /// The answer to a write by the owner.
    Written {
        ticket: Ticket,
        answer: Written,
    },
    /// A wakeup is due.
    Tick,
}

/// An output of the machine.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Effect {
    Lock {
        ticket: Ticket,
        session: SessionId,
        fence: Fence,
        expect: Expect,
    },
    /// Release the key if our session holds it at `index`. If the entry is retained,
    /// its value becomes `found`, or else the value that we locked it with.
    Release {
        ticket: Ticket,
        session: SessionId,
        index: u64,
        found: Option<Vec<u8>>,
    },
    /// Read the key from the leader.
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
    /// The lock just won replaced this value, which somebody else had written over an
    /// earlier lock.
    Overwrote(Vec<u8>),
    /// The process owns the key.
    Own {
        index: u64,
        session: SessionId,
        cell: Arc<DeadlineCell>,
    },
    /// The ownership has ended; its reason follows in [`Effect::Lost`].
    Revoke,
    /// The ownership has ended for this reason.
    Lost {
        reason: LossReason,
    },
    /// The key is released in Consul.
    Released,
    /// The release fails with this error; it is retried.
    Unreleased(Error),
    /// Send the owner's next write, or the current one again, if our session holds the
    /// key at `index`.
    Write {
        ticket: Ticket,
        session: SessionId,
        index: u64,
    },
    /// The current write has this outcome.
    Wrote(Written),
    /// Nobody holds the followed key.
    Free,
    /// The key cannot be acquired for now.
    Obstructed(Obstacle),
    /// The key cannot be acquired, and waiting does not help.
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
    /// One of many waiters: does not watch the key until then.
    Resting {
        until: Moment,
    },
    Pausing {
        until: Moment,
        next: Next,
    },
    /// The followed key is free or refused, and nobody here can contend. It is read
    /// again at `until`.
    Following {
        until: Moment,
    },
    /// Voids an attempt before a read decides. `unknown` if the attempt could still
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
    Releasing(release::Releasing),
}

/// A lock transaction that has been sent.
#[derive(Clone, Debug)]
struct Attempt {
    generation: u64,
    fence: Fence,
    expect: Expect,
}

/// The lock that our session holds in Consul while no caller owns it here.
///
/// No answer to an attempt clears it, only a grant, a release, a read from the
/// leader that shows another holder or none, or the end of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leftover {
    None,
    /// An attempt may have locked the key; a read decides.
    Possible,
    /// The leader reported it locked by our session at this index.
    At(u64),
}

/// The next step after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Try(Expect),
    Read,
}

/// The lock machine of one key.
#[derive(Debug)]
pub(crate) struct Lock {
    flags: u64,
    phase: Phase,
    session: Option<SessionView>,
    demand: Demand,
    /// The highest index at which an ownership under the current session ended.
    floor: u64,
    leftover: Leftover,
    /// The key is known to be a lock: this process held it or waited for it.
    is_lock: bool,
    /// A value that somebody wrote over a lock; the current attempt replaces it.
    edited: Option<Vec<u8>>,
    holders: holders::Holders,
    herd: herd::Herd,
    /// When another holder was last seen.
    rival_at: Option<Moment>,
    /// The end of our fairness pause: until then, a free key is left to others.
    yields_until: Moment,
    courtesies: u32,
    /// When the watch reported that the key became free, if it did.
    freed_at: Option<Moment>,
    obstacle: Option<Obstacle>,
    /// Consecutive attempts that met lock-delay or an error.
    setbacks: u32,
    /// The first step when contending next: a read if the key is known to exist.
    resume: Next,
    /// No attempt is made before a read.
    reads_first: bool,
    sweep: Option<late::Sweep>,
    writing: Option<write::Writing>,
    /// No further write is sent before this.
    writes_from: Moment,
    /// The generation that this lock distrusts, until the session is closed.
    distrusted: Option<(u64, LossReason)>,
    tickets: Tickets,
    random: u64,
}

impl Lock {
    /// Creates the machine of a key whose entries carry `flags`. `seed` feeds the
    /// jitter.
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
            reads_first: false,
            sweep: None,
            writing: None,
            writes_from: Moment::default(),
            distrusted: None,
            tickets: Tickets::default(),
            random: seed | 1,
        }
    }

    /// Like [`new`](Self::new), for a machine that reads the key before each attempt.
    pub(super) fn that_reads_first(flags: u64, seed: u64) -> Self {
        Self { reads_first: true, ..Self::new(flags, seed) }
    }

    /// Fixes the jitter at its least, so that an exploration has fewer states.
    #[cfg(test)]
    pub(crate) fn hold_steady(&mut self) {
        self.random = 0;
    }

    /// Whether nothing is wanted, in flight or left to clean up.
    pub(crate) fn is_quiet(&self) -> bool {
        let wanted = self.demand.wants() || self.demand.follow;
        let settled = self.leftover == Leftover::None && self.sweep.is_none();
        let settled = settled && self.writing.is_none();
        matches!(self.phase, Phase::Idle) && !wanted && settled
    }

    /// Whether the machine considers the key owned.
    pub(crate) fn owns(&self) -> bool {
        matches!(self.phase, Phase::Owned(_))
    }

    /// When an [`Event::Tick`] is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        let sweep = self.sweep.as_ref().and_then(late::Sweep::due);
        match &self.phase {
            Phase::Idle => sweep,
            Phase::Following { until } => sweep.into_iter().chain([*until]).min(),
            Phase::Resting { until }
            | Phase::Pausing { until, .. }
            | Phase::Losing { until, .. } => Some(*until),
            Phase::Owned(own) => own.next_wakeup().into_iter().chain(self.next_write()).min(),
            Phase::Releasing(releasing) => releasing.next_wakeup(),
            Phase::Trying { .. }
            | Phase::Reading { .. }
            | Phase::Waiting { .. }
            | Phase::Fencing { .. } => None,
        }
    }

    /// Processes an event and appends the resulting effects.
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
            Event::Written { ticket, answer } => self.written(now, ticket, answer, effects),
            Event::Tick => {}
        }
        self.act(now, effects);
        self.conclude_write(effects);
    }

    /// Takes every step that needs no further event.
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
                // The pause may have been for a lock attempt, but now only a read is allowed.
                let reads = self.demand.follow || self.leftover == Leftover::Possible;
                if !(reads && *next == Next::Read && now < *until) {
                    self.phase = Phase::Idle;
                    self.act(now, effects);
                }
            }
            Phase::Waiting { .. } => self.tell_impatient(effects),
            // Impatient callers and followers need the current state now.
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

    /// Drops the session: it can acquire nothing more and holds nothing.
    fn forget_session(&mut self) {
        self.session = None;
        self.leftover = Leftover::None;
    }

    /// Drops the session and asks for its end, because there is proof that it is
    /// unreliable.
    fn distrust(&mut self, generation: u64, reason: LossReason, effects: &mut Vec<Effect>) {
        self.forget_session();
        self.distrusted = Some((generation, reason));
        effects.push(Effect::Request(Request::Distrust { generation, reason }));
    }

    fn notified(&mut self, now: Moment, notice: Notice, effects: &mut Vec<Effect>) {
        match notice {
            Notice::Opened(view) => {
                self.session = Some(view);
                // The store may be another since the wait began. There the key can have a
                // lower index, and the watch would wait for the old one to be passed.
                if matches!(self.phase, Phase::Waiting { .. }) {
                    self.look(effects);
                }
            }
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
        self.distrusted = self.distrusted.filter(|(distrusted, _)| *distrusted > generation);
        match &self.phase {
            Phase::Owned(own) | Phase::Losing { own, .. } if own.generation == generation => {
                self.lose(reason, effects);
            }
            // The owner had released it; the session's end now frees the key.
            Phase::Releasing(releasing) if releasing.own.generation == generation => {
                self.lose(reason, effects);
            }
            // The session's end voids its attempts.
            Phase::Trying { attempt, .. } | Phase::Fencing { attempt, .. }
                if attempt.generation == generation =>
            {
                self.phase = Phase::Idle;
                self.resume = Next::Read;
            }
            _ => {}
        }
        // Only the same session can lock a key again at an earlier index, and another store
        // may start with lower indexes.
        self.floor = 0;
    }

    fn read(&mut self, now: Moment, ticket: Ticket, answer: Seen, effects: &mut Vec<Effect>) {
        if self.swept(now, ticket, &answer) {
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

    /// A random duration between half of `span` and `span`.
    pub(super) fn jittered(&mut self, span: Duration) -> Duration {
        span.mul_f64(0.5 + self.share() / 2.0)
    }

    /// A random number between 0 and 1.
    fn share(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 40) as f64 / (1u64 << 24) as f64
    }
}
