//! All slots of one runtime: a key has at most one.

use std::{
    collections::{BTreeSet, HashMap, hash_map},
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::Clock,
    config::Limits,
    consul::roster::LOCK,
    error::Error,
    holding::{
        callers::{Answer, Callers, Content, WriteAnswer},
        lease_state::LeaseState,
        observer::Observer,
        slot::{Slot, lock},
        tenure::Tenure,
    },
    key::Key,
    protocol::{
        gather::{Gather, SetId},
        lock::Lock,
        permit::Permit,
        queue::{CallId, HandOver, Patience},
        seat::{Kind, Machine},
    },
    status::telemetry::Telemetry,
    token::Era,
};

/// All slots of one runtime. A key has at most one.
#[derive(Debug)]
pub(crate) struct Slots {
    settings: SlotSettings,
    table: Mutex<Table>,
    gather: Arc<Mutex<Gather>>,
}

/// The settings of the slots of one runtime.
#[derive(Clone, Debug)]
pub(crate) struct SlotSettings {
    pub(crate) clock: Clock,
    /// The flags of locks.
    pub(crate) flags: u64,
    pub(crate) era: Era,
    /// The most keys in use.
    pub(crate) most_keys: usize,
    /// The most callers that wait for one key.
    pub(crate) most_waiters: usize,
    /// Makes this process's jitter differ from others'.
    pub(crate) process: u32,
    pub(crate) telemetry: Telemetry,
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<Key, Arc<Slot>>,
    stopped: bool,
}

/// A slot, and the result of the request that opened it.
pub(crate) struct Opened<T> {
    pub(crate) slot: Arc<Slot>,
    pub(crate) answer: T,
    /// Whether the slot was created by the request: it then needs an actor.
    pub(crate) is_new: bool,
}

/// What a slot is opened for. Each purpose has its share of the limit of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A web request whose client chooses the key: half of what locks have.
    #[cfg(feature = "web")]
    Request,
    /// A lock that the service asks for: all but the reserve.
    Lock,
    /// A campaign or an observer: everything.
    Leadership,
}

impl Purpose {
    /// The number of keys in use from which on no further slot is opened.
    fn share(self, keys: usize) -> usize {
        let locks = keys - (keys / 10).min(Limits::LEADERSHIP_KEYS);
        match self {
            #[cfg(feature = "web")]
            Self::Request => locks.div_ceil(2),
            Self::Lock => locks,
            Self::Leadership => keys,
        }
    }
}

/// A newly queued caller.
pub(crate) struct Entered {
    pub(crate) slot: Arc<Slot>,
    pub(crate) call: CallId,
    pub(crate) answer: oneshot::Receiver<Answer>,
    /// Whether the slot was created by the request: it then needs an actor.
    pub(crate) is_new: bool,
}

impl From<Opened<(CallId, oneshot::Receiver<Answer>)>> for Entered {
    fn from(opened: Opened<(CallId, oneshot::Receiver<Answer>)>) -> Self {
        let Opened { slot, answer: (call, answer), is_new } = opened;
        Self { slot, call, answer, is_new }
    }
}

impl Slots {
    pub(crate) fn new(settings: SlotSettings) -> Self {
        Self { settings, table: Mutex::default(), gather: Arc::default() }
    }

    /// The era of all tokens.
    pub(crate) fn era(&self) -> Era {
        self.settings.era
    }

    /// The flags of locks.
    pub(crate) fn flags(&self) -> u64 {
        self.settings.flags
    }

    pub(crate) fn clock(&self) -> Clock {
        self.settings.clock
    }

    /// Queues a caller for `key`.
    ///
    /// # Errors
    /// [`Error::TooManyKeys`], [`Error::TooManyWaiters`], [`Error::Stopped`].
    pub(crate) fn enter(
        &self,
        key: &Key,
        purpose: Purpose,
        patience: Patience,
        value: Arc<[u8]>,
    ) -> Result<Entered, Error> {
        self.enter_as(Kind::Lock, key, purpose, patience, value)
    }

