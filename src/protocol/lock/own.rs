//! Keeping, losing and releasing an ownership.

use std::time::Duration;

use super::{Effect, Leftover, Lock, Next, Phase};
#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::Moment,
    consul::fact::{Expect, Released, Seen, SessionId, SessionSeen},
    error::{Error, Step},
    ownership::LossReason,
    protocol::{
        Ticket,
        queue::Obstacle,
        session::{Request, SessionView, unavailable},
    },
};

/// A key that our session holds in Consul.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) generation: u64,
    pub(super) session: SessionId,
    /// The index at which it was won, which is the token's index.
    pub(super) won_at: u64,
    /// The key's current index, which guards the release. It moves when somebody writes
    /// the value.
    pub(super) index: u64,
    /// The value that somebody else wrote over ours.
    found: Option<Vec<u8>>,
    look: Look,
}

/// How a held key is observed: a deletion or a forced release does not touch the
/// session.
#[derive(Debug)]
enum Look {
    /// Start watching at this moment, so that short critical sections cost nothing.
    At(Moment),
    Watching(Ticket),
    Reading(Ticket),
}

/// How long a key is held before it is watched.
const UNWATCHED: Duration = Duration::from_secs(1);
/// Pause before watching again after the leader contradicted the watch.
const DOUBTED: Duration = Duration::from_secs(2);
/// The longest delay of a loss report to find out its reason.
const QUESTION_LIMIT: Duration = Duration::from_millis(250);
/// Fairness pause if no other contender was seen recently.
const COURTESY: Duration = Duration::from_millis(25);
/// Fairness pause if another contender was seen recently, since it may learn late
/// that the key is free. It ends early once another holds the key.
const COURTESY_AMONG_OTHERS: Duration = Duration::from_millis(200);
/// How long a contender counts as recent.
const REMEMBERED: Duration = Duration::from_millis(500);
/// One in this many pauses is a long one even if no contender was seen; otherwise a
/// contender that always learns too late would never be seen.
const RARELY: u32 = 32;

impl Own {
    pub(super) fn new(now: Moment, index: u64, view: &SessionView) -> Self {
        Self {
            generation: view.generation,
            session: view.id.clone(),
            won_at: index,
            index,
            found: None,
            look: Look::At(now + UNWATCHED),
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        match self.look {
            Look::At(when) => Some(when),
            Look::Watching(_) | Look::Reading(_) => None,
        }
    }

    /// The ticket of the open watch, if any.
    pub(super) fn watching(&self) -> Option<Ticket> {
        match self.look {
            Look::Watching(ticket) => Some(ticket),
            _ => None,
        }
    }

    pub(super) fn unchanged(&mut self, now: Moment, asked: Ticket) {
        if self.watching() == Some(asked) {
            self.look = Look::At(now);
        }
    }
}

/// A release in progress.
#[derive(Debug)]
pub(super) struct Releasing {
    pub(super) own: Own,
    step: ReleaseStep,
    /// An earlier request may already have released the key.
    unsure: bool,
    /// The value was overwritten since the release began.
    moved: bool,
    /// A caller here wants the key again, but others get a chance first.
    yielding: bool,
    setbacks: u32,
    /// When it first met an error.
    obstructed_at: Option<Moment>,
    /// [`Effect::Unreleased`] was reported.
    told: bool,
}

#[derive(Debug)]
enum ReleaseStep {
    Asked(Ticket),
    Reading(Ticket),
    Again(Moment),
}

impl Releasing {
    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        match self.step {
            ReleaseStep::Again(at) => Some(at),
            ReleaseStep::Asked(_) | ReleaseStep::Reading(_) => None,
        }
    }
}

impl Lock {
    pub(super) fn keep_or_release(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Phase::Owned(own) = &mut self.phase else { return };
        if !self.demand.keep {
            if let Phase::Owned(own) = std::mem::replace(&mut self.phase, Phase::Idle) {
                self.release(own, effects);
            }
            return;
        }
        if matches!(own.look, Look::At(when) if when <= now) {
            let ticket = self.tickets.next();
            own.look = Look::Watching(ticket);
            effects.push(Effect::Watch { ticket, after: own.index });
        }
    }

