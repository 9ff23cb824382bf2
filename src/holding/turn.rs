//! One turn of a lock, which the actor of a slot takes whenever it wakes.
//!
//! The turn reads the facts that were reported to the slot, publishes the news of the key,
//! passes the callers' demand to the machine, and applies the machine's effects on the
//! callers. It returns the other effects as [`Order`]s, to be carried out in order.

use std::sync::Arc;

#[cfg(test)]
use super::fuse;
use super::{callers::Content, slot::Slot, slot_question::SlotQuestion};
use crate::{
    clock::Moment,
    config::Retention,
    consul::{
        ask::{
            JoinSemaphore, LeaveSemaphore, Left, ListNow, Lock, LockAll, PruneSemaphore, Read,
            Release, ReleaseHow, SessionInfo, What, Write,
        },
        fact::{Locked, SessionId, Trouble, Written},
        roster::Roster,
    },
    error::Error,
    key::Key,
    protocol::{
        Ticket,
        cell::DeadlineCell,
        contest::News,
        gather::{Decision, InLine, Offer, SetId},
        lock::{Effect, Event},
        permit,
        queue::Demand,
        session::Request,
    },
    token::FencingToken,
};

/// The settings that all locks of one runtime share.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub(crate) service: String,
    pub(crate) flags: u64,
    pub(crate) retention: Retention,
}

/// What triggers a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The slot has input to read.
    Poke,
    /// A turn is due.
    Timer,
    /// A new actor succeeds one that died.
    Recovery,
}

/// An action that a turn leaves to its caller.
#[derive(Debug)]
pub(crate) enum Order {
    Publish(News),
    /// The process owns the key. `token` belongs to the caller that took it; without one
    /// it is `None`.
    Won {
        #[cfg_attr(not(test), expect(dead_code, reason = "the simulation checks it"))]
        index: u64,
        session: SessionId,
        /// The deadline of the ownership.
        #[cfg_attr(not(test), expect(dead_code, reason = "the simulation checks it"))]
        cell: Arc<DeadlineCell>,
        token: Option<FencingToken>,
    },
    Lock {
        ticket: Ticket,
        ask: Lock,
    },
    /// Lock all keys of a set. Each slot gets the answer for its key, with its ticket.
    LockAll {
        tickets: Vec<(Key, Ticket)>,
        ask: LockAll,
    },
    Ask(SlotQuestion),
    /// Report when the key's index passes `after`, or if that index shows another holder.
    /// Keys that are `held` come after keys with waiting callers.
    Watch {
        ticket: Ticket,
        after: u64,
        holder: Option<SessionId>,
        held: bool,
    },
    Request(Request),
    /// Consul refuses the release, for this reason; the release is repeated.
    Unreleased(Error),
    /// The lock replaces this value, with which somebody had overwritten an earlier lock.
    Overwrote(Vec<u8>),
    /// The key cannot be acquired, for this reason; the callers were informed.
    Failed(Error),
    /// Nothing is left to do for the key.
    Idle,
}

impl Offer {
    fn lock(self, key: Key, value: &[u8], flags: u64) -> Lock {
        let Self { session, fence, expect, .. } = self;
        Lock { key, session, value: value.to_vec(), flags, fence, expect }
    }
}

impl Slot {
    /// Takes a turn: handles everything since the last one. A removed slot has nothing to do.
    pub(crate) fn turn(
        &self,
        now: Moment,
        cause: Cause,
        style: &Style,
        out: &mut impl FnMut(Order),
    ) {
        // The key's offer is its successor's.
        if self.is_removed() {
            return;
        }
        match cause {
            Cause::Poke => {}
            Cause::Timer => self.feed(now, Event::Tick, style, out),
            Cause::Recovery => self.recover(now, style, out),
        }
        while let Some(fact) = self.next_fact() {
            self.feed(now, fact, style, out);
        }
        let demand = self.publish(out);
        self.feed(now, Event::Demand(demand), style, out);
        // The key must be read from time to time although its lock is offered.
        let is_read = demand.follow || self.machine().is_sweeping();
        self.decide(now, is_read, style, out);
        if self.is_idle() {
            out(Order::Idle);
        }
    }

    /// Begins the first turn after the slot's actor died.
    fn recover(&self, now: Moment, style: &Style, out: &mut impl FnMut(Order)) {
        // An answer may be lost. The callers of these sets ask anew.
        let sets = self.gather().forget(&self.key);
        sets.into_iter().for_each(|set| self.desert(set));
        let mut effects = Vec::new();
        let floor = self.callers.last_index();
        self.machine().recover(now, floor, &mut effects);
        self.apply_all(now, effects, None, style, out);
        // Its outcome may have died with the actor.
        let dropped = Trouble::Broken("the lock's actor failed".into());
        self.callers.wrote(Written::Unknown(dropped));
    }

