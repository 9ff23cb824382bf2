//! The slots that wait for a change of their key, with the machine that decides how keys are
//! read.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::slot::Slot;
use crate::{
    clock::Moment,
    consul::{ask, fact::SessionId},
    key::Key,
    protocol::{
        Ticket, lock,
        watch::{Effect, Event, Watches},
    },
};

/// Requests a report to the slot once its key's index is no longer `after`, or shows another
/// holder. Replaces an earlier watch of the key.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) slot: Arc<Slot>,
    pub(crate) after: u64,
    pub(crate) holder: Option<SessionId>,
    pub(crate) ticket: Ticket,
    /// The key is held: keys with waiting callers come first.
    pub(crate) held: bool,
}

/// A read to start.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) read: Ticket,
    pub(crate) what: What,
}

/// The subject of a read.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Key(ask::Watch),
    Prefix(ask::List),
    /// No key: a probe whether the agent accepts another connection.
    Probe,
}

/// The watches of one runtime.
#[derive(Debug)]
pub(crate) struct Watchers {
    machine: Watches,
    slots: HashMap<Key, Arc<Slot>>,
}

impl Watchers {
    /// `room` limits the concurrent reads; `seed` seeds the jitter.
    pub(crate) fn new(room: usize, seed: u64) -> Self {
        Self { machine: Watches::new(room, seed), slots: HashMap::new() }
    }

    #[cfg(test)]
    pub(crate) fn machine(&self) -> &Watches {
        &self.machine
    }

    /// Fixes the jitter at its least, so that an exploration has fewer states.
    #[cfg(test)]
    pub(crate) fn hold_steady(&mut self) {
        self.machine.hold_steady();
    }

    /// When an [`Event::Tick`] is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        self.machine.next_wakeup()
    }

    /// Starts or replaces a watch, unless its slot was removed; returns the reads to start.
    pub(crate) fn watch(&mut self, now: Moment, watch: Watch) -> Vec<Read> {
        let Watch { slot, after, holder, ticket, held } = watch;
        // The watch of its successor may be there already.
        if slot.is_removed() {
            return Vec::new();
        }
        let key = slot.key.clone();
        self.slots.insert(key.clone(), slot);
        self.handle(now, Event::Watch { key, ticket, after, holder, held })
    }

    /// The number of connections that the reads may use now, and the limit.
    pub(crate) fn connections(&self) -> (usize, usize) {
        self.machine.connections()
    }

    /// Handles an event, reports changes to slots, and returns the reads to start.
    pub(crate) fn handle(&mut self, now: Moment, event: Event) -> Vec<Read> {
        let mut effects = Vec::new();
        self.machine.handle(now, event, &mut effects);
        effects.into_iter().filter_map(|effect| self.apply(effect)).collect()
    }

    fn apply(&mut self, effect: Effect) -> Option<Read> {
        let (read, what) = match effect {
            Effect::Read { read, key, after, wait } => {
                (read, What::Key(ask::Watch { key, after: Some(after), wait }))
            }
            Effect::Check { read, key } => {
                (read, What::Key(ask::Watch { key, after: None, wait: Duration::ZERO }))
            }
            Effect::List { read, prefix, after, wait } => {
                (read, What::Prefix(ask::List { prefix, after, wait }))
            }
            Effect::Probe { read } => (read, What::Probe),
            Effect::Answer { key, ticket, answer } => {
                self.report(&key, lock::Event::Watched { ticket, answer });
                return None;
            }
            Effect::Unchanged { key, ticket } => {
                self.report(&key, lock::Event::Unchanged { ticket });
                return None;
            }
        };
        Some(Read { read, what })
    }

    fn report(&mut self, key: &Key, fact: lock::Event) {
        if let Some(slot) = self.slots.remove(key) {
            slot.report(fact);
        }
    }
}
