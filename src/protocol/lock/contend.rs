//! How the lock is contended for, up to the moment of ownership.

use std::time::Duration;

use super::{Attempt, Effect, Leftover, Lock, Next, Phase, own::Own};
#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::Moment,
    consul::fact::{Entry, Expect, Locked, Seen, SessionId, SessionSeen, Trouble},
    error::{Error, Step},
    ownership::{Holder, LossReason},
    protocol::{
        Ticket,
        queue::Obstacle,
        session::{Request, unavailable},
    },
    token::FencingToken,
};

/// The longest that Consul enforces a lock-delay.
const LONGEST_LOCK_DELAY: Duration = Duration::from_secs(60);

impl Lock {
    /// Contends, if there is a session to contend with.
    pub(super) fn begin(&mut self, effects: &mut Vec<Effect>) {
        if self.session.is_none() {
            self.phase = Phase::Idle;
            return;
        }
        match self.resume {
            Next::Try(expect) => self.try_lock(expect, effects),
            Next::Read => self.look(effects),
        }
    }

    pub(super) fn try_lock(&mut self, expect: Expect, effects: &mut Vec<Effect>) {
        let Some(view) = self.session.as_ref() else {
            // Idle until a session opens; the key may look different by then.
            self.resume = Next::Read;
            self.phase = Phase::Idle;
            return;
        };
        self.resume = Next::Try(Expect::Missing);
        let attempt = Attempt { generation: view.generation, fence: view.fence, expect };
        let ticket = self.tickets.next();
        effects.push(Effect::Lock { ticket, session: view.id.clone(), fence: view.fence, expect });
        self.phase = Phase::Trying { ticket, attempt };
    }

    /// The answer to a lock attempt.
    pub(super) fn locked(
        &mut self,
        now: Moment,
        asked: Ticket,
        answer: Locked,
        effects: &mut Vec<Effect>,
    ) {
        #[cfg(test)]
        if let Phase::Fencing { attempt, .. } = &self.phase
            && Mutation::LateLockedBelieved.is_chosen()
        {
            self.phase = Phase::Trying { ticket: asked, attempt: attempt.clone() };
        }
        let Phase::Trying { ticket, attempt } = &self.phase else { return };
        #[cfg(test)]
        let asked = if Mutation::StaleTicketGranted.is_chosen() { *ticket } else { asked };
        if *ticket != asked {
            return;
        }
        let attempt = attempt.clone();
        match answer {
            Locked::At(index) => self.won(now, index, &attempt, effects),
            Locked::Changed | Locked::Held => {
                // By a copy of this very request, perhaps: a read must tell.
                self.leftover = Leftover::Possible;
                self.look(effects);
            }
            Locked::Delayed => match self.leftover {
                // The key is closed to everybody and locked by us: no change at the
                // end of the delay would show it.
                Leftover::At(index) => self.release_leftover(index, effects),
                _ => self.delayed(now, attempt.expect, effects),
            },
            Locked::Fenced | Locked::FenceDenied(_) => self.make_void(attempt, false, effects),
            Locked::SessionGone => {
                self.forget_session();
                self.phase = Phase::Idle;
                let (generation, reason) = (attempt.generation, LossReason::SessionGone);
                effects.push(Effect::Request(Request::Distrust { generation, reason }));
            }
            Locked::Denied(right) => {
                self.fail(now, Obstacle::Trouble(Error::Denied { right }), effects);
            }
            Locked::Refused(why) => {
                let error = Error::Unavailable { step: Step::Lock, why };
                self.fail(now, Obstacle::Trouble(error), effects);
            }
            // No attempt was made: there is nothing to be made void.
            Locked::Unsent(trouble) => {
                #[cfg(test)]
                if Mutation::LeftoverForgotten.is_chosen() {
                    self.leftover = Leftover::None;
                }
                self.obstruct(Obstacle::Trouble(unavailable(Step::Lock, &trouble)), effects);
                self.pause(now, Next::Try(attempt.expect));
            }
            Locked::Unknown(trouble) => {
                self.obstruct(Obstacle::Trouble(unavailable(Step::Lock, &trouble)), effects);
                self.make_void(attempt, true, effects);
            }
        }
    }

