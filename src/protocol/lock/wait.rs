//! Waiting for another holder.

use super::{Effect, Lock, Phase};
use crate::{
    clock::Moment,
    consul::fact::{Entry, Seen, SessionId, SessionSeen, Trouble},
    protocol::{Ticket, queue::Obstacle},
};

impl Lock {
    /// Reports that another session holds the key, and waits if a caller is patient or
    /// follows the key.
    pub(super) fn wait(
        &mut self,
        now: Moment,
        entry: Entry,
        index: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = entry.session.clone() else { return };
        let foreign = self.is_foreign(&entry).then_some(entry.flags);
        self.freed_at = None;
        (self.setbacks, self.outrun) = (0, 0);
        self.rival_at = Some(now);
        self.is_lock = true;
        self.yields_until = now;
        let names =
            self.holders.facts(&session).map(|facts| (facts.name.clone(), facts.node.clone()));
        let since = entry.modify_index;
        let Some(holder) = entry.into_holder(names) else { return };
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
        let share = self.random.share();
        let again = self.herd.look_again(now, since, share);
        // Followers must learn of every holder, so they never rest.
        match again.filter(|_| !self.demand.follow) {
            Some(until) => self.phase = Phase::Resting { until },
            None => self.wait_on(index, session, foreign, effects),
        }
    }

    fn wait_on(
        &mut self,
        after: u64,
        holder: SessionId,
        foreign: Option<u64>,
        effects: &mut Vec<Effect>,
    ) {
        let ticket = self.tickets.next();
        effects.push(Effect::Watch { ticket, after, holder: Some(holder.clone()) });
        self.phase = Phase::Waiting { ticket, holder, after, foreign };
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
                    return self.wait_on(*index, holder, None, effects);
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
            Phase::Waiting { ticket, holder, after, foreign } if *ticket == asked => {
                let (after, holder, foreign) = (*after, holder.clone(), *foreign);
                self.wait_on(after, holder, foreign, effects);
            }
            Phase::Owned(own) => own.unchanged(now, asked),
            _ => {}
        }
    }

    /// Handles the answer about a session: a holder's, or our own.
    pub(super) fn session_seen(
        &mut self,
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
        self.own_session_seen(asked, answer, effects);
    }
}
