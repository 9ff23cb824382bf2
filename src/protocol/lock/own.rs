//! How ownership is kept, lost and given back.

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
    /// The index at which it was won: the token's.
    pub(super) won_at: u64,
    /// The key's index now, moved when somebody writes its value: the fence of
    /// the release.
    pub(super) index: u64,
    /// The value that somebody wrote over ours.
    found: Option<Vec<u8>>,
    look: Look,
}

/// How the key is looked after while it is held: deletion and forced release do
/// not touch the session.
#[derive(Debug)]
enum Look {
    /// Not before this moment; short critical sections pay nothing.
    At(Moment),
    Watching(Ticket),
    Reading(Ticket),
}

/// For how long a key is held before it is watched.
const UNWATCHED: Duration = Duration::from_secs(1);
/// How long a key is left alone whose watch told what the leader does not.
const DOUBTED: Duration = Duration::from_secs(2);
/// How long the question why a key is no longer ours may delay the answer.
const QUESTION_LIMIT: Duration = Duration::from_millis(250);
/// How long others get a chance after the bounds of fairness were reached, if none
/// has been seen for a while.
const COURTESY: Duration = Duration::from_millis(25);
/// As long as some were seen, until one has taken the key, or for so long: they
/// may learn late that it is free.
const COURTESY_AMONG_OTHERS: Duration = Duration::from_millis(200);
/// How long others are remembered.
const REMEMBERED: Duration = Duration::from_millis(500);
/// One courtesy in so many is a long one although none was seen: whoever always
/// learns too late would never be.
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

    /// The question to the watch, if one is open.
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

/// A release that has not been concluded.
#[derive(Debug)]
pub(super) struct Releasing {
    pub(super) own: Own,
    step: ReleaseStep,
    /// An earlier request may have released it already.
    unsure: bool,
    /// Its value was written over since the release began.
    moved: bool,
    /// Somebody here wants it again, but others shall have a chance first.
    yielding: bool,
    setbacks: u32,
    /// When it was first not answered well.
    obstructed_at: Option<Moment>,
    /// It was told that the key cannot be given back.
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

    /// The blocking read of a held key was answered.
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
            Seen::Denied(_) | Seen::Unknown(_) => {
                own.look = Look::At(now + UNWATCHED);
                return;
            }
        };
        if index < own.won_at {
            // Older than our ownership, or of another store: let the leader say.
            let ticket = self.tickets.next();
            own.look = Look::Reading(ticket);
            effects.push(Effect::Read { ticket });
            return;
        }
        own.look = Look::At(now);
        self.judge_own(now, answer, effects);
    }

    /// A read of the held key, as the leader has it, was answered.
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
        if let Seen::Denied(_) | Seen::Unknown(_) = answer {
            return;
        }
        self.judge_own(now, answer, effects);
    }

    /// What a read tells an owner.
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
                // Not ours any more. Nobody may act on it from now; whether the
                // session ended or somebody released the key is one question.
                let ticket = self.tickets.next();
                effects.push(Effect::Revoke);
                effects.push(Effect::AskSession { ticket, session: own.session.clone() });
                if let Phase::Owned(own) = std::mem::replace(&mut self.phase, Phase::Idle) {
                    self.phase = Phase::Losing { own, ticket, until: now + QUESTION_LIMIT };
                }
            }
            Seen::Denied(_) | Seen::Unknown(_) => {}
        }
    }

    /// Our index is not of this store's history.
    fn own_of_another_store(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Owned(own) = &self.phase else { return };
        let generation = own.generation;
        self.lose(LossReason::StoreReplaced, effects);
        self.store_replaced(generation, effects);
    }

    /// An index shows that the store was replaced by another: by a restored
    /// snapshot, or by servers that started empty. Nothing that was won under the
    /// session is proven any more.
    pub(super) fn store_replaced(&mut self, generation: u64, effects: &mut Vec<Effect>) {
        self.floor = 0;
        self.resume = Next::Read;
        self.forget_session();
        let reason = LossReason::StoreReplaced;
        effects.push(Effect::Request(Request::Distrust { generation, reason }));
    }

    /// Our own session was asked for, to learn why the key is not ours.
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

    /// The ownership is over, other than by its owner's release.
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

    /// Gives the key back.
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

    /// Gives back what an attempt of ours took.
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

    /// The answer to a release.
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

    /// A release, or the read after it, was not answered well: it is repeated.
    /// What Consul refuses, or does not do for a lease during which it renewed the
    /// session, it may never do: then only the session's end frees the key.
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
        // It may take for ever.
        if releasing.told && self.demand.wants() {
            self.obstruct(Obstacle::Trouble(error), effects);
        }
    }

    /// The fence of a release failed: whose is the key now?
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
            Seen::Denied(_) | Seen::Unknown(_) => u64::MAX,
        };
        let reason = match answer {
            _ if seen_at < own.won_at => LossReason::StoreReplaced,
            Seen::Found { entry, .. } if entry.session.as_ref() == Some(&own.session) => {
                // Its value was written over meanwhile: the fence has moved.
                own.index = entry.modify_index;
                own.found = Some(entry.value);
                self.floor = self.floor.max(own.index);
                releasing.moved(now);
                return;
            }
            Seen::Denied(right) => {
                return self.release_obstructed(now, Error::Denied { right }, effects);
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

    /// Leaves the key to others for the next moment of a courtesy.
    pub(super) fn courtesy(&self, now: Moment) -> Phase {
        let until = self.yields_until.min(now + COURTESY);
        let is_last = until == self.yields_until;
        let next = if is_last { Next::Try(Expect::Missing) } else { Next::Read };
        Phase::Pausing { until, next }
    }
}

impl Releasing {
    /// Somebody wrote the key's value between a read and the release: once, it is
    /// released again at once; if it happens again, somebody goes on writing.
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
