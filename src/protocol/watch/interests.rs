//! The open watches: what serves each, and when its next step is due.

use std::{ops::Bound, time::Duration};

use super::{Effect, Watches};
use crate::{
    clock::Moment,
    consul::fact::{Entry, SessionId},
    key::Key,
    protocol::Ticket,
};

/// An open watch.
#[derive(Debug)]
pub(super) struct Interest {
    pub(super) ticket: Ticket,
    /// Reads with a later ticket were sent after this watch began.
    pub(super) born: Ticket,
    pub(super) after: u64,
    /// The session that holds the key at that index; `None` if any may.
    pub(super) holder: Option<SessionId>,
    pub(super) held: bool,
    pub(super) carrier: Carrier,
    /// A read for it failed, so the moment of a change is unknown.
    pub(super) troubled: bool,
    pub(super) setbacks: u32,
    /// A check is in flight or queued.
    pub(super) checking: bool,
    /// When its next step is due; at the latest when it expires.
    pub(super) due: Moment,
    pub(super) expires: Moment,
}

impl Interest {
    /// Whether the entry is the one that the watch knows.
    pub(super) fn knows(&self, entry: &Entry) -> bool {
        entry.modify_index == self.after && (self.holder.is_none() || entry.session == self.holder)
    }
}

/// The kind of read that serves a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Single(Ticket),
    /// Its own read failed; it is placed again when due.
    Resting,
    Group,
    /// Its prefix cannot be listed, so it is checked periodically.
    Polled,
    /// Listings do not show its true state, or no blocking read may name it, so it is
    /// checked periodically.
    Hidden,
}

/// Interval between two checks of a polled key.
const KEY_PERIOD: Duration = Duration::from_secs(2);
/// Mean interval between two checks of polled keys altogether.
const POLL_GAP: Duration = Duration::from_millis(20);

impl Watches {
    /// Removes the watch of a key.
    pub(super) fn forget(&mut self, key: &Key) -> Option<Interest> {
        let carrier = self.interests.get(key)?.carrier;
        if carrier != Carrier::Group {
            // Updates the count of polled keys.
            self.set_carrier(key, Carrier::Group);
        }
        let mut interest = self.interests.remove(key)?;
        interest.carrier = carrier;
        self.timers.remove(&(interest.due, key.clone()));
        Some(interest)
    }

    pub(super) fn set_carrier(&mut self, key: &Key, carrier: Carrier) {
        let is_polled = |carrier| matches!(carrier, Carrier::Polled | Carrier::Hidden);
        if let Some(interest) = self.interests.get_mut(key) {
            let old = std::mem::replace(&mut interest.carrier, carrier);
            self.polled += u32::from(is_polled(carrier));
            self.polled -= u32::from(is_polled(old));
        }
    }

    fn set_due(&mut self, key: &Key, due: Moment) {
        if let Some(interest) = self.interests.get_mut(key) {
            self.timers.remove(&(interest.due, key.clone()));
            interest.due = due.min(interest.expires);
            self.timers.insert((interest.due, key.clone()));
        }
    }

    /// The watches of keys under `prefix`.
    pub(super) fn under<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Interest)> {
        self.interests
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// Takes the steps that are due for single keys.
    pub(super) fn run_due(&mut self, effects: &mut Vec<Effect>) {
        while let Some((due, key)) = self.timers.first().cloned() {
            if due > self.now {
                break;
            }
            let Some(interest) = self.interests.get(&key) else {
                self.timers.pop_first();
                continue;
            };
            let (ticket, expires, carrier) = (interest.ticket, interest.expires, interest.carrier);
            if expires <= self.now {
                self.forget(&key);
                effects.push(Effect::Unchanged { key, ticket });
                continue;
            }
            self.set_due(&key, expires);
            match carrier {
                Carrier::Resting => self.place(&key, effects),
                Carrier::Polled | Carrier::Hidden => self.queue_check(&key),
                Carrier::Single(_) | Carrier::Group => {}
            }
        }
    }

    /// Schedules a failed key again after a growing pause.
    pub(super) fn rest(&mut self, key: &Key) {
        let Some(interest) = self.interests.get_mut(key) else { return };
        let setbacks = interest.setbacks;
        interest.troubled = true;
        interest.setbacks += 1;
        let due = self.now + self.pause(setbacks);
        self.set_due(key, due);
    }

    pub(super) fn poll_later(&mut self, key: &Key) {
        let period = KEY_PERIOD.max(POLL_GAP * self.polled);
        let due = self.now + self.random.within(period);
        self.set_due(key, due);
    }
}
