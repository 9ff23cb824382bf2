//! Blocking reads of single keys, while there is room for them.

use std::time::Duration;

use super::{Carrier, Effect, Interest, Watches, is_cut};
use crate::{clock::Moment, consul::fact::Seen, key::Key, protocol::Ticket};

/// A blocking read in flight.
#[derive(Debug)]
pub(super) struct Single {
    key: Key,
    pub(super) after: u64,
    since: Moment,
}

/// The number of keys that get their own reads at once when room appears, and the
/// pause before the next ones. The pause lets a refused connection stop it.
pub(super) const AT_ONCE: usize = 256;
const NEXT_ONES: Duration = Duration::from_millis(50);
/// A held key gets its own read only while fewer single reads than this are in
/// flight.
const MOST_HELD: usize = 32;

impl Watches {
    /// Whether a key may get its own read.
    pub(super) fn has_single(&self, held: bool) -> bool {
        let limit = self.budget.singles(self.groups.len());
        // Waiters have priority over holders.
        let limit = if held { (limit / 2).min(MOST_HELD) } else { limit };
        self.singles.len() < limit && self.blocking() < self.budget.blocking()
    }

    /// Starts single reads for keys without one, while there is room.
    pub(super) fn use_room(&mut self, effects: &mut Vec<Effect>) {
        self.room_at = None;
        if !self.has_single(false) {
            return;
        }
        let is_without = |i: &Interest| !matches!(i.carrier, Carrier::Single(_) | Carrier::Resting);
        let without = self.interests.iter().filter(|(_, interest)| is_without(interest));
        let without: Vec<_> = without.map(|(key, i)| (key.clone(), i.held)).collect();
        let mut started = 0;
        for (key, held) in without {
            if started == AT_ONCE {
                self.room_at = Some(self.now + NEXT_ONES);
                break;
            }
            if self.has_single(held) {
                self.start_single(&key, effects);
                started += 1;
            }
        }
    }

    pub(super) fn start_single(&mut self, key: &Key, effects: &mut Vec<Effect>) {
        let read = self.tickets.next();
        self.set_carrier(key, Carrier::Single(read));
        let Some(interest) = self.interests.get(key) else { return };
        let after = interest.after;
        self.singles.insert(read, Single { key: key.clone(), after, since: self.now });
        let wait = self.wait();
        effects.push(Effect::Read { read, key: key.clone(), after, wait });
    }

    /// How long a blocking read that starts now should wait.
    pub(super) fn wait(&mut self) -> Duration {
        self.patience.wait(self.now).min(self.budget.longest_wait(self.now))
    }

    /// Handles the answer to a read of one key.
    pub(super) fn seen(&mut self, read: Ticket, answer: Seen, effects: &mut Vec<Effect>) {
        if let Some((key, born)) = self.checks.remove(&read) {
            return self.checked(&key, born, answer, effects);
        }
        let Some(single) = self.singles.remove(&read) else { return };
        let key = single.key;
        let is_its = |i: &&mut Interest| i.carrier == Carrier::Single(read);
        let Some(interest) = self.interests.get_mut(&key).filter(is_its) else {
            self.note_trouble(&answer);
            return;
        };
        match &answer {
            Seen::Found { index, .. } | Seen::Missing { index } => {
                // An index below `after` is from another store's history.
                let has_news = *index > interest.after || *index < single.after;
                if has_news || interest.after == single.after {
                    self.answer(&key, answer, effects);
                } else {
                    // The watch asks for a newer state than this read covers.
                    self.place(&key, effects);
                }
            }
            Seen::Denied(_) => self.answer(&key, answer, effects),
            // A check can read it.
            Seen::NameRefused(_) => {
                self.set_carrier(&key, Carrier::Hidden);
                self.queue_check(&key);
            }
            Seen::Unknown(trouble) => {
                if is_cut(trouble) && self.patience.cut(self.now, single.since) {
                    interest.setbacks = 0;
                }
                self.set_carrier(&key, Carrier::Resting);
                self.rest(&key);
                self.note_trouble(&answer);
            }
        }
    }
}
