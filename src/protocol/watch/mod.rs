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
//! the listing contradicts the watch is the key read by itself.
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
mod group;
mod patience;
mod plan;
#[cfg(test)]
mod tests;
#[cfg(all(test, feature = "embedded"))]
mod world;

#[cfg(test)]
pub(crate) use patience::LONGEST as LONGEST_WAIT;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use self::{
    budget::Budget,
    group::{Group, List, Mark},
    patience::Patience,
};
use super::{Ticket, Tickets};
use crate::{
    clock::Moment,
    consul::fact::{Listed, Seen, Trouble},
    key::Key,
};

/// An input of the machine.
#[derive(Debug)]
pub(crate) enum Event {
    /// Answer when the key's index is no longer `after`. Replaces an earlier watch of
    /// the key.
    Watch {
        key: Key,
        ticket: Ticket,
        after: u64,
        /// The watch is for a held key: its answer may be late, but must never be wrong.
        held: bool,
    },
    /// The answer to [`Effect::Read`] or [`Effect::Check`].
    Seen {
        read: Ticket,
        answer: Seen,
    },
    Listed {
        read: Ticket,
        answer: Listed,
    },
    /// A connection carries this many reads.
    Carries(usize),
    /// The agent refused a connection to a renewal or a call.
    Refused,
    /// The answer to [`Effect::Probe`].
    Probed {
        read: Ticket,
        refused: bool,
    },
    /// A wakeup is due.
    Tick,
}

/// An output of the machine.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Effect {
    /// Read the key when its index passes `after` or `wait` has elapsed.
    Read { read: Ticket, key: Key, after: u64, wait: Duration },
    /// Read the key from the leader, at once.
    Check { read: Ticket, key: Key },
    /// Read all keys under the prefix: with `after`, when its index passes that or
    /// `wait` has elapsed; without, from the leader at once.
    List { read: Ticket, prefix: Arc<str>, after: Option<u64>, wait: Duration },
    /// Open one more connection to learn whether the agent accepts it.
    Probe { read: Ticket },
    /// The answer to a watch: the key changed, or its read ended without news.
    Answer { key: Key, ticket: Ticket, answer: Seen },
    /// The key has not changed for a while. A lock that is still interested watches
    /// again.
    Unchanged { key: Key, ticket: Ticket },
}

/// An open watch.
#[derive(Debug)]
struct Interest {
    ticket: Ticket,
    /// Reads with a later ticket were sent after this watch began.
    born: Ticket,
    after: u64,
    held: bool,
    carrier: Carrier,
    /// A read for it failed, so the moment of a change is unknown.
    troubled: bool,
    setbacks: u32,
    /// A check is in flight or queued.
    checking: bool,
    /// When its next step is due; at the latest when it expires.
    due: Moment,
    expires: Moment,
}

/// The kind of read that serves a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Single(Ticket),
    /// Its own read failed; it is placed again when due.
    Resting,
    Group,
    /// Its prefix cannot be listed, so it is checked periodically.
    Polled,
    /// Listings do not show its true state, so it is checked periodically.
    Hidden,
}

#[derive(Debug)]
struct Single {
    key: Key,
    after: u64,
    since: Moment,
}

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
    random: u64,
}

