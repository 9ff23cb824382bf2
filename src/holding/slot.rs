//! A slot: this process's only place for a key, which outlives the key's actor.

#[cfg(test)]
mod anatomy;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::Moment,
    holding::callers::Callers,
    key::Key,
    protocol::{
        gather::Gather,
        lock::{Event, Lock},
    },
};

/// The callers, the machine and the unread facts of one key.
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) callers: Arc<Callers>,
    machine: Mutex<Lock>,
    facts: Mutex<VecDeque<Event>>,
    /// The value of our last lock attempt, or of an update since.
    written: Mutex<Arc<[u8]>>,
    /// Shared by the slots of one runtime.
    gather: Arc<Mutex<Gather>>,
    /// When to decide again about the offered lock.
    decides_at: Mutex<Option<Moment>>,
}

impl Slot {
    /// A slot for these callers, with their key's machine.
    pub(super) fn new(callers: Callers, machine: Lock, gather: Arc<Mutex<Gather>>) -> Self {
        Self {
            key: callers.key().clone(),
            callers: Arc::new(callers),
            machine: Mutex::new(machine),
            facts: Mutex::default(),
            written: Mutex::new(Arc::from([])),
            gather,
            decides_at: Mutex::default(),
        }
    }

    /// Adds a fact for the slot's actor to read.
    pub(crate) fn report(&self, fact: Event) {
        lock(&self.facts).push_back(fact);
        self.callers.poke();
    }

    /// The oldest unread fact.
    pub(crate) fn next_fact(&self) -> Option<Event> {
        let mut facts = lock(&self.facts);
        let fact = facts.pop_front();
        if fact.is_none() {
            // Most slots have nothing to read most of the time.
            facts.shrink_to_fit();
        }
        fact
    }

    /// The machine. After a panic, [`Lock::recover`] repairs it; poisoning is ignored.
    pub(crate) fn machine(&self) -> MutexGuard<'_, Lock> {
        lock(&self.machine)
    }

    /// The value to lock with: the first caller's, or the last one if nobody waits.
    pub(crate) fn value(&self) -> Arc<[u8]> {
        let mut written = lock(&self.written);
        if let Some(value) = self.callers.value() {
            *written = value;
        }
        written.clone()
    }

    /// Our last lock attempt, or an update since, wrote `value`.
    pub(super) fn set_written(&self, value: Arc<[u8]>) {
        *lock(&self.written) = value;
    }

    /// The value of our last lock attempt, or of an update since.
    pub(crate) fn written(&self) -> Arc<[u8]> {
        lock(&self.written).clone()
    }

    /// The sets of this runtime.
    pub(super) fn gather(&self) -> MutexGuard<'_, Gather> {
        lock(&self.gather)
    }

    /// Whether the key could be locked now, together with the other keys of a set.
    pub(crate) fn is_offered(&self) -> bool {
        self.gather().is_offered(&self.key)
    }

    /// When to decide again about the offered lock.
    pub(super) fn decides_at(&self) -> MutexGuard<'_, Option<Moment>> {
        lock(&self.decides_at)
    }

    /// Whether nothing is left to do for the key.
    pub(crate) fn is_idle(&self) -> bool {
        #[cfg(test)]
        if Mutation::SlotForgotten.is_chosen() {
            return self.callers.is_vacant();
        }
        self.callers.is_vacant() && lock(&self.facts).is_empty() && self.machine().is_quiet()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Ignores poisoning: the data behind these mutexes is consistent after a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
