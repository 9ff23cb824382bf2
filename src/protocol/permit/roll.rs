//! The holders of a semaphore: their lock-delays, and when each was first seen to have ended.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::Moment,
    consul::fact::{SessionId, SessionSeen},
    protocol::Ticket,
};

/// How long the permit of an ended session is kept from others, if its lock-delay is not
/// known. The longest lock-delay that Consul enforces.
const LONGEST_LOCK_DELAY: Duration = Duration::from_secs(60);
/// Our clock may run fast by the largest drift that a configuration may have.
const CLOCK_DRIFT: f64 = 0.1;

/// The holders of one semaphore.
#[derive(Debug, Default)]
pub(super) struct Roll {
    known: BTreeMap<SessionId, Known>,
    /// The last ended sessions of this process. Their leases are over, so nobody needs to be
    /// waited for. A join that is still in flight may name one of them later.
    former: VecDeque<SessionId>,
}

/// How many ended sessions of this process are remembered.
const MOST_FORMER: usize = 8;

#[derive(Debug, Default)]
struct Known {
    asking: Option<Ticket>,
    /// Consul was asked for the session, and it does not need to be asked again.
    asked: bool,
    lock_delay: Option<Duration>,
    ended: Option<Ended>,
}

/// A holder whose own entry is not locked.
#[derive(Clone, Copy, Debug)]
struct Ended {
    /// When it was first seen.
    since: Moment,
    /// The index of its own entry, if that exists.
    index: Option<u64>,
}

impl Known {
    /// When its permit may pass on. The holder's leases have ended by then: they end within
    /// the lock-delay after its session.
    fn passes_at(&self) -> Option<Moment> {
        let since = self.ended?.since;
        let delay = self.lock_delay.unwrap_or(LONGEST_LOCK_DELAY).min(LONGEST_LOCK_DELAY);
        Some(since + delay.mul_f64(1.0 + CLOCK_DRIFT))
    }
}

impl Roll {
    /// Forgets everybody who is not among `holders`.
    pub(super) fn retain(&mut self, holders: &BTreeSet<SessionId>) {
        self.known.retain(|session, _| holders.contains(session));
    }

    /// A session of this process has ended.
    pub(super) fn ours_ended(&mut self, session: SessionId) {
        if self.former.contains(&session) {
            return;
        }
        if self.former.len() == MOST_FORMER {
            self.former.pop_front();
        }
        self.former.push_back(session);
    }

    /// A listing shows that the session lives. Returns whether to ask Consul for it.
    pub(super) fn lives(&mut self, session: &SessionId) -> bool {
        let known = self.known.entry(session.clone()).or_default();
        known.ended = None;
        !known.asked
    }

    /// A listing shows that the session has ended. `index` is the index of its own entry.
    pub(super) fn ended(&mut self, now: Moment, session: &SessionId, index: Option<u64>) {
        let known = self.known.entry(session.clone()).or_default();
        let since = known.ended.map_or(now, |ended| ended.since);
        known.ended = Some(Ended { since, index });
    }

    /// Notes the ticket of the question for a session.
    pub(super) fn asks(&mut self, session: &SessionId, ticket: Ticket) {
        if let Some(known) = self.known.get_mut(session) {
            (known.asking, known.asked) = (Some(ticket), true);
        }
    }

    /// Handles the answer about a session. Returns whether the question was one of these.
    pub(super) fn answered(&mut self, ticket: Ticket, answer: &SessionSeen) -> bool {
        let Some(known) = self.known.values_mut().find(|known| known.asking == Some(ticket)) else {
            return false;
        };
        known.asking = None;
        match answer {
            SessionSeen::Exists { lock_delay, .. } => known.lock_delay = Some(*lock_delay),
            SessionSeen::Unknown(_) => known.asked = false,
            SessionSeen::NotShown | SessionSeen::Denied(_) => {}
        }
        true
    }

    /// The holders whose permits may pass on, with the index of each one's own entry.
    pub(super) fn passed(&self, now: Moment) -> Vec<(SessionId, Option<u64>)> {
        let passed = self.known.iter().filter_map(|(session, known)| {
            let ended = known.ended?;
            let is_over = self.passes_at(session, known)? <= now;
            #[cfg(test)]
            let is_over = is_over || Mutation::PrunedEarly.is_chosen();
            is_over.then(|| (session.clone(), ended.index))
        });
        passed.collect()
    }

    /// When the next permit of an ended holder may pass on.
    pub(super) fn next(&self) -> Option<Moment> {
        self.known.iter().filter_map(|(session, known)| self.passes_at(session, known)).min()
    }

    fn passes_at(&self, session: &SessionId, known: &Known) -> Option<Moment> {
        let ended = known.ended?;
        if self.former.contains(session) { Some(ended.since) } else { known.passes_at() }
    }

    /// Whether a holder has ended and still has its permit, or an ended session of ours may have
    /// one.
    pub(super) fn has_ended(&self) -> bool {
        let mut known = self.known.iter();
        known.any(|(session, known)| known.ended.is_some() || self.former.contains(session))
    }

    /// Forgets who has ended, and the ended sessions of ours. What was learned of the others
    /// while they lived remains.
    pub(super) fn forget_ended(&mut self) {
        self.known.retain(|session, _| !self.former.contains(session));
        for known in self.known.values_mut() {
            known.ended = None;
        }
    }

    /// Forgets the holders.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}
