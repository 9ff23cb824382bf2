//! Contending for the lock, up to the moment of ownership.

use std::time::Duration;

use super::{Attempt, Effect, Leftover, Lock, Next, Phase, own::Own};
#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::Moment,
    consul::fact::{Entry, Expect, Locked, Seen, SessionId, SessionSeen, Trouble},
    error::{Error, Step},
    ownership::{Holder, LossReason},
    protocol::{Ticket, queue::Obstacle, session::unavailable},
    token::FencingToken,
};

/// The longest lock-delay that Consul enforces.
const LONGEST_LOCK_DELAY: Duration = Duration::from_secs(60);

impl Lock {
    /// Contends, provided that there is a session.
    pub(super) fn begin(&mut self, effects: &mut Vec<Effect>) {
        if self.session.is_none() {
            self.phase = Phase::Idle;
            return;
        }
        match self.resume {
            Next::Try(Expect::Missing) if self.reads_first => self.look(effects),
            Next::Try(expect) => self.try_lock(expect, effects),
            Next::Read => self.look(effects),
        }
    }

    pub(super) fn try_lock(&mut self, expect: Expect, effects: &mut Vec<Effect>) {
        let Some(view) = self.session.as_ref() else {
            // Idle until a session opens; the key may have changed by then.
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

    /// Handles the answer to a lock attempt.
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
            Locked::Changed | Locked::Held | Locked::Aside => {
                // Possibly by a duplicate of this request, so a read must decide.
                self.leftover = Leftover::Possible;
                self.look(effects);
            }
            Locked::Delayed => match self.leftover {
                // Lock-delay is running and our session still holds a leftover lock. Release it
                // now: the end of the delay changes nothing that a watch would show.
                Leftover::At(index) => self.release_leftover(index, effects),
                _ => self.delayed(now, attempt.expect, effects),
            },
            // A followed key may have changed meanwhile.
            Locked::Withdrawn => {
                let follow = self.demand.follow;
                self.resume = if follow { Next::Read } else { Next::Try(attempt.expect) };
                self.phase = Phase::Idle;
            }
            Locked::Fenced | Locked::FenceDenied(_) => self.make_void(attempt, false, effects),
            Locked::SessionGone => {
                self.phase = Phase::Idle;
                self.distrust(attempt.generation, LossReason::SessionGone, effects);
            }
            Locked::Denied(right) => {
                self.fail(now, Obstacle::Trouble(Error::Denied { right }), effects);
            }
            Locked::Refused(why) => {
                let error = Error::Unavailable { step: Step::Lock, why };
                self.fail(now, Obstacle::Trouble(error), effects);
            }
            // The attempt was never sent, so there is nothing to void.
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
            // Indexes only rise within one store's history.
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
            // Until the next demand from the callers.
            self.demand.keep = true;
            self.phase = Phase::Owned(own);
        } else {
            self.release(own, effects);
        }
    }

    /// Judges a read while contending.
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
                let obstacle = Obstacle::Trouble(Error::Denied { right });
                self.unreadable(now, obstacle, effects);
            }
            Seen::NameRefused(why) => {
                self.unreadable(now, Obstacle::NameRefused { why }, effects);
            }
            Seen::Unknown(trouble) => {
                self.obstruct(Obstacle::Trouble(unavailable(Step::Read, &trouble)), effects);
                self.pause(now, Next::Read);
            }
        }
    }

    /// Fails because the key cannot be read. A lock that our session may hold is then
    /// freed by the end of the session.
    fn unreadable(&mut self, now: Moment, obstacle: Obstacle, effects: &mut Vec<Effect>) {
        let had = std::mem::replace(&mut self.leftover, Leftover::None);
        #[cfg(test)]
        let had = if Mutation::DeniedReadForgotten.is_chosen() { Leftover::None } else { had };
        if had != Leftover::None {
            self.sweep_from_now(now, effects);
        }
        self.fail(now, obstacle, effects);
    }

    fn judge_entry(&mut self, now: Moment, entry: Entry, index: u64, effects: &mut Vec<Effect>) {
        let ours = self.session.as_ref().is_some_and(|view| entry.session == Some(view.id.clone()));
        if ours {
            // Take it over or release it at once, whatever flags were written over ours.
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
            // Those who follow the key learn its holder all the same.
            if self.demand.follow && entry.session.is_some() {
                self.wait(now, entry, index, effects);
            }
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

    /// Whether our fairness pause still leaves a free key to others. Impatient callers
    /// do not wait for it.
    fn is_courteous(&self, now: Moment) -> bool {
        now < self.yields_until && self.demand.wants() && !self.demand.impatient
    }

    /// Whether the key is not a lock of this crate. Flags of 0 prove nothing while the
    /// key is held, or once it is known to be a lock: a plain write, such as an
    /// editor's, sets them to 0.
    fn is_foreign(&self, entry: &Entry) -> bool {
        let written_over = entry.flags == 0 && (entry.session.is_some() || self.is_lock);
        entry.flags != self.flags && !written_over && !entry.is_remnant()
    }

    /// Reports that another session holds the key, and waits if a caller is patient or
    /// follows the key.
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
        // Followers must learn of every holder, so they never rest.
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

    /// Handles the answer to a watch: a change, or a failure.
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
                    // Same holder: only the value changed, or the wait timed out.
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

    /// Treats the loss of the watch actor like a broken connection.
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

    /// Handles a watch that ended without a change.
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

    /// Waits out Consul's lock-delay: tries exactly at its end if that is known,
    /// otherwise at growing intervals.
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

    /// Handles the answer about a session: a holder's, or our own.
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

    /// Reports that no session can be created.
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

    /// Reports the current obstacle to impatient callers that arrived during a wait.
    pub(super) fn tell_impatient(&mut self, effects: &mut Vec<Effect>) {
        if !self.demand.impatient {
            return;
        }
        match self.obstacle.clone() {
            Some(obstacle) => self.obstruct(obstacle, effects),
            // The only obstacle is our fairness pause; do not refuse an impatient caller for
            // it.
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
        // The report answers all impatient callers.
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