    fn won(&mut self, now: Moment, index: u64, attempt: &Attempt, effects: &mut Vec<Effect>) {
        let Some(view) = self.session.clone().filter(|v| v.generation == attempt.generation) else {
            self.phase = Phase::Idle;
            return;
        };
        self.leftover = Leftover::None;
        let is_other_store = index < self.floor;
        #[cfg(test)]
        let is_other_store = is_other_store && !Mutation::OtherStoreIgnored.is_chosen();
        if is_other_store {
            // Within one history of the store indexes only rise.
            self.phase = Phase::Idle;
            return self.store_replaced(view.generation, effects);
        }
        let own = Own::new(now, index, &view);
        self.setbacks = 0;
        self.freed_at = None;
        self.obstacle = None;
        let is_new = index > self.floor && FencingToken::new(index, 0).is_some();
        #[cfg(test)]
        let is_new = is_new || Mutation::RegrantAtSameIndex.is_chosen();
        if is_new && self.demand.wants() && view.cell.is_valid(now) {
            self.is_lock = true;
            effects.extend(self.edited.take().map(Effect::Overwrote));
            effects.push(Effect::Own { index, session: view.id, cell: view.cell });
            self.herd.won(now);
            // Until the callers say otherwise.
            self.demand.keep = true;
            self.phase = Phase::Owned(own);
        } else {
            self.release(own, effects);
        }
    }

    /// What a read tells a contender.
    pub(super) fn judge(&mut self, now: Moment, seen: Seen, effects: &mut Vec<Effect>) {
        self.phase = Phase::Idle;
        self.resume = Next::Try(Expect::Missing);
        match seen {
            Seen::Found { entry, index } => self.judge_entry(now, entry, index, effects),
            Seen::Missing { .. } => {
                self.leftover = Leftover::None;
                self.seen_free(effects);
                if self.is_courteous(now) {
                    self.phase = self.courtesy(now);
                } else if self.contends() {
                    self.try_lock(Expect::Missing, effects);
                } else {
                    self.rest(now);
                }
            }
            Seen::Denied(right) => {
                let had = std::mem::replace(&mut self.leftover, Leftover::None);
                #[cfg(test)]
                let had =
                    if Mutation::DeniedReadForgotten.is_chosen() { Leftover::None } else { had };
                if had != Leftover::None {
                    self.sweep_from_now(now, effects);
                }
                self.fail(now, Obstacle::Trouble(Error::Denied { right }), effects);
            }
            Seen::Unknown(trouble) => {
                self.obstruct(Obstacle::Trouble(unavailable(Step::Read, &trouble)), effects);
                self.pause(now, Next::Read);
            }
        }
    }

    fn judge_entry(&mut self, now: Moment, entry: Entry, index: u64, effects: &mut Vec<Effect>) {
        let ours = self.session.as_ref().is_some_and(|view| entry.session == Some(view.id.clone()));
        if ours {
            // Taken over or given back at once, whatever flags somebody wrote over ours.
            self.leftover = Leftover::At(entry.modify_index);
            return;
        }
        self.leftover = Leftover::None;
        self.edited = None;
        self.is_lock |= entry.flags == self.flags;
        if !self.demand.wants() && !self.demand.follow {
            self.phase = Phase::Idle;
            return;
        }
        if entry.session.is_none() {
            self.seen_free(effects);
        }
        let is_edited = self.is_lock && entry.flags == 0 && !entry.value.is_empty();
        if self.demand.wants() && self.is_foreign(&entry) {
            self.fail(now, Obstacle::Foreign { flags: entry.flags }, effects);
        } else if entry.session.is_some() {
            self.wait(now, entry, index, effects);
        } else if self.is_courteous(now) {
            self.phase = self.courtesy(now);
        } else if self.contends() {
            self.edited = is_edited.then_some(entry.value);
            self.try_lock(Expect::Index(entry.modify_index), effects);
        } else {
            self.rest(now);
        }
    }

