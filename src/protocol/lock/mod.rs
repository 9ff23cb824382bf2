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
mod judge;
mod late;
mod messages;
mod obstacle;
mod own;
mod release;
mod state;
#[cfg(test)]
mod tests;
mod under_session;
mod wait;
mod write;

pub(crate) use self::{
    messages::{Effect, Event},
    state::Pause,
};
use super::{
    Ticket, Tickets,
    backoff::Jitter,
    queue::{Demand, Obstacle},
    session::SessionView,
};
use crate::{
    clock::Moment,
    consul::fact::{Expect, Fence, Seen, SessionId},
    error::Error,
    ownership::LossReason,
};

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
        /// The key's flags, if they are not those of a lock.
        foreign: Option<u64>,
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
    /// take effect otherwise. From `told_at` on, callers that do not wait are refused.
    Fencing {
        attempt: Attempt,
        unknown: bool,
        told_at: Moment,
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
    /// Consul refused an attempt, and a copy of it may have locked the key before. The next
    /// attempt decides, or, if nobody wants the key alone, a read that is not refused as well.
    ByCopy,
    /// An attempt may have locked the key; a read decides.
    Possible,
    /// The leader reported it locked by our session at this index.
    At(u64),
}

impl Leftover {
    /// Whether a read must show if the lock exists.
    fn needs_a_read(self) -> bool {
        matches!(self, Self::ByCopy | Self::Possible)
    }
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
    /// Why there is no session, since that was last tried.
    no_session: Option<Error>,
    /// Consecutive attempts that met lock-delay or an error.
    setbacks: u32,
    /// How many attempts in a row had no clear answer.
    unclear: u32,
    /// How many attempts in a row found the key changed since it was read.
    outrun: u32,
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
    /// The releases in passing that have no answer yet, and their generations.
    passing: Vec<(Ticket, u64)>,
    tickets: Tickets,
    random: Jitter,
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
            no_session: None,
            setbacks: 0,
            unclear: 0,
            outrun: 0,
            resume: Next::Try(Expect::Missing),
            reads_first: false,
            sweep: None,
            writing: None,
            writes_from: Moment::default(),
            distrusted: None,
            passing: Vec::new(),
            tickets: Tickets::default(),
            random: Jitter::new(seed),
        }
    }

    /// Like [`new`](Self::new), for a machine that reads the key before each attempt.
    pub(super) fn that_reads_first(flags: u64, seed: u64) -> Self {
        Self { reads_first: true, ..Self::new(flags, seed) }
    }

    /// Fixes the jitter at its least, so that an exploration has fewer states.
    #[cfg(test)]
    pub(crate) fn hold_steady(&mut self) {
        self.random = Jitter::steady();
    }

    /// Whether nothing is wanted, in flight or left to clean up.
    pub(crate) fn is_quiet(&self) -> bool {
        let wanted = self.demand.wants() || self.demand.follow;
        let settled = self.leftover == Leftover::None && self.sweep.is_none();
        let settled = settled && self.writing.is_none() && self.passing.is_empty();
        let settled = settled && self.distrusted.is_none();
        matches!(self.phase, Phase::Idle) && !wanted && settled
    }

    /// Whether the machine considers the key owned.
    pub(crate) fn owns(&self) -> bool {
        matches!(self.phase, Phase::Owned(_))
    }

    /// Whether the current attempt may take over a lock that our session has in Consul.
    pub(crate) fn takes_over(&self) -> bool {
        matches!(self.leftover, Leftover::ByCopy | Leftover::At(_))
    }

    /// Whether this is the ticket of the current attempt.
    pub(crate) fn tries(&self, asked: Ticket) -> bool {
        matches!(&self.phase, Phase::Trying { ticket, .. } if *ticket == asked)
    }

    /// Whether the current ownership, or the one that is being released, was won at this index.
    pub(crate) fn has_won_at(&self, index: u64) -> bool {
        match &self.phase {
            Phase::Owned(own) | Phase::Losing { own, .. } => own.won_at == index,
            Phase::Releasing(releasing) => releasing.own.won_at == index,
            _ => false,
        }
    }

    /// Whether the key is read from time to time for the effects of late attempts.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// Whether the end of the session would take the key from its owner, or end a release that
    /// may succeed.
    pub(crate) fn needs_session(&self) -> bool {
        match &self.phase {
            Phase::Owned(_) => true,
            Phase::Releasing(releasing) => !releasing.is_in_vain(),
            _ => false,
        }
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
            Phase::Fencing { told_at, .. } => self.demand.impatient.then_some(*told_at),
            Phase::Trying { .. } | Phase::Reading { .. } | Phase::Waiting { .. } => None,
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
                self.session_seen(ticket, &answer, effects);
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
                let reads = self.demand.follow || self.leftover.needs_a_read();
                if !(reads && *next == Next::Read && now < *until) {
                    self.phase = Phase::Idle;
                    self.act(now, effects);
                }
            }
            Phase::Waiting { foreign: Some(flags), .. } => {
                let flags = *flags;
                self.refuse(Obstacle::Foreign { flags }, effects);
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
            Phase::Releasing(_) => {
                self.release_again_if_due(now, effects);
                self.tell_impatient(effects);
            }
            Phase::Fencing { told_at, .. } => {
                let told_at = *told_at;
                self.tell_impatient_while_fencing(now, told_at, effects);
            }
            Phase::Trying { .. } | Phase::Reading { .. } | Phase::Losing { .. } => {}
        }
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
}
