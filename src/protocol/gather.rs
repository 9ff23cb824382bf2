//! The sets of keys that callers of this process want at once.
//!
//! A set's caller queues for each key. It is granted all of them by one transaction, or
//! none:
//!
//! ```text
//!   lock a ──could lock now──► offer ┐
//!   lock b ──could lock now──► offer ├─ all offered ─► one transaction for the set
//!   lock c ──waits for another holder┘                  │ it fails: those at fault wait,
//!                                                       ▼ the others offer again
//! ```
//!
//! An offered lock is not held, neither in Consul nor here: a later caller that wants
//! this key alone passes the set, and so does a later set that is complete. So a
//! waiting set cannot be part of a deadlock. To bound how often it is passed, it
//! [holds its places](holds_places) for a second in every four. All queues have the
//! sets in the same order, so the oldest of them is never blocked by another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::Ticket;
#[cfg(test)]
use super::mutation::Mutation;
use crate::{
    clock::Moment,
    consul::fact::{Expect, Fence, SessionId},
    key::Key,
};

/// Names a set. A later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SetId(u64);

/// How often a waiting set gets a time in which nobody passes it.
const PERIOD: Duration = Duration::from_secs(4);
/// How long that time is: longer than the fairness pauses of its keys.
const FIRM: Duration = Duration::from_secs(1);
/// How long an offer for a key that must be read may be outstanding before it is read again.
const STALE: Duration = Duration::from_secs(1);

/// Until when nobody passes a set that has waited since `since`; `None` if others may.
fn holds_until(now: Moment, since: Moment) -> Option<Moment> {
    let waited = now.since(since).as_nanos();
    let (period, firm) = (PERIOD.as_nanos(), FIRM.as_nanos());
    let left = period - waited % period;
    (left <= firm).then(|| now + Duration::from_nanos(left as u64))
}

/// Whether nobody passes a set that has waited since `since`.
pub(crate) fn holds_places(now: Moment, since: Moment) -> bool {
    holds_until(now, since).is_some()
}

/// A lock that a key's machine could send now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) ticket: Ticket,
    pub(crate) session: SessionId,
    pub(crate) fence: Fence,
    pub(crate) expect: Expect,
    /// When it was made.
    pub(crate) at: Moment,
}

/// A caller in a key's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InLine {
    /// It wants this key alone.
    Alone,
    /// It wants this key with the others of the set.
    Set(SetId),
}

/// What becomes of a key's offer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// There is no offer, or it stays. Decide again at `until`.
    Wait { until: Option<Moment> },
    /// Nobody takes it: the machine must decide anew.
    Withdraw(Ticket),
    /// Lock the key alone.
    Alone(Offer),
    /// Lock these keys in one transaction, with this value, then call [`Gather::send`].
    Set { id: SetId, value: Arc<[u8]>, offers: Vec<(Key, Offer)> },
}

#[derive(Debug)]
struct Set {
    keys: BTreeSet<Key>,
    value: Arc<[u8]>,
    since: Moment,
}

/// A lock that was sent for a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) set: SetId,
    /// The value that it writes.
    pub(crate) value: Arc<[u8]>,
}

/// The waiting sets of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    sets: BTreeMap<SetId, Set>,
    offers: BTreeMap<Key, Offer>,
    /// Until they are answered.
    sent: BTreeMap<(Key, Ticket), Sent>,
    made: u64,
}

impl Gather {
    /// A caller begins to wait for all of `keys`.
    pub(crate) fn enter(&mut self, now: Moment, keys: BTreeSet<Key>, value: Arc<[u8]>) -> SetId {
        self.made += 1;
        let id = SetId(self.made);
        self.sets.insert(id, Set { keys, value, since: now });
        id
    }

    /// The caller no longer waits.
    pub(crate) fn leave(&mut self, id: SetId) {
        self.sets.remove(&id);
    }

    /// The machine of `key` could lock it now.
    pub(crate) fn offer(&mut self, key: &Key, offer: Offer) {
        self.offers.insert(key.clone(), offer);
    }

    /// Whether the lock of `key` is offered.
    pub(crate) fn is_offered(&self, key: &Key) -> bool {
        self.offers.contains_key(key)
    }

