//! Who waits for the change of a key, beside the machine that decides how keys
//! are read.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::slot::Slot;
use crate::{
    clock::Moment,
    consul::ask,
    key::Key,
    protocol::{
        Ticket, lock,
        watch::{Effect, Event, Watches},
    },
};

/// Asks for a report to the slot when its key's index is not `after` any more. It
/// replaces an earlier watch of the key.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) slot: Arc<Slot>,
    pub(crate) after: u64,
    pub(crate) ticket: Ticket,
    /// The key is held: keys that somebody waits for come first.
    pub(crate) held: bool,
}

/// A read that is to begin.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) read: Ticket,
    pub(crate) what: What,
}

/// What is read.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Key(ask::Watch),
    Prefix(ask::List),
    /// Nothing: whether the agent takes another connection.
    Probe,
}

/// The watches of one runtime.
#[derive(Debug)]
pub(crate) struct Watchers {
    machine: Watches,
    slots: HashMap<Key, Arc<Slot>>,
}

impl Watchers {
    /// `room` is how many reads may be under way; `seed` feeds the jitter.
    pub(crate) fn new(room: usize, seed: u64) -> Self {
        Self { machine: Watches::new(room, seed), slots: HashMap::new() }
    }

    /// When an [`Event::Tick`] is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        self.machine.next_wakeup()
    }

    /// Begins or replaces a watch; returns the reads that are to begin.
    pub(crate) fn watch(&mut self, now: Moment, watch: Watch) -> Vec<Read> {
        let Watch { slot, after, ticket, held } = watch;
        let key = slot.key.clone();
        self.slots.insert(key.clone(), slot);
        self.handle(now, Event::Watch { key, ticket, after, held })
    }

    /// How many connections the reads may use, and how many at most.
    pub(crate) fn connections(&self) -> (usize, usize) {
        self.machine.connections()
    }

    /// Takes in what happened, reports changes to slots, and returns the reads that
    /// are to begin.
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
