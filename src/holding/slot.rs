//! A slot: this process's only place for a key, which outlives the key's actor.

#[cfg(test)]
mod anatomy;

use std::{
    collections::{BTreeSet, HashMap, VecDeque, hash_map},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::oneshot;

#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::{Clock, Moment},
    config::Limits,
    consul::roster::{LOCK, SEMAPHORE_FLAGS},
    error::Error,
    holding::{
        callers::{Answer, Callers, Content, WriteAnswer},
        lease_state::LeaseState,
        observer::Observer,
        tenure::Tenure,
    },
    key::Key,
    protocol::{
        gather::{Gather, SetId},
        lock::Lock,
        permit::{Event, Permit},
        queue::{CallId, HandOver, Patience},
        seat::{Kind, Machine},
    },
    status::telemetry::Telemetry,
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
}

impl Slot {
    fn new(key: Key, slots: &Slots, kind: Kind) -> Self {
        let (clock, process) = (slots.clock, slots.process);
        // The seed makes jitter differ between processes and keys. Nothing else depends on it.
        let seed = clock.now().as_nanos() ^ u64::from(process) << 32;
        let seed = key
            .as_str()
            .bytes()
            .fold(seed, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let telemetry = slots.telemetry.clone();
        let (machine, hand_over, limit) = match kind {
            Kind::Lock => (Machine::Lock(Lock::new(slots.flags, seed)), HandOver::default(), 0),
            Kind::Permit(limit) => {
                let prefix = key.as_str().strip_suffix(LOCK).unwrap_or_default();
                let permit = Permit::new(prefix, limit, seed);
                // A permit handed over would keep its token, while other processes get later
                // ones: tokens would not order the grants of a semaphore.
                (Machine::Permit(Box::new(permit)), HandOver::NONE, limit)
            }
        };
        Self {
            callers: Arc::new(Callers::new(key.clone(), clock, telemetry, hand_over)),
            key,
            machine: Mutex::new(machine),
            limit: AtomicU32::new(limit),
            facts: Mutex::default(),
            written: Mutex::new(Arc::from([])),
            gather: slots.gather.clone(),
            decides_at: Mutex::default(),
        }
    }

    /// What the key is used for.
    pub(crate) fn kind(&self) -> Kind {
        match self.limit.load(Ordering::Relaxed) {
            0 => Kind::Lock,
            limit => Kind::Permit(limit),
        }
    }

    /// Admits a caller that uses the key in this way. A semaphore that nobody here uses
    /// gets the caller's limit.
    fn admit(&self, kind: Kind, flags: u64) -> Result<(), Error> {
        let key = || self.key.clone();
        match (self.kind(), kind) {
            (ours, asked) if ours == asked => Ok(()),
            (Kind::Permit(_), Kind::Permit(limit)) if self.callers.is_vacant() => {
                self.limit.store(limit, Ordering::Relaxed);
                self.machine().set_limit(limit);
                Ok(())
            }
            (Kind::Permit(found), Kind::Permit(asked)) => {
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

    /// The owner has updated the value.
    pub(crate) fn set_written(&self, value: Arc<[u8]>) {
        *lock(&self.written) = value;
    }

    /// The value of our last lock attempt, or of an update since.
    pub(crate) fn written(&self) -> Arc<[u8]> {
        lock(&self.written).clone()
    }

    /// Our last lock attempt wrote `value`.
    pub(super) fn wrote(&self, value: Arc<[u8]>) {
        *lock(&self.written) = value;
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

/// All slots of one runtime. A key has at most one.
#[derive(Debug)]
pub(crate) struct Slots {
    clock: Clock,
    flags: u64,
    most_keys: usize,
    most_waiters: usize,
    /// Makes this process's jitter differ from others'.
    process: u32,
    telemetry: Telemetry,
    table: Mutex<Table>,
    gather: Arc<Mutex<Gather>>,
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

impl Slots {
    pub(crate) fn new(
        clock: Clock,
        flags: u64,
        most_keys: usize,
        most_waiters: usize,
        process: u32,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            clock,
            flags,
            most_keys,
            most_waiters,
            process,
            telemetry,
            table: Mutex::default(),
            gather: Arc::default(),
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
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
        let limit = self.most_waiters;
        let enter = |callers: &Arc<Callers>| callers.enter(patience, value, limit);
        let opened = self.open(key, kind, purpose, enter)?;
        let Opened { slot, answer: (call, answer), is_new } = opened;
        Ok(Entered { slot, call, answer, is_new })
    }

    /// Adds a write under `lease`, which is answered through the channel.
    ///
    /// # Errors
    /// [`Error::NotHeld`], [`Error::TooManyWaiters`]; [`Error::Invalid`] for a permit.
    pub(crate) fn write(
        &self,
        lease: &Arc<LeaseState>,
        content: Content,
    ) -> Result<oneshot::Receiver<WriteAnswer>, Error> {
        match self.get(lease.key()) {
            Some(slot) if slot.kind() != Kind::Lock => Err(Error::Invalid {
                field: "lease",
                why: "is a permit of a semaphore; only locks guard writes".into(),
            }),
            Some(slot) => slot.callers.write(lease, content, self.most_waiters),
            None => Err(Error::NotHeld { key: lease.key().clone(), token: lease.token() }),
        }
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
        let (now, limit) = (self.clock.now(), self.most_waiters);
        let mut table = lock(&self.table);
        // Checked for all keys before the first queue is entered.
        let mut missing = 0;
        for key in keys {
            match table.slots.get(key) {
                None => missing += 1,
                Some(slot) if slot.kind() != Kind::Lock => slot.admit(Kind::Lock, self.flags)?,
                Some(slot) if slot.callers.waiting() < limit => {}
                Some(_) => return Err(Error::TooManyWaiters { key: key.clone(), limit }),
            }
        }
        let most = Purpose::Lock.share(self.most_keys);
        if missing > 0 && table.slots.len() + missing > most {
            return Err(Error::TooManyKeys { limit: most });
        }
        let id = lock(&self.gather).enter(now, keys.clone(), value.clone());
        let patience = Patience::Set { id, since: now };
        let enter = |callers: &Arc<Callers>| callers.enter(patience, value.clone(), limit);
        let entered = keys.iter().map(|key| {
            let opened = self.open_in(&mut table, key, Kind::Lock, Purpose::Lock, enter)?;
            let Opened { slot, answer: (call, answer), is_new } = opened;
            Ok(Entered { slot, call, answer, is_new })
        });
        Ok((id, entered.collect::<Result<_, Error>>()?))
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
        let limit = purpose.share(self.most_keys);
        let full = table.slots.len() >= limit;
        let (slot, is_new) = match table.slots.entry(key.clone()) {
            hash_map::Entry::Occupied(slot) => (slot.get().clone(), false),
            hash_map::Entry::Vacant(_) if full => {
                return Err(Error::TooManyKeys { limit });
            }
            hash_map::Entry::Vacant(place) => {
                let slot = Arc::new(Slot::new(key.clone(), self, kind));
                (place.insert(slot).clone(), true)
            }
        };
        slot.admit(kind, self.flags)?;
        // Under the table's lock, so that the slot is not reaped in between.
        let answer = ask(&slot.callers)?;
        Ok(Opened { slot, answer, is_new })
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
            table.slots.remove(key);
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
}

/// Ignores poisoning: the data behind these mutexes is consistent after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