    /// Queues a caller for a permit of the semaphore `key`.
    ///
    /// # Errors
    /// [`Error::LimitConflict`] if others here use another limit; those of
    /// [`enter`](Self::enter).
    pub(crate) fn enter_semaphore(
        &self,
        key: &Key,
        limit: u32,
        patience: Patience,
        value: Arc<[u8]>,
    ) -> Result<Entered, Error> {
        self.enter_as(Kind::Permit(limit), key, Purpose::Lock, patience, value)
    }

    fn enter_as(
        &self,
        kind: Kind,
        key: &Key,
        purpose: Purpose,
        patience: Patience,
        value: Arc<[u8]>,
    ) -> Result<Entered, Error> {
        let limit = self.settings.most_waiters;
        let enter = |callers: &Arc<Callers>| callers.enter(patience, value, limit);
        Ok(self.open(key, kind, purpose, enter)?.into())
    }

    /// Adds a write under `lease`, which is answered through the channel. It relies on
    /// `others`, too; its content must check them.
    ///
    /// # Errors
    /// [`Error::NotHeld`], [`Error::TooManyWaiters`]; [`Error::Invalid`] for a permit.
    pub(crate) fn write(
        &self,
        lease: &Arc<LeaseState>,
        others: &[Arc<LeaseState>],
        content: Content,
    ) -> Result<oneshot::Receiver<WriteAnswer>, Error> {
        let slot_of = |lease: &LeaseState| {
            let (key, token) = (lease.key(), lease.token());
            let slot = self.get(key).ok_or_else(|| Error::NotHeld { key: key.clone(), token })?;
            if slot.kind() != Kind::Lock {
                return Err(Error::Invalid {
                    field: "lease",
                    why: "is a permit of a semaphore; only locks guard writes".into(),
                });
            }
            Ok(slot)
        };
        for other in others {
            slot_of(other)?.callers.rely_on(other)?;
        }
        slot_of(lease)?.callers.write(lease, content, self.settings.most_waiters)
    }

