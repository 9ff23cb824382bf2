//! Keeping and losing an ownership.

use std::time::Duration;

use super::{Effect, Lock, Next, Phase};
use crate::{
    clock::Moment,
    consul::fact::{Seen, SessionId, SessionSeen},
    ownership::LossReason,
    protocol::{
        Ticket,
        session::{Request, SessionView},
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
    /// The key's index as far as writes have shown it, which guards the next one. At least
    /// [`index`](Self::index).
    pub(super) guard: u64,
    /// The value that somebody else wrote over ours.
    pub(super) found: Option<Vec<u8>>,
    look: Look,
}

/// How a held key is observed: a deletion or a forced release does not touch the
/// session.
#[derive(Debug)]
enum Look {
    /// Start watching at this moment, so that short critical sections cost nothing.
    At(Moment),
    Watching(Ticket),
    Reading {
        ticket: Ticket,
        /// The key's index when the read was asked. A write may take effect after the read was
        /// served, and be answered before it.
        known: u64,
    },
}

/// How long a key is held before it is watched.
const UNWATCHED: Duration = Duration::from_secs(1);
/// Pause before watching again after the leader contradicted the watch.
const DOUBTED: Duration = Duration::from_secs(2);
/// The longest delay of a loss report to find out its reason.
const QUESTION_LIMIT: Duration = Duration::from_millis(250);

impl Own {
    pub(super) fn new(now: Moment, index: u64, view: &SessionView) -> Self {
        Self {
            generation: view.generation,
            session: view.id.clone(),
            won_at: index,
            index,
            guard: index,
            found: None,
            look: Look::At(now + UNWATCHED),
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        match self.look {
            Look::At(when) => Some(when),
            Look::Watching(_) | Look::Reading { .. } => None,
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
            let (after, holder) = (own.index, Some(own.session.clone()));
            effects.push(Effect::Watch { ticket, after, holder });
        }
        self.write_if_due(now, effects);
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
        if index < own.index {
            // Older than what we know, or from another store: ask the leader.
            let ticket = self.tickets.next();
            own.look = Look::Reading { ticket, known: own.index };
            effects.push(Effect::Read { ticket });
            return;
        }
        own.look = Look::At(now);
        let known = own.index;
        self.judge_own(now, answer, known, effects);
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
        let known = match own.look {
            Look::Reading { ticket, known } if ticket == asked => known,
            _ => return,
        };
        own.look = Look::At(now + DOUBTED);
        self.judge_own(now, answer, known, effects);
    }

    /// Judges a read of a held key, whose index was `known` when the read was asked.
    fn judge_own(&mut self, now: Moment, seen: Seen, known: u64, effects: &mut Vec<Effect>) {
        let Phase::Owned(own) = &mut self.phase else { return };
        match seen {
            Seen::Found { entry, .. } if entry.session.as_ref() == Some(&own.session) => {
                if entry.modify_index < known {
                    self.own_of_another_store(effects);
                } else if entry.modify_index > own.index {
                    own.index = entry.modify_index;
                    own.guard = own.guard.max(own.index);
                    own.found = Some(entry.value.clone());
                    effects.push(Effect::ValueSeen(entry.value));
                }
            }
            Seen::Found { index, .. } | Seen::Missing { index } if index < known => {
                self.own_of_another_store(effects);
            }
            // Older than a write of ours.
            Seen::Found { index, .. } | Seen::Missing { index } if index < own.index => {}
            Seen::Missing { .. } => self.lose(LossReason::KeyDeleted, effects),
            Seen::Found { .. } => self.not_ours(now, effects),
            Seen::Denied(_) | Seen::NameRefused(_) | Seen::Unknown(_) => {}
        }
    }

    /// Revokes an ownership whose key our session does not hold. Then asks whether the
    /// session ended or somebody released the key.
    pub(super) fn not_ours(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Owned(own) => {
                let ticket = self.tickets.next();
                effects.push(Effect::Revoke);
                effects.push(Effect::AskSession { ticket, session: own.session.clone() });
                self.phase = Phase::Losing { own, ticket, until: now + QUESTION_LIMIT };
            }
            other => self.phase = other,
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
        self.distrust(generation, LossReason::StoreReplaced, effects);
    }

    /// Handles the answer about our own session, which decides the reason of a loss.
    pub(super) fn own_session_seen(
        &mut self,
        asked: Ticket,
        answer: &SessionSeen,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Losing { own, ticket, .. } = &self.phase else { return };
        if *ticket != asked {
            return;
        }
        if let SessionSeen::NotShown = answer {
            // To a token without the right, Consul shows no session either. A renewal decides.
            let generation = own.generation;
            effects.push(Effect::Request(Request::Renew { generation }));
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
        self.obstacle = None;
        effects.push(Effect::Lost { reason });
    }
}