    /// Whether a free key is still left to others. Who does not wait for a holder
    /// does not wait for that.
    fn is_courteous(&self, now: Moment) -> bool {
        now < self.yields_until && self.demand.wants() && !self.demand.impatient
    }

    /// Whether the key is not for us to lock. Flags of 0 prove nothing while it is held,
    /// or once it was seen to be a lock: a plain write over the value, as an editor
    /// makes one, sets them to 0.
    fn is_foreign(&self, entry: &Entry) -> bool {
        let written_over = entry.flags == 0 && (entry.session.is_some() || self.is_lock);
        entry.flags != self.flags && !written_over && !entry.is_remnant()
    }

    /// Somebody else holds the key: say so, and wait if anybody is willing to.
    fn wait(&mut self, now: Moment, entry: Entry, index: u64, effects: &mut Vec<Effect>) {
        let Some(session) = entry.session.clone() else { return };
        self.freed_at = None;
        self.setbacks = 0;
        self.rival_at = Some(now);
        self.is_lock = true;
        self.yields_until = now;
        let facts = self.holders.facts(&session);
        let holder = Holder {
            session: session.to_string(),
            session_name: facts.map(|facts| facts.name.clone()),
            node: facts.map(|facts| facts.node.clone()),
            value: entry.value.into(),
            since: entry.modify_index,
        };
        self.obstruct(Obstacle::Held(Box::new(holder)), effects);
        if !self.demand.patient && !self.demand.follow {
            self.phase = Phase::Idle;
            return;
        }
        if self.holders.meet(&session) {
            let ticket = self.tickets.next();
            self.holders.asked(ticket);
            effects.push(Effect::AskSession { ticket, session: session.clone() });
        }
        let share = self.share();
        let again = self.herd.look_again(now, entry.modify_index, share);
        // Who follows the key is to know each holder.
        match again.filter(|_| !self.demand.follow) {
            Some(until) => self.phase = Phase::Resting { until },
            None => self.wait_on(index, session, effects),
        }
    }

    fn wait_on(&mut self, after: u64, holder: SessionId, effects: &mut Vec<Effect>) {
        let ticket = self.tickets.next();
        self.phase = Phase::Waiting { ticket, holder, after };
        effects.push(Effect::Watch { ticket, after });
    }

    /// The watched key changed, or the watch failed.
    pub(super) fn watched(
        &mut self,
        now: Moment,
        asked: Ticket,
        answer: Seen,
        effects: &mut Vec<Effect>,
    ) {
        match &self.phase {
            Phase::Waiting { ticket, holder, .. } if *ticket == asked => {
                if let Seen::Found { entry, index } = &answer
                    && entry.session.as_ref() == Some(holder)
                    && !self.is_foreign(entry)
                {
                    // Still there; only its value changed, or the wait ran out.
                    let holder = holder.clone();
                    self.note_value(entry, effects);
                    return self.wait_on(*index, holder, effects);
                }
                if let Seen::Missing { .. }
                | Seen::Found { entry: Entry { session: None, .. }, .. } = answer
                {
                    self.freed_at = Some(now);
                }
                self.judge(now, answer, effects);
            }
            Phase::Owned(_) => self.own_watched(now, asked, answer, effects),
            _ => {}
        }
    }

    /// Whoever watched has failed: as if the connection had broken.
    pub(super) fn watch_lost(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let ticket = match &self.phase {
            Phase::Waiting { ticket, .. } => *ticket,
            Phase::Owned(own) => match own.watching() {
                Some(ticket) => ticket,
                None => return,
            },
            _ => return,
        };
        let answer = Seen::Unknown(Trouble::Broken("the watch ended".into()));
        self.watched(now, ticket, answer, effects);
    }

