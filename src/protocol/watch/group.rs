//! Groups of keys that are watched together by listing their prefix.

use std::{ops::Bound, sync::Arc, time::Duration};

use super::{
    Carrier, Effect, Interest, Watches, is_cut,
    plan::{self, Flaw, MANY_KEYS},
};
use crate::{
    clock::Moment,
    consul::fact::{Entry, Listed, Seen, Trouble},
    key::Key,
    protocol::Ticket,
};

/// A listing in flight.
#[derive(Debug)]
pub(super) struct List {
    pub(super) prefix: Arc<str>,
    /// The index that it waits to pass; `None` if it does not block.
    pub(super) after: Option<u64>,
    pub(super) since: Moment,
}

/// A prefix chosen for listing.
#[derive(Debug)]
pub(super) struct Group {
    /// The prefix cannot be listed, so its keys are polled.
    polled: bool,
    /// The last listing's content.
    shown: Option<Shown>,
    read: Option<Ticket>,
    /// The next listing must not block.
    plain_next: bool,
    /// The next listing starts no earlier than this.
    rest_until: Moment,
    /// When a listing that does not block is due, if there is no room for a blocking
    /// one.
    poll_at: Option<Moment>,
    /// The number of keys that joined since the prefixes were last chosen.
    joined: usize,
    setbacks: u32,
    /// Consecutive changed listings without news for any watch.
    idle: u32,
}

/// The indexes of all listed entries, in key order.
#[derive(Debug)]
pub(super) struct Shown {
    index: u64,
    entries: Vec<(Box<str>, u64)>,
}

/// A flaw of a prefix, remembered for a while.
#[derive(Debug)]
pub(super) struct Mark {
    flaw: Flaw,
    pub(super) until: Moment,
}

/// How long keys are collected before prefixes are chosen.
const COLLECT: Duration = Duration::from_millis(50);
/// Interval between listings of a prefix without a blocking read.
const LIST_PERIOD: Duration = Duration::from_secs(1);
/// How long the flaw of a prefix is remembered.
const REMEMBER: Duration = Duration::from_secs(600);
/// Pause between two listings of a prefix: `GAP + GAP_PER_ENTRY × entries`, capped
/// at `LONGEST_GAP`. `GAP` doubles with each idle listing.
const GAP: Duration = Duration::from_millis(2);
const GAP_PER_ENTRY: Duration = Duration::from_micros(25);
const LONGEST_GAP: Duration = Duration::from_secs(1);
/// The most doublings of `GAP`.
const MOST_IDLE: u32 = 4;

impl Group {
    fn new(now: Moment, polled: bool) -> Self {
        Self {
            polled,
            shown: None,
            read: None,
            plain_next: true,
            rest_until: now,
            poll_at: None,
            joined: 0,
            setbacks: 0,
            idle: 0,
        }
    }

    /// When a step is due that does not depend on the end of another read.
    pub(super) fn next_wakeup(&self, now: Moment) -> Option<Moment> {
        if self.polled || self.read.is_some() {
            return None;
        }
        let poll_at = self.poll_at.map(|at| at.max(self.rest_until));
        [Some(self.rest_until), poll_at].into_iter().flatten().filter(|at| *at > now).min()
    }
}

impl Shown {
    fn of(&self, key: &str) -> Option<u64> {
        let place = self.entries.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
        Some(self.entries[place].1)
    }
}

impl Watches {
    /// The prefix of the group that covers a key, and whether it is polled.
    pub(super) fn covering(&self, key: &Key) -> Option<(Arc<str>, bool)> {
        let key = key.as_str();
        // No prefix is a prefix of another, so only the last one not above the key can
        // cover it.
        let upto = (Bound::Unbounded, Bound::Included(key));
        let (prefix, group) = self.groups.range::<str, _>(upto).next_back()?;
        key.starts_with(&**prefix).then(|| (prefix.clone(), group.polled))
    }

    pub(super) fn plan_soon(&mut self) {
        let at = self.now + COLLECT;
        self.plan_at = Some(self.plan_at.map_or(at, |planned| planned.min(at)));
    }

