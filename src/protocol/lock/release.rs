//! Releasing a lock: fenced by its index, and repeated until it is concluded.

use std::time::Duration;

use super::{Effect, Leftover, Lock, Next, Phase, own::Own};
#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::Moment,
    consul::fact::{Expect, Released, Seen, SessionId},
    error::{Error, Step},
    ownership::LossReason,
    protocol::{
        Ticket,
        backoff::backoff,
        queue::Obstacle,
        session::{Request, SessionView},
    },
};

/// A release in progress.
#[derive(Debug)]
pub(super) struct Releasing {
    pub(super) own: Own,
    step: ReleaseStep,
    /// An earlier request may already have released the key.
    unsure: bool,
    /// The request in flight directly follows a read of the key.
    is_fresh: bool,
    /// A caller here wants the key again, but others get a chance first.
    yielding: bool,
    setbacks: u32,
    /// How often it failed directly after a read.
    outrun: u32,
    /// When it first met an error.
    obstructed_at: Option<Moment>,
    /// [`Effect::Unreleased`] was reported.
    told: bool,
}

/// The pauses between releases that fail.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause while others keep writing the key.
const LONGEST_PAUSE_AMONG_WRITERS: Duration = Duration::from_millis(250);

#[derive(Debug)]
enum ReleaseStep {
    Asked(Ticket),
    Reading(Ticket),
    Again(Moment),
    ReadAgain(Moment),
}

impl Releasing {
    /// Whether only the session's end may free the key.
    pub(super) fn is_in_vain(&self) -> bool {
        self.told
    }

    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        match self.step {
            ReleaseStep::Again(at) | ReleaseStep::ReadAgain(at) => Some(at),
            ReleaseStep::Asked(_) | ReleaseStep::Reading(_) => None,
        }
    }
}

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

impl Lock {
    /// Releases the key.
    pub(super) fn release(&mut self, own: Own, effects: &mut Vec<Effect>) {
        let ticket = self.tickets.next();
        self.floor = self.floor.max(own.index);
        self.obstacle = None;
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
            is_fresh: false,
            yielding: self.demand.wants(),
            setbacks: 0,
            outrun: 0,
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

    /// Releases, once and without regard to the outcome, a lock that nobody here owns,
    /// before its session is ended for another reason. The end of a session that holds
    /// the key would start a lock-delay, so the session's end waits for the answer.
    pub(super) fn release_in_passing(
        &mut self,
        (generation, session): (u64, SessionId),
        index: u64,
        found: Option<Vec<u8>>,
        effects: &mut Vec<Effect>,
    ) {
        let ticket = self.tickets.next();
        self.passing.push((ticket, generation));
        effects.push(Effect::Release { ticket, session, index, found });
        effects.push(Effect::Request(Request::ReleaseBegun { generation }));
    }

    pub(super) fn release_again_if_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Phase::Releasing(releasing) = &mut self.phase else { return };
        match releasing.step {
            ReleaseStep::Again(at) if at <= now => {
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
            ReleaseStep::ReadAgain(at) if at <= now => {
                let ticket = self.tickets.next();
                releasing.step = ReleaseStep::Reading(ticket);
                effects.push(Effect::Read { ticket });
            }
            _ => {}
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
        if let Some(place) = self.passing.iter().position(|(ticket, _)| *ticket == asked) {
            let (_, generation) = self.passing.swap_remove(place);
            effects.push(Effect::Request(Request::ReleaseEnded { generation }));
            return;
        }
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
            // While others write the key, a release succeeds only if it quickly follows a
            // read, so the pause comes before the read.
            Released::FenceFailed if releasing.is_fresh => {
                let longest = LONGEST_PAUSE_AMONG_WRITERS;
                let pause = self.random.within(backoff(PAUSE, releasing.outrun, longest));
                releasing.outrun += 1;
                (releasing.is_fresh, releasing.step) = (false, ReleaseStep::ReadAgain(now + pause));
                let error = Error::unavailable(Step::Release, "others keep writing the key");
                self.tell_obstruction(now, error, effects);
            }
            Released::FenceFailed => {
                releasing.step = ReleaseStep::ReadAgain(now);
            }
            Released::Denied(right) => {
                releasing.unsure = true;
                self.release_obstructed(now, Error::Denied { right }, effects);
            }
            Released::Unknown(trouble) => {
                releasing.unsure = true;
                self.release_obstructed(now, trouble.to_error(Step::Release), effects);
            }
        }
    }

    /// Retries a release after it, or the read after it, failed.
    fn release_obstructed(&mut self, now: Moment, error: Error, effects: &mut Vec<Effect>) {
        if let Phase::Releasing(releasing) = &mut self.phase {
            releasing.again(now);
        }
        self.tell_obstruction(now, error, effects);
    }

    /// Reports a failed release that may never succeed, because Consul denies it, or it has
    /// failed for a whole lease while the session stays renewed. Then only the session's end
    /// frees the key.
    fn tell_obstruction(&mut self, now: Moment, error: Error, effects: &mut Vec<Effect>) {
        // For callers that do not wait.
        self.obstacle = Some(Obstacle::Trouble(error.clone()));
        let Phase::Releasing(releasing) = &mut self.phase else { return };
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
        // What our session holds in another store.
        let mut left = None;
        let reason = match answer {
            Seen::Found { entry, .. }
                if seen_at < own.won_at && entry.session.as_ref() == Some(&own.session) =>
            {
                left = Some((entry.modify_index, entry.value));
                LossReason::StoreReplaced
            }
            _ if seen_at < own.won_at => LossReason::StoreReplaced,
            Seen::Found { entry, .. } if entry.session.as_ref() == Some(&own.session) => {
                // The value was overwritten meanwhile, so the index has moved.
                own.index = entry.modify_index;
                own.found = Some(entry.value);
                self.floor = self.floor.max(own.index);
                (releasing.is_fresh, releasing.step) = (true, ReleaseStep::Again(now));
                return;
            }
            Seen::Denied(right) => {
                return self.release_obstructed(now, Error::Denied { right }, effects);
            }
            Seen::NameRefused(why) => {
                let error = Error::unavailable(Step::Read, why);
                return self.release_obstructed(now, error, effects);
            }
            Seen::Unknown(trouble) => {
                return self.release_obstructed(now, trouble.to_error(Step::Read), effects);
            }
            Seen::Missing { .. } => LossReason::KeyDeleted,
            Seen::Found { .. } => LossReason::ForceReleased,
        };
        let (generation, session) = (own.generation, own.session.clone());
        if releasing.unsure {
            self.release_concluded(now, effects);
        } else {
            self.lose(reason, effects);
        }
        if reason == LossReason::StoreReplaced {
            if let Some((index, value)) = left {
                self.release_in_passing((generation, session), index, Some(value), effects);
            }
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
    fn again(&mut self, now: Moment) {
        let pause = backoff(PAUSE, self.setbacks, LONGEST_PAUSE);
        self.setbacks += 1;
        (self.is_fresh, self.step) = (false, ReleaseStep::Again(now + pause));
    }
}