    /// Handles the answer to the watch of a held key.
    pub(super) fn own_watched(
        &mut self,
        now: Moment,
        asked: Ticket,
        answer: Seen,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Owned(own) = &mut self.phase else { return };
        if !matches!(own.look, Look::Watching(ticket) if ticket == asked) {
            return;
        }
        let index = match &answer {
            Seen::Found { index, .. } | Seen::Missing { index } => *index,
            Seen::Denied(_) | Seen::NameRefused(_) | Seen::Unknown(_) => {
                own.look = Look::At(now + UNWATCHED);
                return;
            }
        };
        if index < own.won_at {
            // Older than our ownership, or from another store: ask the leader.
            let ticket = self.tickets.next();
            own.look = Look::Reading(ticket);
            effects.push(Effect::Read { ticket });
            return;
        }
        own.look = Look::At(now);
        self.judge_own(now, answer, effects);
    }

    /// Handles the leader's answer to a read of the held key.
    pub(super) fn own_read(
        &mut self,
        now: Moment,
        asked: Ticket,
        answer: Seen,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Owned(own) = &mut self.phase else { return };
        if !matches!(own.look, Look::Reading(ticket) if ticket == asked) {
            return;
        }
        own.look = Look::At(now + DOUBTED);
        if let Seen::Denied(_) | Seen::NameRefused(_) | Seen::Unknown(_) = answer {
            return;
        }
        self.judge_own(now, answer, effects);
    }

    /// Judges a read of a held key.
    fn judge_own(&mut self, now: Moment, seen: Seen, effects: &mut Vec<Effect>) {
        let Phase::Owned(own) = &mut self.phase else { return };
        match seen {
            Seen::Found { entry, .. } if entry.session.as_ref() == Some(&own.session) => {
                if entry.modify_index < own.won_at {
                    self.own_of_another_store(effects);
                } else if entry.modify_index > own.index {
                    own.index = entry.modify_index;
                    own.found = Some(entry.value);
                }
            }
            Seen::Found { index, .. } | Seen::Missing { index } if index < own.won_at => {
                self.own_of_another_store(effects);
            }
            Seen::Missing { .. } => self.lose(LossReason::KeyDeleted, effects),
            Seen::Found { .. } => {
                // No longer ours, so revoke it at once. Then ask whether the session ended or
                // somebody released the key.
                let ticket = self.tickets.next();
                effects.push(Effect::Revoke);
                effects.push(Effect::AskSession { ticket, session: own.session.clone() });
                if let Phase::Owned(own) = std::mem::replace(&mut self.phase, Phase::Idle) {
                    self.phase = Phase::Losing { own, ticket, until: now + QUESTION_LIMIT };
                }
            }
            Seen::Denied(_) | Seen::NameRefused(_) | Seen::Unknown(_) => {}
        }
    }

    /// Loses the ownership, because its index is not from this store's history.
    fn own_of_another_store(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Owned(own) = &self.phase else { return };
        let generation = own.generation;
        self.lose(LossReason::StoreReplaced, effects);
        self.store_replaced(generation, effects);
    }

    /// Handles a replaced store, which an index revealed: a snapshot was restored, or
    /// the servers started empty. Nothing won under the session is proven any more.
    pub(super) fn store_replaced(&mut self, generation: u64, effects: &mut Vec<Effect>) {
        self.floor = 0;
        self.resume = Next::Read;
        self.forget_session();
        let reason = LossReason::StoreReplaced;
        effects.push(Effect::Request(Request::Distrust { generation, reason }));
    }

