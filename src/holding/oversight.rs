//! Looks over all keys from time to time: for gauges, for what lasts too long, and for
//! callers that wait for each other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::slot::Slot;
use crate::key::Key;

/// Decides when to look, and knows the circles of waiting callers that were already reported.
#[derive(Debug, Default)]
pub(crate) struct Oversight {
    /// The beats since the last look.
    beats: usize,
    circles: BTreeSet<Vec<Key>>,
}

/// The number of keys that are looked at for each beat. A look at ten thousand keys takes
/// about 10 ms, so it is made every eleventh beat.
const KEYS_PER_BEAT: usize = 1_000;
/// The most beats from one look to the next.
const MOST_BEATS: usize = 15;

/// The holds and waits of all keys.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    pub(crate) held: usize,
    pub(crate) waiting: usize,
    pub(crate) oldest_hold: Duration,
    pub(crate) oldest_wait: Duration,
    /// Warnings for an operator; each is given once.
    pub(crate) notes: Vec<(Key, String)>,
}

impl Oversight {
    /// Whether to look at this beat of a regular signal, with so many keys.
    pub(crate) fn is_due(&mut self, keys: usize) -> bool {
        self.beats += 1;
        let is_due = self.beats >= (1 + keys / KEYS_PER_BEAT).min(MOST_BEATS);
        if is_due {
            self.beats = 0;
        }
        is_due
    }

    /// Looks over all keys. Holds and waits longer than `limit` are noted.
    pub(crate) fn look(&mut self, slots: &[Arc<Slot>], limit: Option<Duration>) -> Overview {
        let mut view = Overview::default();
        let mut tokens = Vec::new();
        let mut waits = Vec::new();
        for slot in slots {
            let glance = slot.callers.glance(limit);
            view.held += usize::from(slot.machine().owns());
            view.waiting += glance.waiting;
            view.oldest_hold = view.oldest_hold.max(glance.hold.unwrap_or_default());
            view.oldest_wait = view.oldest_wait.max(glance.oldest_wait.unwrap_or_default());
            view.notes.extend(glance.overlong.into_iter().map(|what| (slot.key.clone(), what)));
            let wanted = |(held, token)| (held, token, slot.key.clone());
            waits.extend(glance.held_by_waiters.into_iter().map(wanted));
            tokens.extend(glance.token.map(|token| (&slot.key, token)));
        }
        // Usually no caller says what it holds, and there can be thousands of keys.
        let tokens: HashMap<_, _> =
            if waits.is_empty() { HashMap::new() } else { tokens.into_iter().collect() };
        // Only who still holds a key keeps others waiting.
        let current = waits.into_iter().filter(|(held, token, _)| tokens.get(held) == Some(token));
        let edges: BTreeSet<_> = current.map(|(held, _, wanted)| (held, wanted)).collect();
        let circles = circles(&edges);
        for circle in circles.difference(&self.circles) {
            let what = told(circle);
            view.notes.extend(circle.iter().map(|key| (key.clone(), what.clone())));
        }
        self.circles = circles;
        view
    }
}

fn told(circle: &[Key]) -> String {
    let next = circle.iter().cycle().skip(1);
    let steps = circle
        .iter()
        .zip(next)
        .map(|(held, wanted)| format!("who holds {held} waits for {wanted}"));
    let steps: Vec<_> = steps.collect();
    format!("callers of this process wait for each other: {}", steps.join(", "))
}

/// The circles among edges, each from its least key on. At least one of every knot.
fn circles(edges: &BTreeSet<(Key, Key)>) -> BTreeSet<Vec<Key>> {
    let mut next: BTreeMap<&Key, Vec<&Key>> = BTreeMap::new();
    for (held, wanted) in edges {
        next.entry(held).or_default().push(wanted);
    }
    let mut found = BTreeSet::new();
    let mut done = BTreeSet::new();
    for start in next.keys() {
        // Depth first, with the untried steps of each key on the path.
        let mut path: Vec<(&Key, Vec<&Key>)> = Vec::new();
        let mut visit = Some(*start);
        while let Some(key) = visit.take() {
            if let Some(place) = path.iter().position(|(known, _)| *known == key) {
                let mut circle: Vec<Key> =
                    path[place..].iter().map(|(key, _)| (*key).clone()).collect();
                let least = (0..circle.len()).min_by_key(|place| &circle[*place]).unwrap_or(0);
                circle.rotate_left(least);
                found.insert(circle);
            } else if !done.contains(key) {
                path.push((key, next.get(key).cloned().unwrap_or_default()));
            }
            while let Some((key, untried)) = path.last_mut() {
                visit = untried.pop();
                if visit.is_some() {
                    break;
                }
                done.insert(*key);
                path.pop();
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
