//! Writes by the owner of the key: the key's value, and entries that depend on the lock.
//!
//! One write is in flight at a time, so that writes take effect in their order. Its guard
//! is the key's current index, which differs between two ownerships by one session. An
//! update of the value moves the index, and the machine follows.

use std::time::Duration;

use super::{Effect, Lock, Phase, own::Own};
use crate::{
    clock::Moment,
    consul::fact::{Trouble, Written},
    protocol::Ticket,
};

/// A write that has been sent.
#[derive(Debug)]
pub(super) struct Writing {
    ticket: Ticket,
    generation: u64,
    won_at: u64,
    /// How often somebody else had moved the key's index.
    moves: u32,
    /// Send it again then.
    again_at: Option<Moment>,
}

/// How often a write is repeated because somebody else had moved the key's index.
const MOST_MOVES: u32 = 5;
/// Pause before such a write is repeated for the second time and later.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause after a write that may be repeated at once.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// Pause after a write that was denied: rights can change.
const AFTER_DENIAL: Duration = Duration::from_secs(1);

impl Writing {
    fn is_under(&self, own: &Own) -> bool {
        own.won_at == self.won_at && own.generation == self.generation
    }
}

impl Lock {
    /// When a write is due while the key is owned.
    pub(super) fn next_write(&self) -> Option<Moment> {
        match &self.writing {
            Some(writing) => writing.again_at,
            None => self.demand.write.then_some(self.writes_from),
        }
    }

    /// Sends the owner's next write, or repeats the current one.
    pub(super) fn write_if_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Phase::Owned(own) = &self.phase else { return };
        let moves = match &self.writing {
            None if self.demand.write && self.writes_from <= now => 0,
            Some(writing) if writing.again_at.is_some_and(|at| at <= now) => writing.moves,
            _ => return,
        };
        let ticket = self.tickets.next();
        let (generation, won_at) = (own.generation, own.won_at);
        let (session, index) = (own.session.clone(), own.guard);
        self.writing = Some(Writing { ticket, generation, won_at, moves, again_at: None });
        self.demand.write = false;
        effects.push(Effect::Write { ticket, session, index });
    }

    /// Handles the answer to a write.
    pub(super) fn written(
        &mut self,
        now: Moment,
        asked: Ticket,
        answer: Written,
        effects: &mut Vec<Effect>,
    ) {
        let Some(writing) = self.writing.take_if(|writing| writing.ticket == asked) else { return };
        let own = match &mut self.phase {
            Phase::Owned(own) if writing.is_under(own) => Some(own),
            _ => None,
        };
        let mut later = None;
        let outcome = match (answer, own) {
            (Written::Done { index }, own) => {
                // Only an update of the value moves the index.
                match own {
                    Some(own) if own.guard < index => {
                        (own.index, own.guard, own.found) = (index, index, None);
                    }
                    // Somebody else wrote after it.
                    Some(own) if own.index > index => later = own.found.clone(),
                    _ => {}
                }
                Written::Done { index }
            }
            // By the same session, so it is a later ownership.
            (Written::Moved(_), None) => Written::NotHeld,
            (Written::Moved(index), Some(own)) if writing.moves < MOST_MOVES => {
                own.guard = own.guard.max(index);
                let moves = writing.moves + 1;
                let again_at = Some(now + PAUSE * writing.moves);
                self.writing = Some(Writing { moves, again_at, ..writing });
                return;
            }
            (Written::Moved(_), Some(_)) => {
                let why = "the key is overwritten again and again".to_owned();
                Written::Failed(Trouble::Broken(why))
            }
            (Written::NotHeld, Some(_)) => {
                self.not_ours(now, effects);
                Written::NotHeld
            }
            (answer @ (Written::Failed(_) | Written::Unknown(_)), _) => {
                self.writes_from = now + AFTER_FAILURE;
                answer
            }
            (answer @ Written::Denied(_), _) => {
                self.writes_from = now + AFTER_DENIAL;
                answer
            }
            (answer, _) => answer,
        };
        effects.push(Effect::Wrote(outcome));
        effects.extend(later.map(Effect::ValueSeen));
    }

    /// Concludes a write that waits to be repeated if its ownership has ended.
    pub(super) fn conclude_write(&mut self, effects: &mut Vec<Effect>) {
        if let Phase::Owned(_) = self.phase {
            return;
        }
        if self.writing.take_if(|writing| writing.again_at.is_some()).is_some() {
            effects.push(Effect::Wrote(Written::NotHeld));
        }
    }
}
