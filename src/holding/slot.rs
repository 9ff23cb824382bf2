//! A slot: this process's only place for a key, which outlives the key's actor.

#[cfg(test)]
mod anatomy;

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::Moment,
    consul::roster::SEMAPHORE_FLAGS,
    error::Error,
    holding::callers::Callers,
    key::Key,
    protocol::{
        gather::Gather,
        permit::Event,
        seat::{Kind, Machine},
    },
};

/// The callers, the machine and the unread facts of one key.
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) callers: Arc<Callers>,
    machine: Mutex<Machine>,
    /// The limit of a semaphore; 0 for a lock.
    limit: AtomicU32,
    facts: Mutex<VecDeque<Event>>,
    /// The value of our last lock attempt, or of an update since.
    written: Mutex<Arc<[u8]>>,
    /// Shared by the slots of one runtime.
    gather: Arc<Mutex<Gather>>,
    /// When to decide again about the offered lock.
    decides_at: Mutex<Option<Moment>>,
    /// Another slot may have taken its place.
    is_removed: AtomicBool,
}

impl Slot {
    /// A slot for these callers, with their key's machine.
    pub(super) fn new(
        callers: Callers,
        machine: Machine,
        kind: Kind,
        gather: Arc<Mutex<Gather>>,
    ) -> Self {
        let limit = match kind {
            Kind::Lock => 0,
            Kind::Permit(limit) => limit,
        };
        Self {
            limit: AtomicU32::new(limit),
            key: callers.key().clone(),
            callers: Arc::new(callers),
            machine: Mutex::new(machine),
            facts: Mutex::default(),
            written: Mutex::new(Arc::from([])),
            gather,
            decides_at: Mutex::default(),
            is_removed: AtomicBool::default(),
        }
    }

    /// The slot was removed from the table. Its actor may be woken once more.
    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    /// What the key is used for.
    pub(crate) fn kind(&self) -> Kind {
        match self.limit.load(Ordering::Relaxed) {
            0 => Kind::Lock,
            limit => Kind::Permit(limit),
        }
    }

    /// Admits a caller that uses the key in this way; locks have `flags`. A semaphore that
    /// nobody here uses gets the caller's limit, once nothing is in flight with another one.
    pub(super) fn admit(&self, kind: Kind, flags: u64) -> Result<(), Error> {
        let key = || self.key.clone();
        match (self.kind(), kind) {
            (ours, asked) if ours == asked => Ok(()),
            (Kind::Permit(found), Kind::Permit(asked)) => {
                if self.callers.is_vacant() {
                    // Under one lock: a turn may begin meanwhile.
                    let mut machine = self.machine();
                    if machine.may_change_limit() {
                        self.limit.store(asked, Ordering::Relaxed);
                        machine.set_limit(asked);
                        return Ok(());
                    }
                }
                Err(Error::LimitConflict { key: key(), asked, found: found.into() })
            }
            (Kind::Permit(_), Kind::Lock) => {
                Err(Error::FlagConflict { key: key(), found: SEMAPHORE_FLAGS })
            }
            (Kind::Lock, _) => Err(Error::FlagConflict { key: key(), found: flags }),
        }
    }

    /// Adds a fact for the slot's actor to read.
    pub(crate) fn report(&self, fact: impl Into<Event>) {
        lock(&self.facts).push_back(fact.into());
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

    /// The machine. After a panic, [`Machine::recover`] repairs it; poisoning is ignored.
    pub(crate) fn machine(&self) -> MutexGuard<'_, Machine> {
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
        let is_quiet = |machine: &Machine| match self.callers.is_stopped() {
            true => machine.may_stop(),
            false => machine.is_quiet(),
        };
        self.callers.is_vacant() && lock(&self.facts).is_empty() && is_quiet(&self.machine())
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
