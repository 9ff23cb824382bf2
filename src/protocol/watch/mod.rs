//! The watch machine: watches any number of keys over few connections.
//!
//! ```text
//!            ┌─ a place is free ──► Single: a blocking read of its own ─┐
//!   Watch ───┤                                                          ├──► Answer
//!            └─ else ─► Group: under a prefix that is listed ───────────┤
//!                         │ not to be listed, or not shown there        │
//!                         └──────────► Polled: read from time to time ──┘
//! ```
//!
//! A watch is answered when the key's index differs from the one that it was
//! started with, whichever read shows the difference. A key that joins a group is
//! compared with the prefix's last listing. If the listing showed the watch's
//! index, or the key changed after it, the next listing answers the watch. Only if
//! the listing contradicts the watch is the key read by itself. So is a key whose entry
//! has the watch's index and another holder: one of them is from another history.
//!
//! Thousands of watches can start before the first connection is established, which
//! determines how many reads a connection carries. When more room appears, keys
//! without reads of their own get them, some hundreds at a time.
//!
//! No read is aborted, because an aborted read still occupies the agent. A read
//! that nobody needs any more ends with its wait and counts until then. Failed
//! reads are retried silently; a waiter learns that its watch was interrupted only
//! when there is news.

mod budget;
mod checks;
mod group;
mod interests;
mod messages;
mod patience;
mod plan;
mod singles;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use patience::LONGEST as LONGEST_WAIT;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

pub(crate) use self::messages::{Effect, Event};
use self::{
    budget::Budget,
    group::{Group, List, Mark},
    interests::{Carrier, Interest},
    patience::Patience,
    singles::Single,
};
use super::{
    Ticket, Tickets,
    backoff::{Jitter, backoff},
};
use crate::{
    clock::Moment,
    consul::fact::{Seen, SessionId, Trouble},
    key::Key,
};

/// The watch machine of one runtime.
#[derive(Debug)]
pub(crate) struct Watches {
    now: Moment,
    budget: Budget,
    patience: Patience,
    interests: BTreeMap<Key, Interest>,
    /// When each interest's next step is due.
    timers: BTreeSet<(Moment, Key)>,
    /// Blocking reads of single keys in flight, including those no longer needed.
    singles: BTreeMap<Ticket, Single>,
    /// Checks in flight, with the interest that each serves.
    checks: BTreeMap<Ticket, (Key, Ticket)>,
    to_check: VecDeque<(Key, Ticket)>,
    /// The probe in flight.
    probe: Option<Ticket>,
    /// Listings in flight, including those no longer needed.
    lists: BTreeMap<Ticket, List>,
    /// The listed prefixes; none is a prefix of another.
    groups: BTreeMap<Arc<str>, Group>,
    marks: BTreeMap<Arc<str>, Mark>,
    /// When the prefixes are next chosen.
    plan_at: Option<Moment>,
    /// When more of the available room is used.
    room_at: Option<Moment>,
    /// The number of polled keys.
    polled: u32,
    tickets: Tickets,
    random: Jitter,
}

/// The shortest life of a watch without news; the longest is twice that. Abandoned
/// watches end this way.
const STAY: Duration = Duration::from_secs(60);
/// The pauses after a failed read.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

impl Watches {
    /// Creates a machine whose reads may use up to `connections`. `seed` feeds the
    /// jitter.
    pub(crate) fn new(connections: usize, seed: u64) -> Self {
        Self {
            now: Moment::default(),
            budget: Budget::new(connections),
            patience: Patience::new(),
            interests: BTreeMap::new(),
            timers: BTreeSet::new(),
            singles: BTreeMap::new(),
            checks: BTreeMap::new(),
            to_check: VecDeque::new(),
            probe: None,
            lists: BTreeMap::new(),
            groups: BTreeMap::new(),
            marks: BTreeMap::new(),
            plan_at: None,
            room_at: None,
            polled: 0,
            tickets: Tickets::default(),
            random: Jitter::new(seed),
        }
    }

    /// Fixes the jitter at its least, so that an exploration has fewer states.
    #[cfg(test)]
    pub(crate) fn hold_steady(&mut self) {
        self.random = Jitter::steady();
    }

    /// How many connections the reads may use now, and how many when the agent is not
    /// full.
    pub(crate) fn connections(&self) -> (usize, usize) {
        self.budget.connections()
    }