    /// The watch ended without news.
    pub(super) fn unchanged(&mut self, now: Moment, asked: Ticket, effects: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Waiting { ticket, holder, after } if *ticket == asked => {
                let (after, holder) = (*after, holder.clone());
                self.wait_on(after, holder, effects);
            }
            Phase::Owned(own) => own.unchanged(now, asked),
            _ => {}
        }
    }

    /// Consul's lock-delay keeps the key closed: try exactly at its end if that
    /// is known, else at growing intervals.
    fn delayed(&mut self, now: Moment, expect: Expect, effects: &mut Vec<Effect>) {
        let delay = self.holders.last().map(|(_, facts)| facts.lock_delay);
        let end = match (self.freed_at, delay) {
            (Some(freed_at), Some(delay)) => Some(freed_at + delay.min(LONGEST_LOCK_DELAY)),
            _ => None,
        };
        let until = match end {
            Some(end) if end > now => end,
            Some(_) => {
                let pause = Duration::from_millis(5 << self.setbacks.min(6));
                self.setbacks += 1;
                now + pause.min(Duration::from_millis(250))
            }
            None => {
                let pause = Duration::from_millis(50 << self.setbacks.min(4));
                self.setbacks += 1;
                now + self.jittered(pause.min(Duration::from_millis(500)))
            }
        };
        let remaining = end.filter(|end| *end > now).map(|end| end.since(now));
        self.obstruct(Obstacle::Delayed { remaining }, effects);
        self.phase = if self.demand.wants() {
            Phase::Pausing { until, next: Next::Try(expect) }
        } else {
            Phase::Idle
        };
    }

    /// What was asked about a session: the holder's, or our own.
    pub(super) fn session_seen(
        &mut self,
        now: Moment,
        asked: Ticket,
        answer: &SessionSeen,
        effects: &mut Vec<Effect>,
    ) {
        if self.holders.answered(asked, answer) {
            if let SessionSeen::Exists { .. } = answer
                && let Some((session, facts)) = self.holders.last()
                && let Some(Obstacle::Held(holder)) = &self.obstacle
                && holder.session == session.as_str()
                && holder.session_name.is_none()
            {
                let mut holder = holder.clone();
                holder.session_name = Some(facts.name.clone());
                holder.node = Some(facts.node.clone());
                self.obstruct(Obstacle::Held(holder), effects);
            }
            return;
        }
        self.own_session_seen(now, asked, answer, effects);
    }

    /// No session can be had.
    pub(super) fn troubled(&mut self, now: Moment, error: Error, effects: &mut Vec<Effect>) {
        let idle = matches!(self.phase, Phase::Idle | Phase::Following { .. });
        if !idle || !self.demand.wants() || self.session.is_some() {
            return;
        }
        if let Error::Denied { .. } | Error::Invalid { .. } = error {
            self.fail(now, Obstacle::Trouble(error), effects);
        } else {
            self.obstruct(Obstacle::Trouble(error), effects);
        }
    }

    /// Callers that came during a wait, and do not wait themselves, are told
    /// what stands in the way.
    pub(super) fn tell_impatient(&mut self, effects: &mut Vec<Effect>) {
        if !self.demand.impatient {
            return;
        }
        match self.obstacle.clone() {
            Some(obstacle) => self.obstruct(obstacle, effects),
            // Only our own courtesy to others: it is not theirs to wait for.
            None => {
                if let Phase::Pausing { next, .. } = self.phase {
                    self.resume = next;
                    self.begin(effects);
                }
            }
        }
    }

    pub(super) fn obstruct(&mut self, obstacle: Obstacle, effects: &mut Vec<Effect>) {
        self.obstacle = Some(obstacle.clone());
        effects.push(Effect::Obstructed(obstacle));
        // Whoever does not wait is gone with that.
        self.demand.impatient = false;
        if !self.demand.patient {
            self.demand.contending = 0;
        }
    }

    fn fail(&mut self, now: Moment, obstacle: Obstacle, effects: &mut Vec<Effect>) {
        self.rest_refused(now);
        self.demand.contending = 0;
        self.demand.patient = false;
        self.demand.impatient = false;
        effects.push(Effect::Failed(obstacle));
    }

    fn pause(&mut self, now: Moment, next: Next) {
        let pause = Duration::from_millis(100 << self.setbacks.min(4)).min(Duration::from_secs(1));
        self.setbacks += 1;
        let until = now + self.jittered(pause);
        self.phase = Phase::Pausing { until, next };
    }
}
