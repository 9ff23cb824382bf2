//! Attempts that may still take effect: voiding them, looking for what they locked, and
//! recovering from the death of the actor that sent them.

use std::time::Duration;

use super::{Attempt, Effect, Leftover, Lock, Next, Phase, release::Releasing};
#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::Moment,
    consul::fact::{Expect, Fence, Seen, SessionId},
    error::{Error, Step},
    ownership::LossReason,
    protocol::{
        Ticket,
        queue::{Demand, Obstacle},
        session::Request,
    },
};

/// Repeated reads of a key for late attempts of a session without a usable fence.
/// They end with that session.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) generation: u64,
    session: SessionId,
    asking: Option<Ticket>,
    at: Moment,
}

impl Sweep {
    /// When the next read is due.
    pub(super) fn due(&self) -> Option<Moment> {
        self.asking.is_none().then_some(self.at)
    }
}

/// Interval between reads of a key with possible late attempts: their effect must
/// be undone within 5 s.
const SWEEP_PERIOD: Duration = Duration::from_secs(4);
/// How long the fence may take to be raised before callers that do not wait are refused.
const RAISING: Duration = Duration::from_secs(1);

impl Attempt {
    /// Whether this attempt fails if Consul processes it while the fence, raised since, is
    /// `fence`. A fence does not void an attempt that did not check it.
    fn is_void_at(&self, fence: Fence) -> bool {
        self.fence != fence && fence != Fence::Unusable && self.fence != Fence::Unusable
    }
}

impl Lock {
    /// Voids an attempt before a read decides. `unknown` if the attempt could still
    /// take effect otherwise.
    pub(super) fn make_void(
        &mut self,
        now: Moment,
        attempt: Attempt,
        unknown: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.leftover = Leftover::Possible;
        // For another key, the fence may have been raised already.
        let is_void = self.session.as_ref().is_some_and(|view| {
            view.generation == attempt.generation && attempt.is_void_at(view.fence)
        });
        if is_void {
            return self.voided(now, unknown, effects);
        }
        let (generation, seen) = (attempt.generation, attempt.fence);
        effects.push(Effect::Request(Request::RaiseFence { generation, seen }));
        self.phase = Phase::Fencing { attempt, unknown, told_at: now + RAISING };
    }

    /// The attempt is as void as it can be made, so a read decides.
    fn voided(&mut self, now: Moment, unknown: bool, effects: &mut Vec<Effect>) {
        // Each attempt costs a write to raise the fence, and may never be answered clearly.
        if unknown && self.unclear > 1 {
            return self.pause(now, Next::Read);
        }
        self.look(effects);
    }

    /// Tells callers that do not wait what made the outcome unknown: it may last, as for a whole
    /// outage. If nothing did, the fence is raised in one exchange, unless Consul is silent.
    pub(super) fn tell_impatient_while_fencing(
        &mut self,
        now: Moment,
        told_at: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if self.obstacle.is_none() && told_at <= now {
            let why = "Consul does not answer, so earlier attempts cannot be excluded";
            let error = Error::unavailable(Step::Lock, why);
            self.obstacle = Some(Obstacle::Trouble(error));
        }
        if self.obstacle.is_some() {
            self.tell_impatient(effects);
        }
    }

    /// Handles a changed fence, which may void the attempt.
    pub(super) fn fenced(
        &mut self,
        now: Moment,
        generation: u64,
        fence: Fence,
        effects: &mut Vec<Effect>,
    ) {
        let Some(view) = self.session.as_mut().filter(|view| view.generation == generation) else {
            return;
        };
        view.fence = fence;
        let Phase::Fencing { attempt, unknown, .. } = &self.phase else { return };
        let unknown = *unknown;
        if attempt.generation != generation || (attempt.fence == fence && fence != Fence::Unusable)
        {
            return;
        }
        if unknown && !attempt.is_void_at(fence) {
            self.sweep_from_now(now, effects);
        }
        self.voided(now, unknown, effects);
    }

