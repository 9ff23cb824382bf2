//! Checks: reads of single keys that do not block.

use super::{Carrier, Effect, Interest, Watches};
use crate::{consul::fact::Seen, key::Key, protocol::Ticket};

impl Watches {
    pub(super) fn queue_check(&mut self, key: &Key) {
        if let Some(interest) = self.interests.get_mut(key)
            && !std::mem::replace(&mut interest.checking, true)
        {
            self.to_check.push_back((key.clone(), interest.born));
        }
    }

    pub(super) fn start_checks(&mut self, effects: &mut Vec<Effect>) {
        while self.side_reads() < self.budget.side()
            && let Some((key, born)) = self.to_check.pop_front()
        {
            if self.interests.get(&key).is_some_and(|interest| interest.born == born) {
                let read = self.tickets.next();
                self.checks.insert(read, (key.clone(), born));
                effects.push(Effect::Check { read, key });
            }
        }
    }

    /// Handles the answer to a check.
    pub(super) fn checked(
        &mut self,
        key: &Key,
        born: Ticket,
        answer: Seen,
        effects: &mut Vec<Effect>,
    ) {
        let is_its = |interest: &&mut Interest| interest.born == born;
        let Some(interest) = self.interests.get_mut(key).filter(is_its) else {
            self.note_trouble(&answer);
            return;
        };
        interest.checking = false;
        match &answer {
            Seen::Found { entry, .. } if interest.knows(entry) => {
                if interest.carrier == Carrier::Group {
                    self.set_carrier(key, Carrier::Hidden);
                }
                self.poll_later(key);
            }
            Seen::Unknown(_) => {
                if interest.carrier == Carrier::Group {
                    self.set_carrier(key, Carrier::Resting);
                }
                self.rest(key);
                self.note_trouble(&answer);
            }
            _ => self.answer(key, answer, effects),
        }
    }

    /// Short reads in flight.
    pub(super) fn side_reads(&self) -> usize {
        self.checks.len() + self.lists.values().filter(|list| list.after.is_none()).count()
    }
}