    /// When a turn for [`Cause::Timer`] is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        if self.is_removed() {
            return None;
        }
        let election = self.callers.next_wakeup();
        let decides_at = *self.decides_at();
        self.machine().next_wakeup().into_iter().chain(election).chain(decides_at).min()
    }

    fn feed(
        &self,
        now: Moment,
        event: impl Into<permit::Event>,
        style: &Style,
        out: &mut impl FnMut(Order),
    ) {
        let event = event.into();
        let is_new_session = matches!(event, permit::Event::Lock(Event::Session(_)));
        let (locked, is_locked) = match &event {
            permit::Event::Lock(Event::Locked { ticket, answer }) => {
                (Some(*ticket), matches!(answer, Locked::At(_)))
            }
            _ => (None, false),
        };
        let sent = locked.and_then(|ticket| self.gather().sent(&self.key, ticket));
        if let (Some(ticket), Some(sent)) = (locked, &sent)
            && self.machine().tries(ticket)
        {
            self.set_written(sent.value.clone());
        }
        let set = sent.map(|sent| sent.set);
        let mut effects = Vec::new();
        self.machine().handle(now, event, &mut effects);
        self.apply_all(now, effects, set, style, out);
        if let (Some(ticket), Some(set)) = (locked, set) {
            self.gather().answered(&self.key, ticket);
            if is_locked {
                // The other keys were granted, but this one was not.
                self.desert(set);
            }
        }
        // The offered lock has the former session or fence.
        if is_new_session {
            self.withdraw(now, style, out);
        }
    }

    fn apply_all(
        &self,
        now: Moment,
        effects: Vec<permit::Effect>,
        set: Option<SetId>,
        style: &Style,
        out: &mut impl FnMut(Order),
    ) {
        for effect in effects {
            #[cfg(test)]
            fuse::burn();
            match effect {
                permit::Effect::Lock(effect) => self.apply(now, effect, set, style, out),
                effect => self.apply_to_semaphore(effect, style, out),
            }
        }
        #[cfg(test)]
        fuse::burn();
    }

    fn apply(
        &self,
        now: Moment,
        effect: Effect,
        set: Option<SetId>,
        style: &Style,
        out: &mut impl FnMut(Order),
    ) {
        let key = self.key.clone();
        match effect {
            Effect::Lock { ticket, session, fence, expect } => {
                let offer = Offer { ticket, session, fence, expect, at: now };
                // A waiting set must not keep a key that our session has locked already.
                let takes_over = self.machine().takes_over();
                let first = self.callers.line().first().copied();
                if matches!(first, Some(InLine::Set(_))) && !takes_over {
                    self.gather().offer(&key, offer);
                } else {
                    self.lock_alone(offer, style, out);
                }
            }
            Effect::Release { ticket, session, index, found } => {
                let how = match style.retention {
                    Retention::Delete => ReleaseHow::Delete,
                    Retention::Keep => ReleaseHow::Keep {
                        value: found.unwrap_or_else(|| self.written().to_vec()),
                        flags: style.flags,
                    },
                };
                let ask = Release { key, session, index, how };
                out(Order::Ask(SlotQuestion::Release { ticket, ask }));
            }
            Effect::Read { ticket } => {
                out(Order::Ask(SlotQuestion::Read { ticket, ask: Read::Key(key) }));
            }
            Effect::AskSession { ticket, session } => {
                out(Order::Ask(SlotQuestion::AskSession { ticket, ask: SessionInfo { session } }));
            }
            Effect::Watch { ticket, after, holder } => {
                let held = self.machine().owns();
                out(Order::Watch { ticket, after, holder, held });
            }
            Effect::Request(request) => out(Order::Request(request)),
            Effect::Own { index, session, cell } => {
                let name = Some(style.service.clone());
                let holder = Box::new(session.holder(name, None, self.written(), index));
                let token = self.callers.owned(index, cell.clone(), holder, set);
                out(Order::Won { index, session, cell, token });
                self.publish(out);
            }
            Effect::Revoke => self.callers.revoke(),
            Effect::Lost { reason } => {
                self.callers.lost(reason);
                self.publish(out);
            }
            Effect::Released => {
                self.callers.released();
                self.publish(out);
            }
            Effect::Write { ticket, session, index } => match self.callers.begin_write() {
                Some(content) => {
                    let what = match content {
                        Content::Value(value) => What::Value { value, flags: style.flags },
                        Content::Entries(entries) => What::Entries(entries),
                    };
                    let ask = Write { key, session, index, what };
                    out(Order::Ask(SlotQuestion::Write { ticket, ask }));
                }
                None => {
                    let why = Trouble::Broken("the lease has ended".into());
                    self.report(Event::Written { ticket, answer: Written::Failed(why) });
                }
            },
            Effect::Wrote(outcome) => {
                // A late answer may be about an earlier ownership, whose value is gone.
                if let Some((token, value)) = self.callers.wrote(outcome)
                    && self.machine().has_won_at(token.index())
                {
                    self.set_written(value);
                }
            }
            Effect::ValueSeen(value) => self.callers.value_seen(value.into()),
            Effect::Unreleased(error) => out(Order::Unreleased(error)),
            Effect::Overwrote(text) => out(Order::Overwrote(text)),
            Effect::Free => self.callers.free(),
            Effect::Obstructed(obstacle) => self.callers.obstructed(obstacle),
            Effect::Failed(obstacle) => {
                self.callers.failed(&obstacle);
                out(Order::Failed(obstacle.into_error(&key)));
            }
        }
    }

    /// Applies an effect that only a permit's machine has.
    fn apply_to_semaphore(
        &self,
        effect: permit::Effect,
        style: &Style,
        out: &mut impl FnMut(Order),
    ) {
        let key = self.key.clone();
        let left = |roster: Roster| match style.retention {
            Retention::Delete if roster.holders.is_empty() => Left::Nothing,
            Retention::Delete | Retention::Keep => Left::Roster(roster.to_bytes()),
        };
        match effect {
            permit::Effect::Lock(_) => {}
            permit::Effect::Join { ticket, session, fence, expect, roster } => {
                let value = self.value().to_vec();
                let ask = JoinSemaphore { key, session, fence, expect, roster, value };
                out(Order::Ask(SlotQuestion::Join { ticket, ask }));
            }
            permit::Effect::Leave { ticket, session, index, own, left: roster } => {
                let ask = LeaveSemaphore { key, session, index, own, left: left(roster) };
                out(Order::Ask(SlotQuestion::Leave { ticket, ask }));
            }
            permit::Effect::List { ticket, prefix } => {
                let ask = ListNow { prefix };
                out(Order::Ask(SlotQuestion::ListHolders { ticket, ask }));
            }
            permit::Effect::Prune { ticket, index, left: roster, ended } => {
                let ask = PruneSemaphore { key, index, left: left(roster), ended };
                out(Order::Ask(SlotQuestion::Prune { ticket, ask }));
            }
        }
    }

    fn lock_alone(&self, offer: Offer, style: &Style, out: &mut impl FnMut(Order)) {
        let (ticket, value) = (offer.ticket, self.value());
        out(Order::Lock { ticket, ask: offer.lock(self.key.clone(), &value, style.flags) });
    }

    /// Decides what becomes of the offered lock, if there is one.
    fn decide(&self, now: Moment, is_read: bool, style: &Style, out: &mut impl FnMut(Order)) {
        let line = self.callers.line();
        let decision = self.gather().decide(now, &self.key, &line, is_read);
        let mut decides_at = None;
        match decision {
            Decision::Wait { until } => decides_at = until,
            Decision::Withdraw(ticket) => {
                self.withdrawn(now, ticket, style, out);
                // The machine may have offered its lock anew.
                if !line.is_empty() && self.is_offered() {
                    return self.decide(now, is_read, style, out);
                }
            }
            Decision::Alone(offer) => self.lock_alone(offer, style, out),
            Decision::Set { id, value, offers } => {
                #[cfg(test)]
                fuse::burn();
                let tickets = offers.iter().map(|(key, offer)| (key.clone(), offer.ticket));
                let tickets: Vec<_> = tickets.collect();
                let locks = offers.into_iter().map(|(key, it)| it.lock(key, &value, style.flags));
                let ask = LockAll(locks.collect());
                out(Order::LockAll { tickets: tickets.clone(), ask });
                self.gather().send(id, &value, tickets);
            }
        }
        *self.decides_at() = decides_at;
    }

    /// Takes back the offered lock, if there is one; the machine decides anew.
    fn withdraw(&self, now: Moment, style: &Style, out: &mut impl FnMut(Order)) {
        let offered = self.gather().revoke(&self.key);
        if let Some(ticket) = offered {
            self.withdrawn(now, ticket, style, out);
        }
    }

    fn withdrawn(&self, now: Moment, ticket: Ticket, style: &Style, out: &mut impl FnMut(Order)) {
        self.feed(now, Event::Locked { ticket, answer: Locked::Withdrawn }, style, out);
    }

    /// Lets the set's caller ask anew, if it waits for this key.
    fn desert(&self, set: SetId) {
        if let Some(call) = self.callers.call_of(set) {
            self.callers.leave(call);
        }
    }

    /// Publishes the news of the key and returns its callers' demand.
    fn publish(&self, out: &mut impl FnMut(Order)) -> Demand {
        self.callers.report(|news| out(Order::Publish(news)))
    }
}