    /// Adds a key to a group. Checks the key if the last listing contradicts the watch.
    pub(super) fn join(&mut self, key: &Key, prefix: &str) {
        let (Some(interest), Some(group)) = (self.interests.get(key), self.groups.get_mut(prefix))
        else {
            return;
        };
        group.joined += 1;
        let too_many = group.joined > MANY_KEYS;
        let after = interest.after;
        let outdated = group.shown.as_ref().is_some_and(|shown| match shown.of(key.as_str()) {
            Some(index) if index == after => false,
            // It changed after the listing, unless the listing is from another history.
            Some(index) if index < after => shown.index >= after,
            Some(_) => true,
            None => shown.index >= after,
        });
        if outdated {
            self.queue_check(key);
        }
        if too_many {
            self.plan_soon();
        }
    }

    /// Starts every due listing that there is room for.
    pub(super) fn start_lists(&mut self, effects: &mut Vec<Effect>) {
        let is_due =
            |group: &Group| !group.polled && group.read.is_none() && group.rest_until <= self.now;
        let due = self.groups.iter().filter(|(_, group)| is_due(group));
        let due: Vec<Arc<str>> = due.map(|(prefix, _)| prefix.clone()).collect();
        for prefix in due {
            if !self.under(&prefix).any(|(_, interest)| interest.carrier == Carrier::Group) {
                self.groups.remove(&prefix);
                continue;
            }
            let has_room = self.blocking() < self.budget.blocking();
            let has_side = self.side_reads() < self.budget.side();
            let (now, wait) = (self.now, self.wait());
            let Some(group) = self.groups.get_mut(&prefix) else { continue };
            let known = group.shown.as_ref().filter(|_| !group.plain_next).map(|s| s.index);
            let after = match known {
                Some(index) if has_room => Some(index),
                Some(_) if *group.poll_at.get_or_insert(now + LIST_PERIOD) > now => continue,
                _ if has_side => None,
                _ => continue,
            };
            let read = self.tickets.next();
            group.read = Some(read);
            group.poll_at = None;
            self.lists.insert(read, List { prefix: prefix.clone(), after, since: now });
            effects.push(Effect::List { read, prefix, after, wait });
        }
    }

    /// Handles the answer to a listing.
    pub(super) fn listed(&mut self, read: Ticket, answer: Listed, effects: &mut Vec<Effect>) {
        let Some(List { prefix, after, since }) = self.lists.remove(&read) else { return };
        let is_its = |group: &&mut Group| group.read == Some(read);
        let is_current = match self.groups.get_mut(&prefix).filter(is_its) {
            Some(group) => {
                group.read = None;
                true
            }
            None => false,
        };
        match answer {
            Listed::Found { mut entries, index } => {
                if !entries.is_sorted_by(|(one, _), (next, _)| one <= next) {
                    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
                }
                let (members, told) = self.judge(&prefix, read, &entries, index, effects);
                if !is_current {
                    return;
                }
                let count = entries.len();
                let entries = entries.into_iter().map(|(key, e)| (key, e.modify_index)).collect();
                if let Some(group) = self.groups.get_mut(&prefix) {
                    let is_noise = !told && after.is_some_and(|after| index > after);
                    group.idle = if is_noise { group.idle + 1 } else { 0 };
                    group.setbacks = 0;
                    group.plain_next = after.is_some_and(|after| index < after);
                    group.rest_until = self.now + gap(count, group.idle);
                    group.shown = Some(Shown { index, entries });
                }
                if count > 4 * members + MANY_KEYS {
                    self.mark(&prefix, Flaw::Bulky);
                }
            }
            Listed::Denied(_) | Listed::NameRefused(_) | Listed::Unknown(Trouble::TooLong)
                if is_current =>
            {
                self.mark(&prefix, Flaw::Unlistable);
                self.interrupted(&prefix, false);
            }
            Listed::Unknown(trouble) => {
                if let Trouble::Refused(_) = trouble {
                    self.refused();
                }
                let has_waited =
                    after.is_some() && is_cut(&trouble) && self.patience.cut(self.now, since);
                if is_current {
                    if let Some(group) = self.groups.get_mut(&prefix).filter(|_| has_waited) {
                        group.setbacks = 0;
                    }
                    self.interrupted(&prefix, true);
                }
            }
            Listed::Denied(_) | Listed::NameRefused(_) => {}
        }
    }

    /// Handles a failed listing: the next one starts after a growing pause and does not
    /// block.
    fn interrupted(&mut self, prefix: &str, troubled: bool) {
        if troubled {
            let keys: Vec<Key> = self.under(prefix).map(|(key, _)| key.clone()).collect();
            for key in keys {
                if let Some(interest) = self.interests.get_mut(&key) {
                    interest.troubled |= interest.carrier == Carrier::Group;
                }
            }
        }
        let setbacks = self.groups.get(prefix).map_or(0, |group| group.setbacks);
        let until = self.now + self.pause(setbacks);
        if let Some(group) = self.groups.get_mut(prefix) {
            group.setbacks += 1;
            group.plain_next = true;
            group.rest_until = until;
        }
    }