/// The number of keys that get their own reads at once when room appears, and the
/// pause before the next ones. The pause lets a refused connection stop it.
const AT_ONCE: usize = 256;
const NEXT_ONES: Duration = Duration::from_millis(50);
/// How long keys are collected before prefixes are chosen.
const COLLECT: Duration = Duration::from_millis(50);
/// The shortest life of a watch without news; the longest is twice that. Abandoned
/// watches end this way.
const STAY: Duration = Duration::from_secs(60);
/// Interval between two checks of a polled key.
const KEY_PERIOD: Duration = Duration::from_secs(2);
/// Mean interval between two checks of polled keys altogether.
const POLL_GAP: Duration = Duration::from_millis(20);
/// A held key gets its own read only while fewer single reads than this are in
/// flight.
const MOST_HELD: usize = 32;

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
            random: seed | 1,
        }
    }

    /// Fixes the jitter at its least, so that an exploration has fewer states.
    #[cfg(test)]
    pub(crate) fn hold_steady(&mut self) {
        self.random = 0;
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
            Event::Watch { key, ticket, after, held } => {
                self.watch(key, ticket, after, held, effects);
            }
            Event::Seen { read, answer } => self.seen(read, answer, effects),
            Event::Listed { read, answer } => self.listed(read, answer, effects),
            Event::Carries(reads) => changed |= self.budget.carry(reads),
            Event::Refused => self.budget.refused(now, self.under_way()),
            Event::Probed { read, refused } => {
                if self.probe.take_if(|probe| *probe == read).is_some() && refused {
                    self.budget.refused(now, self.under_way());
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
        after: u64,
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
        let expires = self.now + STAY + self.jittered(STAY);
        let interest = Interest {
            ticket,
            born: self.tickets.next(),
            after,
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

    /// Starts single reads for keys without one, while there is room.
    fn use_room(&mut self, effects: &mut Vec<Effect>) {
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

    /// Whether a key may get its own read.
    fn has_single(&self, held: bool) -> bool {
        let limit = self.budget.singles(self.groups.len());
        // Waiters have priority over holders.
        let limit = if held { (limit / 2).min(MOST_HELD) } else { limit };
        self.singles.len() < limit && self.blocking() < self.budget.blocking()
    }

    /// Blocking reads in flight.
    fn blocking(&self) -> usize {
        self.singles.len() + self.lists.values().filter(|list| list.after.is_some()).count()
    }

    fn start_single(&mut self, key: &Key, effects: &mut Vec<Effect>) {
        let read = self.tickets.next();
        self.set_carrier(key, Carrier::Single(read));
        let Some(interest) = self.interests.get(key) else { return };
        let after = interest.after;
        self.singles.insert(read, Single { key: key.clone(), after, since: self.now });
        let wait = self.wait();
        effects.push(Effect::Read { read, key: key.clone(), after, wait });
    }

    /// How long a blocking read that starts now should wait.
    fn wait(&mut self) -> Duration {
        self.patience.wait(self.now).min(self.budget.longest_wait(self.now))
    }

    /// Handles the answer to a read of one key.
    fn seen(&mut self, read: Ticket, answer: Seen, effects: &mut Vec<Effect>) {
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
            Seen::Denied(_) | Seen::NameRefused(_) => self.answer(&key, answer, effects),
            Seen::Unknown(trouble) => {
                interest.carrier = Carrier::Resting;
                if is_cut(trouble) && self.patience.cut(self.now, single.since) {
                    interest.setbacks = 0;
                }
                self.rest(&key);
                self.note_trouble(&answer);
            }
        }
    }

    /// Handles the answer to a check.
    fn checked(&mut self, key: &Key, born: Ticket, answer: Seen, effects: &mut Vec<Effect>) {
        let is_its = |interest: &&mut Interest| interest.born == born;
        let Some(interest) = self.interests.get_mut(key).filter(is_its) else {
            self.note_trouble(&answer);
            return;
        };
        interest.checking = false;
        match &answer {
            Seen::Found { index, .. } if *index == interest.after => {
                if interest.carrier == Carrier::Group {
                    self.set_carrier(key, Carrier::Hidden);
                }
                self.poll_later(key);
            }
            Seen::Unknown(_) => {
                if interest.carrier == Carrier::Group {
                    interest.carrier = Carrier::Resting;
                }
                self.rest(key);
                self.note_trouble(&answer);
            }
            _ => self.answer(key, answer, effects),
        }
    }

    /// Schedules a failed key again after a growing pause.
    fn rest(&mut self, key: &Key) {
        let Some(interest) = self.interests.get_mut(key) else { return };
        let setbacks = interest.setbacks;
        interest.troubled = true;
        interest.setbacks += 1;
        let due = self.now + self.pause(setbacks);
        self.set_due(key, due);
    }

    fn poll_later(&mut self, key: &Key) {
        let period = KEY_PERIOD.max(POLL_GAP * self.polled);
        let due = self.now + self.jittered(period);
        self.set_due(key, due);
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
        let pause = self.jittered(Duration::from_secs(10));
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

    /// Takes the steps that are due for single keys.
    fn run_due(&mut self, effects: &mut Vec<Effect>) {
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

    fn queue_check(&mut self, key: &Key) {
        if let Some(interest) = self.interests.get_mut(key)
            && !std::mem::replace(&mut interest.checking, true)
        {
            self.to_check.push_back((key.clone(), interest.born));
        }
    }

    fn start_checks(&mut self, effects: &mut Vec<Effect>) {
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

    /// Short reads in flight.
    fn side_reads(&self) -> usize {
        self.checks.len() + self.lists.values().filter(|list| list.after.is_none()).count()
    }

    fn set_carrier(&mut self, key: &Key, carrier: Carrier) {
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

    fn forget(&mut self, key: &Key) -> Option<Interest> {
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

    /// The watches of keys under `prefix`.
    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Key, &'a Interest)> {
        self.interests
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// A pause that grows with consecutive setbacks.
    fn pause(&mut self, setbacks: u32) -> Duration {
        self.jittered(Duration::from_millis(250 << setbacks.min(5)))
    }

    /// A random duration between half of `span` and `span`.
    fn jittered(&mut self, span: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = (self.random >> 40) as f64 / (1u64 << 24) as f64;
        span.mul_f64(0.5 + share / 2.0)
    }
}

/// Whether an intermediary on the way to the agent may have ended a read.
fn is_cut(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Broken(_) | Trouble::NotConsul(_) | Trouble::Server { .. })
}