    /// Handles the answer about our own session, which decides the reason of a loss.
    pub(super) fn own_session_seen(
        &mut self,
        _now: Moment,
        asked: Ticket,
        answer: &SessionSeen,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Losing { own, ticket, .. } = &self.phase else { return };
        if *ticket != asked {
            return;
        }
        let generation = own.generation;
        if let SessionSeen::NotShown = answer {
            let reason = LossReason::SessionGone;
            self.lose(reason, effects);
            self.forget_session();
            effects.push(Effect::Request(Request::Distrust { generation, reason }));
        } else {
            self.lose(LossReason::ForceReleased, effects);
        }
    }

    /// Ends the ownership other than by its owner's release.
    pub(super) fn lose(&mut self, reason: LossReason, effects: &mut Vec<Effect>) {
        let own = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Owned(own) | Phase::Losing { own, .. } => own,
            Phase::Releasing(releasing) => releasing.own,
            other => {
                self.phase = other;
                return;
            }
        };
        self.floor = self.floor.max(own.index);
        self.resume = Next::Read;
        effects.push(Effect::Lost { reason });
    }

    /// Releases the key.
    pub(super) fn release(&mut self, own: Own, effects: &mut Vec<Effect>) {
        let ticket = self.tickets.next();
        self.floor = self.floor.max(own.index);
        effects.push(Effect::Release {
            ticket,
            session: own.session.clone(),
            index: own.index,
            found: own.found.clone(),
        });
        self.phase = Phase::Releasing(Releasing {
            own,
            step: ReleaseStep::Asked(ticket),
            unsure: false,
            moved: false,
            yielding: self.demand.wants(),
            setbacks: 0,
            obstructed_at: None,
            told: false,
        });
    }

    /// Releases a lock that an attempt of ours left.
    pub(super) fn release_leftover(&mut self, index: u64, effects: &mut Vec<Effect>) {
        self.leftover = Leftover::None;
        if let Some(view) = self.session.clone() {
            self.release(Own::new(Moment::default(), index, &view), effects);
        }
    }

    pub(super) fn release_again_if_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Phase::Releasing(releasing) = &mut self.phase else { return };
        if matches!(releasing.step, ReleaseStep::Again(at) if at <= now) {
            let ticket = self.tickets.next();
            releasing.step = ReleaseStep::Asked(ticket);
            let own = &releasing.own;
            effects.push(Effect::Release {
                ticket,
                session: own.session.clone(),
                index: own.index,
                found: own.found.clone(),
            });
        }
    }

    /// Handles the answer to a release.
    pub(super) fn released(
        &mut self,
        now: Moment,
        asked: Ticket,
        answer: Released,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Releasing(releasing) = &mut self.phase else { return };
        if !matches!(releasing.step, ReleaseStep::Asked(ticket) if ticket == asked) {
            return;
        }
        #[cfg(test)]
        if Mutation::RegrantAtSameIndex.is_chosen() && matches!(answer, Released::Unknown(_)) {
            return self.release_concluded(now, effects);
        }
        match answer {
            Released::Done => self.release_concluded(now, effects),
            Released::FenceFailed => {
                let ticket = self.tickets.next();
                releasing.step = ReleaseStep::Reading(ticket);
                effects.push(Effect::Read { ticket });
            }
            Released::Denied(right) => {
                releasing.unsure = true;
                self.release_obstructed(now, Error::Denied { right }, effects);
            }
            Released::Unknown(trouble) => {
                releasing.unsure = true;
                self.release_obstructed(now, unavailable(Step::Release, &trouble), effects);
            }
        }
    }

    /// Retries a release after it, or the read after it, failed. If Consul denies it,
    /// or fails for a whole lease while the session stays renewed, it may never
    /// succeed; then only the session's end frees the key.
    fn release_obstructed(&mut self, now: Moment, error: Error, effects: &mut Vec<Effect>) {
        let Phase::Releasing(releasing) = &mut self.phase else { return };
        releasing.again(now);
        let since = *releasing.obstructed_at.get_or_insert(now);
        let refused = matches!(error, Error::Denied { .. });
        let in_vain = |view: &SessionView| now.since(since) >= view.lease;
        let view = self.session.as_ref().filter(|view| view.cell.is_valid(now));
        if !releasing.told && view.is_some_and(|view| refused || in_vain(view)) {
            releasing.told = true;
            effects.push(Effect::Unreleased(error.clone()));
            let generation = releasing.own.generation;
            effects.push(Effect::Request(Request::Suspect { generation }));
        }
        // The release may never succeed.
        if releasing.told && self.demand.wants() {
            self.obstruct(Obstacle::Trouble(error), effects);
        }
    }

    /// Handles the read after a release whose index did not match.
    pub(super) fn release_read(
        &mut self,
        now: Moment,
        asked: Ticket,
        answer: Seen,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Releasing(releasing) = &mut self.phase else { return };
        if !matches!(releasing.step, ReleaseStep::Reading(ticket) if ticket == asked) {
            return;
        }
        let own = &mut releasing.own;
        let seen_at = match &answer {
            Seen::Found { entry, index } => entry.modify_index.min(*index),
            Seen::Missing { index } => *index,
            Seen::Denied(_) | Seen::NameRefused(_) | Seen::Unknown(_) => u64::MAX,
        };
        let reason = match answer {
            _ if seen_at < own.won_at => LossReason::StoreReplaced,
            Seen::Found { entry, .. } if entry.session.as_ref() == Some(&own.session) => {
                // The value was overwritten meanwhile, so the index has moved.
                own.index = entry.modify_index;
                own.found = Some(entry.value);
                self.floor = self.floor.max(own.index);
                releasing.moved(now);
                return;
            }
            Seen::Denied(right) => {
                return self.release_obstructed(now, Error::Denied { right }, effects);
            }
            Seen::NameRefused(why) => {
                let error = Error::Unavailable { step: Step::Read, why };
                return self.release_obstructed(now, error, effects);
            }
            Seen::Unknown(trouble) => {
                return self.release_obstructed(now, unavailable(Step::Read, &trouble), effects);
            }
            Seen::Missing { .. } => LossReason::KeyDeleted,
            Seen::Found { .. } => LossReason::ForceReleased,
        };
        let generation = own.generation;
        if releasing.unsure {
            self.release_concluded(now, effects);
        } else {
            self.lose(reason, effects);
        }
        if reason == LossReason::StoreReplaced {
            self.store_replaced(generation, effects);
        }
    }

    fn release_concluded(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Phase::Releasing(releasing) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        self.floor = self.floor.max(releasing.own.index);
        self.resume = Next::Try(Expect::Missing);
        self.obstacle = None;
        effects.push(Effect::Released);
        if releasing.yielding && self.demand.wants() {
            let others = self.rival_at.is_some_and(|at| now.since(at) < REMEMBERED);
            self.courtesies = self.courtesies.wrapping_add(1);
            let others = others || self.courtesies.is_multiple_of(RARELY);
            let courtesy = if others { COURTESY_AMONG_OTHERS } else { COURTESY };
            self.yields_until = now + courtesy;
            self.phase = self.courtesy(now);
        }
    }

    /// The next short pause of a fairness pause.
    pub(super) fn courtesy(&self, now: Moment) -> Phase {
        let until = self.yields_until.min(now + COURTESY);
        let is_last = until == self.yields_until;
        let next = if is_last { Next::Try(Expect::Missing) } else { Next::Read };
        Phase::Pausing { until, next }
    }
}

impl Releasing {
    /// Handles a write to the value between a read and the release. The first time, the
    /// release is repeated at once; later ones back off, because the writer keeps
    /// writing.
    fn moved(&mut self, now: Moment) {
        if std::mem::replace(&mut self.moved, true) {
            self.again(now);
        } else {
            self.step = ReleaseStep::Again(now);
        }
    }

    fn again(&mut self, now: Moment) {
        let pause = Duration::from_millis(50 << self.setbacks.min(5));
        self.setbacks += 1;
        self.step = ReleaseStep::Again(now + pause.min(Duration::from_secs(1)));
    }
}