    /// Queues a caller that wants all of `keys` at once. All queues have the callers of
    /// sets in the same order.
    ///
    /// # Errors
    /// [`Error::TooManyKeys`], [`Error::TooManyWaiters`], [`Error::Stopped`].
    pub(crate) fn enter_all(
        &self,
        keys: &BTreeSet<Key>,
        value: Arc<[u8]>,
    ) -> Result<(SetId, Vec<Entered>), Error> {
        let (now, limit) = (self.settings.clock.now(), self.settings.most_waiters);
        let mut table = lock(&self.table);
        let id = lock(&self.gather).enter(now, keys.clone(), value.clone());
        let patience = Patience::Set { id, since: now };
        let enter = |callers: &Arc<Callers>| callers.enter(patience, value.clone(), limit);
        let mut all: Vec<Entered> = Vec::with_capacity(keys.len());
        for key in keys {
            match self.open_in(&mut table, key, Kind::Lock, Purpose::Lock, enter) {
                Ok(opened) => all.push(opened.into()),
                Err(error) => {
                    self.leave_set(id);
                    for Entered { slot, call, is_new, .. } in all {
                        slot.callers.leave(call);
                        if is_new {
                            // It has no actor yet.
                            table.slots.remove(&slot.key);
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok((id, all))
    }

    /// A set's caller no longer waits.
    pub(crate) fn leave_set(&self, id: SetId) {
        lock(&self.gather).leave(id);
    }

    /// Joins or starts the campaign for `key`.
    ///
    /// # Errors
    /// [`Error::TooManyKeys`], [`Error::Stopped`].
    pub(crate) fn campaign(&self, key: &Key, value: Arc<[u8]>) -> Result<Opened<Tenure>, Error> {
        self.open(key, Kind::Lock, Purpose::Leadership, |callers| Tenure::of(callers, value))
    }

    /// Follows the holder of `key`.
    ///
    /// # Errors
    /// [`Error::TooManyKeys`], [`Error::Stopped`].
    pub(crate) fn observe(&self, key: &Key) -> Result<Opened<Observer>, Error> {
        self.open(key, Kind::Lock, Purpose::Leadership, Observer::of)
    }

    /// Makes a request to the slot of `key`, which is created if it does not exist.
    fn open<T>(
        &self,
        key: &Key,
        kind: Kind,
        purpose: Purpose,
        ask: impl FnOnce(&Arc<Callers>) -> Result<T, Error>,
    ) -> Result<Opened<T>, Error> {
        self.open_in(&mut lock(&self.table), key, kind, purpose, ask)
    }

    fn open_in<T>(
        &self,
        table: &mut Table,
        key: &Key,
        kind: Kind,
        purpose: Purpose,
        ask: impl FnOnce(&Arc<Callers>) -> Result<T, Error>,
    ) -> Result<Opened<T>, Error> {
        if table.stopped {
            return Err(Error::Stopped);
        }
        #[cfg(test)]
        if Mutation::SlotTwice.is_chosen() {
            table.slots.remove(key);
        }
        let limit = purpose.share(self.settings.most_keys);
        let full = table.slots.len() >= limit;
        let (slot, is_new) = match table.slots.entry(key.clone()) {
            hash_map::Entry::Occupied(slot) => (slot.get().clone(), false),
            hash_map::Entry::Vacant(_) if full => {
                return Err(Error::TooManyKeys { key: key.clone(), limit });
            }
            hash_map::Entry::Vacant(place) => {
                let slot = Arc::new(self.new_slot(key, kind));
                (place.insert(slot).clone(), true)
            }
        };
        // Under the table's lock, so that the slot is not reaped in between.
        match slot.admit(kind, self.settings.flags).and_then(|()| ask(&slot.callers)) {
            Ok(answer) => Ok(Opened { slot, answer, is_new }),
            Err(error) => {
                if is_new {
                    // Nobody would give it an actor.
                    table.slots.remove(key);
                }
                Err(error)
            }
        }
    }

    fn new_slot(&self, key: &Key, kind: Kind) -> Slot {
        // The seed makes jitter differ between processes and keys. Nothing else depends on it.
        let seed = self.settings.clock.now().as_nanos() ^ u64::from(self.settings.process) << 32;
        let mix = |seed: u64, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let seed = key.as_str().bytes().fold(seed, mix);
        let (machine, hand_over) = match kind {
            Kind::Lock => {
                (Machine::Lock(Lock::new(self.settings.flags, seed)), HandOver::default())
            }
            Kind::Permit(limit) => {
                let prefix = key.as_str().strip_suffix(LOCK).unwrap_or_default();
                let permit = Permit::new(prefix, limit, seed);
                // A permit handed over would keep its token, while other processes get later
                // ones: tokens would not order the grants of a semaphore.
                (Machine::Permit(Box::new(permit)), HandOver::NONE)
            }
        };
        let telemetry = self.settings.telemetry.clone();
        let callers =
            Callers::new(key.clone(), self.settings.clock, self.settings.era, telemetry, hand_over);
        Slot::new(callers, machine, kind, self.gather.clone())
    }

    /// The slot of `key`, if it exists.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Slot>> {
        lock(&self.table).slots.get(key).cloned()
    }

    /// All slots.
    pub(crate) fn all(&self) -> Vec<Arc<Slot>> {
        lock(&self.table).slots.values().cloned().collect()
    }

    /// Removes the slot of `key` if it is idle. Returns whether it was removed.
    pub(crate) fn reap(&self, key: &Key) -> bool {
        let mut table = lock(&self.table);
        let idle = table.slots.get(key).is_some_and(|slot| slot.is_idle());
        #[cfg(test)]
        let idle = idle || Mutation::StaleOfferTaken.is_chosen();
        if idle {
            if let Some(slot) = table.slots.remove(key) {
                slot.remove();
            }
            lock(&self.gather).forget(key);
        }
        idle
    }

    /// Stops accepting callers.
    pub(crate) fn stop(&self) {
        lock(&self.table).stopped = true;
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.table).slots.len()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.table).stopped
    }

    /// The sets of keys as text, for explorations.
    #[cfg(test)]
    pub(crate) fn anatomy(&self) -> String {
        format!("{:?}", lock(&self.gather))
    }
}

#[cfg(test)]
mod tests;
