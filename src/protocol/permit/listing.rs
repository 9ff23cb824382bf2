//! Finding and removing holders whose sessions have ended.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, PERIOD, Permit};
use crate::{
    clock::Moment,
    consul::{
        ask::PruneSemaphore,
        fact::{Entry, Listed, Pruned, SessionId, Trouble},
        roster::{LOCK, Roster},
    },
    protocol::{Ticket, lock},
};

/// The questions about all entries of the semaphore, one at a time.
#[derive(Debug, Default)]
pub(super) struct Listing {
    at: Option<Moment>,
    asking: Option<(Ticket, Moment)>,
    pruning: Option<Ticket>,
    /// How many listings in a row were not answered.
    failed: u32,
}

/// How many listings may fail in a row for nobody who waits: those of about ten minutes.
const MOST_FAILED: u32 = 400;
/// How many sessions one listing asks for.
const MOST_ASKED: usize = 8;

impl Listing {
    /// Whether no question is in flight or planned.
    pub(super) fn is_over(&self) -> bool {
        self.at.is_none() && self.is_idle()
    }

    fn is_idle(&self) -> bool {
        self.asking.is_none() && self.pruning.is_none()
    }

    /// When the next listing is due.
    pub(super) fn due(&self) -> Option<Moment> {
        self.at.filter(|_| self.is_idle())
    }

    /// Lists by this moment, unless a listing is planned or under way already.
    pub(super) fn by(&mut self, at: Moment) {
        if self.is_idle() {
            self.at.get_or_insert(at);
        }
    }

    /// Lists at the next occasion.
    pub(super) fn soon(&mut self) {
        self.at = Some(Moment::default());
    }

    /// Forgets the questions in flight.
    pub(super) fn restart(&mut self, at: Option<Moment>) {
        *self = Self { at, ..Self::default() };
    }
}

impl Permit {
    fn waits(&self) -> bool {
        self.demand.wants() && !self.lock.owns()
    }

    /// Whether to go on listing: a caller waits, an ended holder's permit is to pass on, or an
    /// ended session of ours may be among the holders.
    pub(super) fn keeps_listing(&self) -> bool {
        self.waits() || self.roll.has_ended() || self.look_until.is_some()
    }

    pub(super) fn list_if_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.listing.due().is_none_or(|at| at > now) {
            return;
        }
        let ticket = self.tickets.next();
        (self.listing.at, self.listing.asking) = (None, Some((ticket, now)));
        effects.push(Effect::List { ticket, prefix: self.prefix.clone() });
    }

    /// Handles a listing, which is one snapshot: a holder whose entry is not locked there
    /// has ended.
    pub(super) fn listed(
        &mut self,
        now: Moment,
        ticket: Ticket,
        answer: Listed,
        effects: &mut Vec<Effect>,
    ) {
        let asked = self.listing.asking.take_if(|(asking, _)| *asking == ticket);
        let Some((_, asked_at)) = asked else { return };
        let Listed::Found { entries, .. } = answer else {
            self.listing.failed += 1;
            // Without a listing, nobody can be seen to have ended.
            let lasts = !matches!(answer, Listed::Unknown(trouble) if trouble != Trouble::TooLong);
            if lasts || self.listing.failed >= MOST_FAILED {
                self.leave_to_others();
            }
            return self.list_later(now);
        };
        self.listing.failed = 0;
        self.look_until = self.look_until.filter(|until| asked_at < *until);
        // As HashiCorp's clients judge: a session lives if it locks any entry below the prefix.
        let living: BTreeSet<&SessionId> =
            entries.iter().filter_map(|(_, entry)| entry.session.as_ref()).collect();
        let entries: BTreeMap<&str, &Entry> = entries
            .iter()
            .filter_map(|(key, entry)| Some((key.strip_prefix(&*self.prefix)?, entry)))
            .collect();
        let lock = entries.get(LOCK).copied();
        let Some((index, roster)) = lock.and_then(|it| Some((it.modify_index, self.fit(it).ok()?)))
        else {
            // Somebody may put it right, with the same holders.
            self.roll.forget_ended();
            return self.list_later(now);
        };
        self.roll.retain(&roster.holders);
        let ours = self.session.as_ref().map(|(_, id)| id);
        let mut to_ask = Vec::new();
        for holder in roster.holders.iter().filter(|holder| Some(*holder) != ours) {
            if living.contains(holder) {
                if self.roll.lives(holder) && to_ask.len() < MOST_ASKED {
                    to_ask.push(holder.clone());
                }
            } else {
                let own = entries.get(holder.as_str()).map(|entry| entry.modify_index);
                self.roll.ended(now, holder, own);
            }
        }
        for session in to_ask {
            let ticket = self.tickets.next();
            self.roll.asks(&session, ticket);
            effects.push(lock::Effect::AskSession { ticket, session }.into());
        }
        if !self.prune(now, index, &roster, effects) {
            self.list_later(now);
        }
    }

    /// Removes the holders that have been ended for long enough. Returns whether there are any.
    fn prune(
        &mut self,
        now: Moment,
        index: u64,
        roster: &Roster,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let mut ended = self.roll.passed(now);
        ended.truncate(PruneSemaphore::MOST);
        if ended.is_empty() {
            return false;
        }
        let (ticket, left) = (self.tickets.next(), roster.without(ended.iter().map(|(id, _)| id)));
        self.listing.pruning = Some(ticket);
        effects.push(Effect::Prune { ticket, index, left, ended });
        true
    }

    /// Leaves the ended holders to other processes, unless a caller waits here.
    fn leave_to_others(&mut self) {
        self.roll.forget_ended();
        self.look_until = self.look_until.filter(|_| self.waits());
    }

    fn list_later(&mut self, now: Moment) {
        if !self.keeps_listing() {
            return;
        }
        let next = now + self.jitter.within(PERIOD);
        let passes_at = self.roll.next().filter(|at| *at > now);
        self.listing.by(passes_at.map_or(next, |at| at.min(next)));
    }

    /// Handles the answer to a removal.
    pub(super) fn pruned(&mut self, now: Moment, ticket: Ticket, answer: &Pruned) {
        if self.listing.pruning.take_if(|pruning| *pruning == ticket).is_none() {
            return;
        }
        // Left to a process that has the right. Otherwise the next listing shows who is left;
        // waiting callers learn from their watch that the entry has changed.
        if let Pruned::Denied(_) = answer {
            self.leave_to_others();
        }
        self.list_later(now);
    }
}