    /// When an [`Event::Tick`] is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        let timer = self.timers.first().map(|(due, _)| *due);
        let groups = self.groups.values().filter_map(|group| group.next_wakeup(self.now));
        let marks = self.marks.values().map(|mark| mark.until).min();
        let others = [timer, marks, self.plan_at, self.room_at, self.budget.next_wakeup()];
        groups.chain(others.into_iter().flatten()).min()
    }

    /// Processes an event and appends the resulting effects.
    pub(crate) fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        self.now = now;
        let mut changed = self.budget.advance(now);
        match event {
            Event::Watch { key, ticket, after, holder, held } => {
                self.watch(key, ticket, (after, holder), held, effects);
            }
            Event::Seen { read, answer } => self.seen(read, answer, effects),
            Event::Listed { read, answer } => self.listed(read, answer, effects),
            Event::Carries(reads) => changed |= self.budget.carry(reads),
            Event::Refused => self.refused(),
            Event::Probed { read, refused } => {
                if self.probe.take_if(|probe| *probe == read).is_some() && refused {
                    self.refused();
                }
            }
            Event::Tick => {}
        }
        if changed {
            (self.room_at, self.plan_at) = (Some(now), Some(now));
        }
        self.run_due(effects);
        if self.room_at.is_some_and(|at| at <= now) {
            self.use_room(effects);
        }
        let outdated = self.marks.values().any(|mark| mark.until <= now);
        if outdated || self.plan_at.is_some_and(|at| at <= now) {
            self.plan();
        }
        self.start_lists(effects);
        self.start_checks(effects);
        self.start_probe(effects);
    }

    fn watch(
        &mut self,
        key: Key,
        ticket: Ticket,
        (after, holder): (u64, Option<SessionId>),
        held: bool,
        effects: &mut Vec<Effect>,
    ) {
        let read = self.forget(&key).and_then(|old| match old.carrier {
            Carrier::Single(read) => Some(read),
            _ => None,
        });
        // If the index went backwards, the read in flight would wait in vain.
        let fits = |read: &Ticket| self.singles.get(read).is_some_and(|s| s.after <= after);
        let read = read.filter(fits);
        let expires = self.now + STAY + self.random.within(STAY);
        let interest = Interest {
            ticket,
            born: self.tickets.next(),
            after,
            holder,
            held,
            carrier: read.map_or(Carrier::Group, Carrier::Single),
            troubled: false,
            setbacks: 0,
            checking: false,
            due: expires,
            expires,
        };
        self.timers.insert((expires, key.clone()));
        self.interests.insert(key.clone(), interest);
        if read.is_none() {
            self.place(&key, effects);
        }
    }

    /// Chooses the read that serves a key.
    fn place(&mut self, key: &Key, effects: &mut Vec<Effect>) {
        let Some(interest) = self.interests.get(key) else { return };
        if self.has_single(interest.held) {
            self.start_single(key, effects);
        } else if let Some((prefix, polled)) = self.covering(key) {
            if polled {
                self.set_carrier(key, Carrier::Polled);
                self.queue_check(key);
            } else {
                self.set_carrier(key, Carrier::Group);
                self.join(key, &prefix);
            }
        } else {
            self.set_carrier(key, Carrier::Group);
            self.plan_soon();
        }
    }

    /// Blocking reads in flight.
    fn blocking(&self) -> usize {
        self.singles.len() + self.lists.values().filter(|list| list.after.is_some()).count()
    }

    /// Notes if an answer shows that the agent refused a connection.
    fn note_trouble(&mut self, answer: &Seen) {
        if let Seen::Unknown(Trouble::Refused(_)) = answer {
            self.refused();
        }
    }

    fn refused(&mut self) {
        self.budget.refused(self.now, self.under_way());
    }

    /// Reads in flight.
    fn under_way(&self) -> usize {
        self.blocking() + self.side_reads()
    }

    fn start_probe(&mut self, effects: &mut Vec<Effect>) {
        let pause = self.random.within(Duration::from_secs(10));
        if self.budget.is_to_probe(self.now, self.blocking(), pause) && self.probe.is_none() {
            let read = self.tickets.next();
            self.probe = Some(read);
            effects.push(Effect::Probe { read });
        }
    }

    /// Answers the watch of a key and removes it.
    fn answer(&mut self, key: &Key, answer: Seen, effects: &mut Vec<Effect>) {
        let Some(interest) = self.forget(key) else { return };
        let is_news = match &answer {
            Seen::Found { index, .. } => *index != interest.after,
            Seen::Missing { .. } => true,
            Seen::Denied(_) | Seen::NameRefused(_) | Seen::Unknown(_) => false,
        };
        let answer = if interest.troubled && is_news && !interest.held {
            // The waiter must not take now for the moment of the change.
            Seen::Unknown(Trouble::Broken("the watch was interrupted".into()))
        } else {
            answer
        };
        effects.push(Effect::Answer { key: key.clone(), ticket: interest.ticket, answer });
    }

    /// A pause that grows with consecutive setbacks.
    fn pause(&mut self, setbacks: u32) -> Duration {
        self.random.within(backoff(PAUSE, setbacks, LONGEST_PAUSE))
    }
}

/// Whether an intermediary on the way to the agent may have ended a read.
fn is_cut(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Broken(_) | Trouble::NotConsul(_) | Trouble::Server { .. })
}