    /// Takes back the offer of `key`, if there is one.
    pub(crate) fn revoke(&mut self, key: &Key) -> Option<Ticket> {
        self.offers.remove(key).map(|offer| offer.ticket)
    }

    /// Decides about the offer of `key`. `line` has the callers of its queue, up to the
    /// first that wants the key alone. `is_read` if the key must be read from time to time.
    pub(crate) fn decide(
        &mut self,
        now: Moment,
        key: &Key,
        line: &[InLine],
        is_read: bool,
    ) -> Decision {
        let Some(offer) = self.offers.get(key) else { return Decision::Wait { until: None } };
        let stale_at = is_read.then(|| offer.at + STALE);
        if line.is_empty() || stale_at.is_some_and(|at| at <= now) {
            let ticket = offer.ticket;
            self.offers.remove(key);
            return Decision::Withdraw(ticket);
        }
        let mut until = stale_at;
        for caller in line {
            let id = match caller {
                InLine::Alone => return self.take_alone(key),
                InLine::Set(id) => *id,
            };
            let Some(set) = self.sets.get(&id) else { continue };
            let firm = holds_until(now, set.since);
            match self.obstacle(now, id, set) {
                Ok(()) => return self.complete(id, set),
                Err(again) => until = until.into_iter().chain(again).chain(firm).min(),
            }
            if firm.is_some() {
                break;
            }
        }
        Decision::Wait { until }
    }

    fn take_alone(&mut self, key: &Key) -> Decision {
        self.offers.remove(key).map_or(Decision::Wait { until: None }, Decision::Alone)
    }

    fn complete(&self, id: SetId, set: &Set) -> Decision {
        let offer = |key: &Key| Some((key.clone(), self.offers.get(key)?.clone()));
        let offers = set.keys.iter().filter_map(offer).collect();
        Decision::Set { id, value: set.value.clone(), offers }
    }

    /// These locks of a complete set were sent with `value`: its offers are taken. Not
    /// before: if the sender dies, nobody answers what was not sent. The set's caller may
    /// have left in the meantime.
    pub(crate) fn send(&mut self, set: SetId, value: &Arc<[u8]>, locks: Vec<(Key, Ticket)>) {
        for (key, ticket) in locks {
            if self.offers.get(&key).is_some_and(|offer| offer.ticket == ticket) {
                self.offers.remove(&key);
            }
            self.sent.insert((key, ticket), Sent { set, value: value.clone() });
        }
    }

    /// Why the set cannot be locked: a key is not offered, or an older set holds its
    /// place there until then.
    fn obstacle(&self, now: Moment, id: SetId, set: &Set) -> Result<(), Option<Moment>> {
        let mut first: Option<&Offer> = None;
        for key in &set.keys {
            let Some(offer) = self.offers.get(key) else {
                #[cfg(test)]
                if Mutation::SetTakenPartly.is_chosen() {
                    continue;
                }
                return Err(None);
            };
            // After a new session or fence, the others' offers follow.
            let first = *first.get_or_insert(offer);
            if (&offer.session, offer.fence) != (&first.session, first.fence) {
                return Err(None);
            }
        }
        let older = self.sets.range(..id).filter(|(_, other)| !other.keys.is_disjoint(&set.keys));
        match older.filter_map(|(_, other)| holds_until(now, other.since)).max() {
            Some(until) => Err(Some(until)),
            None => Ok(()),
        }
    }

    /// The lock of `key` with this ticket, if it was sent for a set.
    pub(crate) fn sent(&self, key: &Key, ticket: Ticket) -> Option<Sent> {
        self.sent.get(&(key.clone(), ticket)).cloned()
    }

    /// The lock of `key` with this ticket was answered.
    pub(crate) fn answered(&mut self, key: &Key, ticket: Ticket) {
        self.sent.remove(&(key.clone(), ticket));
    }

    /// Forgets the offer of `key` and its locks. Returns the sets that they were sent for.
    pub(crate) fn forget(&mut self, key: &Key) -> BTreeSet<SetId> {
        self.offers.remove(key);
        let mut sets = BTreeSet::new();
        self.sent.retain(|(of, _), sent| {
            let stays = of != key;
            if !stays {
                sets.insert(sent.set);
            }
            stays
        });
        sets
    }
}

#[cfg(test)]
mod tests;
