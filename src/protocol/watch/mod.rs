//! Which reads are under way, so that any number of keys is looked at over few
//! connections.
//!
//! ```text
//!            ┌─ a place is free ──► Single: a blocking read of its own ─┐
//!   Watch ───┤                                                          ├──► Answer
//!            └─ else ─► Group: under a prefix that is listed ───────────┤
//!                         │ not to be listed, or not shown there        │
//!                         └──────────► Polled: read from time to time ──┘
//! ```
//!
//! A watch is answered when the key's index is another than the one it was asked
//! with, whichever read shows that: nothing hangs on which read carried it
//! before. A key that joins a group is compared with what the prefix's last
//! listing showed. If it was then as the watch has it, or changed since, the next
//! listing tells; only if the listing knows better is the key read by itself.
//!
//! Thousands of keys can be wanted before the first connection stands, which tells
//! how many reads a connection carries. Whenever there is more room, keys that had
//! to do without get reads of their own, some hundreds at a time.
//!
//! No read is ever broken off: it would go on using up the agent. One that
//! nobody needs any more ends with its wait, and counts until then. What goes
//! wrong is tried again quietly; whoever waits is told that the watch was
//! interrupted only when there is news.

mod budget;
mod group;
mod patience;
mod plan;
#[cfg(test)]
mod tests;
#[cfg(all(test, feature = "embedded"))]
mod world;

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

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody wants to be told when the key's index is not `after` any more.
    /// It takes the place of an earlier watch of the key.
    Watch {
        key: Key,
        ticket: Ticket,
        after: u64,
        /// It is for a key that is held: it can wait a little for its news, but
        /// must not be told anything that is not so.
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
    /// A connection carries so many reads.
    Carries(usize),
    /// A renewal or a call found that the agent takes no more connections.
    Refused,
    /// The answer to [`Effect::Probe`].
    Probed {
        read: Ticket,
        refused: bool,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Effect {
    /// Read the key when its index passes `after`, or when `wait` has run out.
    Read { read: Ticket, key: Key, after: u64, wait: Duration },
    /// Read the key at once, as the leader has it.
    Check { read: Ticket, key: Key },
    /// Read all keys under the prefix: when its index passes `after`, or when `wait`
    /// has run out; or at once, as the leader has them.
    List { read: Ticket, prefix: Arc<str>, after: Option<u64>, wait: Duration },
    /// Make one more connection, to learn whether the agent takes any.
    Probe { read: Ticket },
    /// There is news of the key, or it has been read without any.
    Answer { key: Key, ticket: Ticket, answer: Seen },
    /// There was no news for a while; if somebody still wants to know, let him
    /// ask again.
    Unchanged { key: Key, ticket: Ticket },
}

/// A watch that is not answered.
#[derive(Debug)]
struct Interest {
    ticket: Ticket,
    /// What was asked with a later ticket of ours was asked after the watch.
    born: Ticket,
    after: u64,
    held: bool,
    carrier: Carrier,
    /// A read for it failed: the moment of a change is not known.
    troubled: bool,
    setbacks: u32,
    /// A check is under way or in line.
    checking: bool,
    /// When something is due, at the latest when it expires.
    due: Moment,
    expires: Moment,
}

/// How a key is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Single(Ticket),
    /// Its own read failed; it is placed anew when that is due.
    Resting,
    Group,
    /// It lies where nothing can be listed: it is checked from time to time.
    Polled,
    /// Listings do not show it as it is, so it is checked likewise.
    Hidden,
}

#[derive(Debug)]
struct Single {
    key: Key,
    after: u64,
    since: Moment,
}

/// The watches of one runtime.
#[derive(Debug)]
pub(crate) struct Watches {
    now: Moment,
    budget: Budget,
    patience: Patience,
    interests: BTreeMap<Key, Interest>,
    /// What is due of the interests.
    timers: BTreeSet<(Moment, Key)>,
    /// Blocking reads of one key under way, also those that nobody needs.
    singles: BTreeMap<Ticket, Single>,
    /// Checks under way, with the interest that they are for.
    checks: BTreeMap<Ticket, (Key, Ticket)>,
    to_check: VecDeque<(Key, Ticket)>,
    /// The probe under way.
    probe: Option<Ticket>,
    /// Listings under way, also those that nobody needs.
    lists: BTreeMap<Ticket, List>,
    /// The prefixes that are listed; none is a prefix of another.
    groups: BTreeMap<Arc<str>, Group>,
    marks: BTreeMap<Arc<str>, Mark>,
    /// When the prefixes are chosen anew.
    plan_at: Option<Moment>,
    /// When room that appeared is used further.
    room_at: Option<Moment>,
    /// How many keys are polled.
    polled: u32,
    tickets: Tickets,
    random: u64,
}

/// How many keys get reads of their own at one time because room appeared, and
/// when the next ones do: should the agent refuse a connection, it ends there.
const AT_ONCE: usize = 256;
const NEXT_ONES: Duration = Duration::from_millis(50);
/// For how long keys are collected before prefixes are chosen.
const COLLECT: Duration = Duration::from_millis(50);
/// How long a watch without news stays, at least; at most twice that. Watches
/// that nobody waits for any more are forgotten by it.
const STAY: Duration = Duration::from_secs(60);
/// How often one key is polled, or one prefix that has no blocking read.
const KEY_PERIOD: Duration = Duration::from_secs(2);
/// How long after one another polled keys are read, on average.
const POLL_GAP: Duration = Duration::from_millis(20);
/// The most reads of their own for keys that are held.
const MOST_HELD: usize = 32;

impl Watches {
    /// `connections` is how many the reads may use; `seed` feeds the jitter.
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

    /// How many connections the reads may use now, and how many when the agent is
    /// not full.
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

    /// Takes in what happened and appends what is to be done.
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
        // If the index went backwards, the read under way would wait in vain.
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

    /// Decides how a key is looked at.
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

    /// Gives keys that had to do without reads of their own, while there is room.
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

    /// Whether a key may have a read of its own.
    fn has_single(&self, held: bool) -> bool {
        let limit = self.budget.singles(self.groups.len());
        // Who waits comes first.
        let limit = if held { (limit / 2).min(MOST_HELD) } else { limit };
        self.singles.len() < limit && self.blocking() < self.budget.blocking()
    }

    /// Blocking reads under way.
    fn blocking(&self) -> usize {
        self.singles.len() + self.lists.values().filter(|list| list.after.is_some()).count()
    }

    fn start_single(&mut self, key: &Key, effects: &mut Vec<Effect>) {
        let read = self.tickets.next();
        self.set_carrier(key, Carrier::Single(read));
        let Some(interest) = self.interests.get(key) else { return };
        let after = interest.after;
        self.singles.insert(read, Single { key: key.clone(), after, since: self.now });
        let wait = self.patience.wait(self.now);
        effects.push(Effect::Read { read, key: key.clone(), after, wait });
    }

    /// The answer to a read of one key.
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
                // An index from before `after` is of another history of the store.
                let has_news = *index > interest.after || *index < single.after;
                if has_news || interest.after == single.after {
                    self.answer(&key, answer, effects);
                } else {
                    // Asked for something newer than this read could tell.
                    self.place(&key, effects);
                }
            }
            Seen::Denied(_) => self.answer(&key, answer, effects),
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

    /// The answer to a check.
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

    /// Something went wrong with a key's own read: it is due again after a
    /// growing pause.
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

    /// Learns from trouble that the agent takes no more connections.
    fn note_trouble(&mut self, answer: &Seen) {
        if let Seen::Unknown(Trouble::Refused(_)) = answer {
            self.refused();
        }
    }

    fn refused(&mut self) {
        self.budget.refused(self.now, self.under_way());
    }

    /// Reads under way.
    fn under_way(&self) -> usize {
        self.blocking() + self.side_reads()
    }

    fn start_probe(&mut self, effects: &mut Vec<Effect>) {
        let pause = self.jittered(Duration::from_secs(20));
        if self.budget.is_to_probe(self.now, self.blocking(), pause) && self.probe.is_none() {
            let read = self.tickets.next();
            self.probe = Some(read);
            effects.push(Effect::Probe { read });
        }
    }

    /// Tells what is known of a key, and forgets the watch.
    fn answer(&mut self, key: &Key, answer: Seen, effects: &mut Vec<Effect>) {
        let Some(interest) = self.forget(key) else { return };
        let is_news = match &answer {
            Seen::Found { index, .. } => *index != interest.after,
            Seen::Missing { .. } => true,
            Seen::Denied(_) | Seen::Unknown(_) => false,
        };
        let answer = if interest.troubled && is_news && !interest.held {
            // Whoever waits must not take now for the moment of the change.
            Seen::Unknown(Trouble::Broken("the watch was interrupted".into()))
        } else {
            answer
        };
        effects.push(Effect::Answer { key: key.clone(), ticket: interest.ticket, answer });
    }

    /// Does what is due of single keys.
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

    /// Short reads under way.
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
            // Its count, if it is polled.
            self.set_carrier(key, Carrier::Group);
        }
        let mut interest = self.interests.remove(key)?;
        interest.carrier = carrier;
        self.timers.remove(&(interest.due, key.clone()));
        Some(interest)
    }

    /// The watches of keys that begin with `prefix`.
    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Key, &'a Interest)> {
        self.interests
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// A pause that grows with the setbacks in a row.
    fn pause(&mut self, setbacks: u32) -> Duration {
        self.jittered(Duration::from_millis(250 << setbacks.min(5)))
    }

    /// Half to all of `span`, at random.
    fn jittered(&mut self, span: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = (self.random >> 40) as f64 / (1u64 << 24) as f64;
        span.mul_f64(0.5 + share / 2.0)
    }
}

/// Whether a read may have been ended by something on the way to the agent.
fn is_cut(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Broken(_) | Trouble::NotConsul(_) | Trouble::Server { .. })
}