    /// Takes a leftover lock over, releases it if nobody here wants the key alone, or
    /// reads whether there is one.
    pub(super) fn settle_leftover(&mut self, effects: &mut Vec<Effect>) {
        match self.leftover {
            Leftover::None => {}
            Leftover::ByCopy if self.may_take_over() => self.begin(effects),
            Leftover::ByCopy | Leftover::Possible => self.look(effects),
            Leftover::At(index) if self.may_take_over() => {
                self.try_lock(Expect::Index(index), effects);
            }
            Leftover::At(index) => self.release_leftover(index, effects),
        }
    }

    /// Whether an attempt may take a leftover lock over: not for a set, whose other keys may be
    /// awaited for long.
    pub(super) fn may_take_over(&self) -> bool {
        self.contends() && !self.demand.sets_only
    }

    /// Starts a sweep, because the effect of an attempt can be neither excluded nor
    /// read now. Also marks the session suspect.
    pub(super) fn sweep_from_now(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(view) = self.session.as_ref().filter(|_| self.sweep.is_none()) else { return };
        let (generation, session) = (view.generation, view.id.clone());
        self.sweep = Some(Sweep { generation, session, asking: None, at: now + SWEEP_PERIOD });
        effects.push(Effect::Request(Request::Suspect { generation }));
    }

    /// Reads the key for the effect of a late attempt, and repeats that the session is
    /// suspect: the first request may have died with the actor.
    pub(super) fn sweep_if_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(sweep) = self.sweep.as_mut().filter(|s| s.due().is_some_and(|at| at <= now))
        else {
            return;
        };
        let (ticket, generation) = (self.tickets.next(), sweep.generation);
        sweep.asking = Some(ticket);
        effects.push(Effect::Request(Request::Suspect { generation }));
        #[cfg(test)]
        if Mutation::SuspicionNotRepeated.is_chosen() {
            effects.pop();
        }
        effects.push(Effect::Read { ticket });
    }

    /// Handles the answer to a sweep's read. Returns whether it was one.
    pub(super) fn swept(&mut self, now: Moment, ticket: Ticket, answer: &Seen) -> bool {
        let Some(sweep) = self.sweep.as_mut().filter(|sweep| sweep.asking == Some(ticket)) else {
            return false;
        };
        (sweep.asking, sweep.at) = (None, now + SWEEP_PERIOD);
        if let Phase::Idle | Phase::Following { .. } = self.phase
            && let Seen::Found { entry, .. } = answer
            && entry.session.as_ref() == Some(&sweep.session)
        {
            self.leftover = Leftover::At(entry.modify_index);
        }
        true
    }

    /// Recovers after the death of the actor that ran this machine. Any ownership is
    /// lost, an attempt that may be in flight is voided, and the current write is forgotten. `floor` is the highest
    /// index at which a caller was ever granted the key.
    pub(crate) fn recover(&mut self, now: Moment, floor: u64, effects: &mut Vec<Effect>) {
        self.floor = self.floor.max(floor);
        // A write in flight expects this index.
        if let Phase::Owned(own)
        | Phase::Losing { own, .. }
        | Phase::Releasing(Releasing { own, .. }) = &self.phase
        {
            self.floor = self.floor.max(own.guard);
        }
        effects.push(Effect::Lost { reason: LossReason::RuntimeFailed });
        self.writing = None;
        self.demand = Demand::default();
        (self.unclear, self.outrun) = (0, 0);
        self.obstacle = None;
        self.phase = Phase::Idle;
        // The effects of its last turn may have died with the actor, and answers have.
        for (_, generation) in self.passing.drain(..) {
            effects.push(Effect::Request(Request::ReleaseEnded { generation }));
        }
        if let Some((generation, reason)) = self.distrusted {
            effects.push(Effect::Request(Request::Distrust { generation, reason }));
        }
        if let Some(sweep) = &mut self.sweep {
            (sweep.asking, sweep.at) = (None, now);
        }
        #[cfg(test)]
        if Mutation::RecoveredUnclean.is_chosen() {
            return self.act(now, effects);
        }
        if let Some(view) = self.session.clone() {
            let (generation, fence) = (view.generation, view.fence);
            let attempt = Attempt { generation, fence, expect: Expect::Missing };
            self.make_void(now, attempt, true, effects);
        }
        self.act(now, effects);
    }
}