    fn mark(&mut self, prefix: &Arc<str>, flaw: Flaw) {
        let until = self.now + REMEMBER;
        let old = self.marks.insert(prefix.clone(), Mark { flaw, until });
        if old.is_none_or(|old| old.flaw != flaw) {
            // Plan now, before the next listing.
            self.plan_at = Some(self.now);
        }
    }

    /// Answers the watches under a prefix from its listing. Returns the number of
    /// watches, and whether there was news.
    fn judge(
        &mut self,
        prefix: &str,
        read: Ticket,
        entries: &[(Box<str>, Entry)],
        index: u64,
        effects: &mut Vec<Effect>,
    ) -> (usize, bool) {
        let mut members = 0;
        let mut news: Vec<(Key, Option<Seen>)> = Vec::new();
        for (key, interest) in self.under(prefix) {
            let Interest { after, born, held, carrier: Carrier::Group, .. } = *interest else {
                continue;
            };
            members += 1;
            // If so, an older state than the watch's is from another history. Otherwise the
            // listing may have been sent before that state was read.
            let is_later = read > born || index >= after;
            let place = entries.binary_search_by(|(name, _)| (**name).cmp(key.as_str()));
            match place.ok().map(|place| &entries[place].1) {
                Some(entry) if interest.knows(entry) => {}
                // One of them is from another history.
                Some(entry) if entry.modify_index == after => news.push((key.clone(), None)),
                Some(entry) if entry.modify_index > after || is_later => {
                    let (entry, index) = (entry.clone(), entry.modify_index);
                    news.push((key.clone(), Some(Seen::Found { entry, index })));
                }
                // A key that the token may not read looks absent, too. A waiter finds out by
                // trying; a holder must not get a wrong answer, so check first.
                None if is_later && held => news.push((key.clone(), None)),
                None if is_later => news.push((key.clone(), Some(Seen::Missing { index }))),
                _ => {}
            }
        }
        let told = !news.is_empty();
        for (key, seen) in news {
            match seen {
                Some(seen) => self.answer(&key, seen, effects),
                None => self.queue_check(&key),
            }
        }
        (members, told)
    }

    /// Chooses the prefixes.
    pub(super) fn plan(&mut self) {
        self.plan_at = None;
        let now = self.now;
        self.marks.retain(|_, mark| mark.until > now);
        let gathered =
            |interest: &Interest| matches!(interest.carrier, Carrier::Group | Carrier::Polled);
        let keys = self.interests.iter().filter(|(_, interest)| gathered(interest));
        let keys: Vec<Key> = keys.map(|(key, _)| key.clone()).collect();
        let names: Vec<&str> = keys.iter().map(Key::as_str).collect();
        // Over all keys, so that later ones are covered, too.
        let first = self.interests.keys().next().map_or("", Key::as_str);
        let last = self.interests.keys().next_back().map_or("", Key::as_str);
        let root = plan::common(first, last);
        let flaw = |prefix: &str| self.marks.get(prefix).map(|mark| mark.flaw);
        let parts = plan::parts(&names, root, self.budget.groups(), flaw);

        let mut old = std::mem::take(&mut self.groups);
        for part in parts {
            let kept = old.remove(part.prefix.as_str()).filter(|g| g.polled == part.polled);
            let mut group = kept.unwrap_or_else(|| Group::new(now, part.polled));
            group.joined = 0;
            self.groups.insert(part.prefix.into(), group);
        }
        for key in keys {
            let polled = self.covering(&key).is_none_or(|(_, polled)| polled);
            let carrier = if polled { Carrier::Polled } else { Carrier::Group };
            let was = self.interests.get(&key).map(|interest| interest.carrier);
            if was != Some(carrier) {
                self.set_carrier(&key, carrier);
                if polled {
                    self.queue_check(&key);
                }
            }
        }
    }
}

/// The pause after a listing with this many entries.
fn gap(entries: usize, idle: u32) -> Duration {
    let entries = u32::try_from(entries).unwrap_or(u32::MAX);
    let gap = GAP * (1 << idle.min(MOST_IDLE)) + GAP_PER_ENTRY.saturating_mul(entries);
    gap.min(LONGEST_GAP)
}
