//! The state of a Consul server and what time does to it.
//!
//! Pure: `now` is a parameter, nothing reads a clock, and equal inputs give
//! equal outputs. A caller passes moments that never go backwards; an earlier
//! one counts as the latest.

mod fault;
mod kv;
mod operator;
mod session;
mod txn;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

pub(crate) use self::{
    fault::Fault,
    kv::{Pair, PutMode},
    operator::{IndexAfterRestore, Snapshot},
    session::{Session, SessionDraft},
    txn::{OpFault, TxnOp, TxnRow, Verb},
};
use crate::{clock::Moment, consul::fact::SessionId};

/// The one check that an agent's node has by itself.
pub(crate) const SERF_HEALTH: &str = "serfHealth";

/// The raft index of an engine without data: a server has written some entries
/// of its own by the time that it serves.
const FIRST_INDEX: u64 = 20;

/// How long a deleted key leaves its mark on the indexes of its prefixes.
const TOMBSTONE_TTL: Duration = Duration::from_secs(15 * 60);

/// To what multiple the end of a tombstone is rounded up.
const TOMBSTONE_GRANULARITY: u64 = 30_000_000_000;

/// When a session that is not renewed ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// After twice its TTL, as Consul's servers do.
    #[default]
    TwiceTtl,
    /// After its TTL: the earliest that Consul's contract allows.
    Ttl,
}

/// What makes one engine differ from another.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) expiry: Expiry,
    /// The name of the only node.
    pub(crate) node: Arc<str>,
    /// Where the session ids and the jitter of blocking reads begin.
    pub(crate) seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { expiry: Expiry::default(), node: "embedded".into(), seed: 0 }
    }
}

/// What a raft snapshot holds.
#[derive(Clone, Debug, Default)]
struct Store {
    /// The highest index at which a key was written or deleted.
    kv_index: u64,
    /// The highest index at which a tombstone was set or reaped.
    tombstone_index: u64,
    /// The highest index at which a session was created or ended.
    session_index: u64,
    pairs: BTreeMap<Vec<u8>, Pair>,
    tombstones: BTreeMap<Vec<u8>, u64>,
    sessions: BTreeMap<SessionId, Session>,
}

/// A key that no session may lock for a while.
#[derive(Clone, Copy, Debug)]
struct LockDelay {
    until: Moment,
    span: Duration,
}

/// One Consul server that is always the leader of itself.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    settings: Settings,
    now: Moment,
    raft_index: u64,
    store: Store,
    /// When each session with a TTL ends; in the leader's memory only.
    timers: BTreeSet<(Moment, SessionId)>,
    /// In the server's memory only.
    delays: BTreeMap<Vec<u8>, LockDelay>,
    /// When the tombstones up to an index are reaped.
    reaps: VecDeque<(Moment, u64)>,
    serf_health_critical: bool,
    /// The state of the generator of ids and jitter.
    random: u64,
    /// Changes with every change that a blocking read could see.
    version: u64,
    /// Changes when the store is replaced by another.
    life: u64,
    /// The keys that were written or deleted, if somebody wants to know.
    touched: Option<Vec<Vec<u8>>>,
}

impl Engine {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut engine = Self {
            now: Moment::default(),
            raft_index: 0,
            store: Store::default(),
            timers: BTreeSet::new(),
            delays: BTreeMap::new(),
            reaps: VecDeque::new(),
            serf_health_critical: false,
            random: settings.seed,
            version: 0,
            life: 0,
            touched: None,
            settings,
        };
        engine.begin_empty();
        engine
    }

    fn begin_empty(&mut self) {
        self.raft_index = FIRST_INDEX;
        self.store = Store {
            kv_index: FIRST_INDEX,
            tombstone_index: FIRST_INDEX,
            session_index: FIRST_INDEX,
            ..Store::default()
        };
        self.timers.clear();
        self.delays.clear();
        self.reaps.clear();
        self.serf_health_critical = false;
    }

    /// Lets everything happen that is due by `now`: sessions expire, each at its
    /// own instant, and tombstones are reaped.
    pub(crate) fn advance(&mut self, now: Moment) {
        while let Some((due, id)) = self.timers.first() {
            if *due > now {
                break;
            }
            let (due, id) = (*due, id.clone());
            self.now = self.now.max(due);
            let index = self.next_index();
            self.end_session(&id, index);
        }
        self.now = self.now.max(now);
        while let Some(&(due, index)) = self.reaps.front() {
            if due > self.now {
                break;
            }
            self.reaps.pop_front();
            self.store.tombstones.retain(|_, tombstone| *tombstone > index);
            self.store.tombstone_index = self.next_index();
            self.version += 1;
        }
    }

    /// The next instant at which [`Engine::advance`] changes what a blocking
    /// read sees; `None` if nothing is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        let expiry = self.timers.first().map(|(due, _)| *due);
        let reap = self.reaps.front().map(|(due, _)| *due);
        expiry.into_iter().chain(reap).min()
    }

    /// Changes with every change that a blocking read could see.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Changes when the whole store is replaced.
    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    /// Begins to record which keys are written or deleted. Whoever calls this
    /// must take them, or they pile up.
    pub(crate) fn record_touched(&mut self) {
        self.touched = Some(Vec::new());
    }

    /// The keys that were written or deleted since the last time, or by a
    /// transaction that failed after all.
    pub(crate) fn take_touched(&mut self) -> Vec<Vec<u8>> {
        self.touched.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn touch(&mut self, key: &[u8]) {
        self.version += 1;
        if let Some(touched) = &mut self.touched {
            touched.push(key.to_vec());
        }
    }

    /// What may be changed while the engine runs: timers that run already stay.
    pub(crate) fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Begins the random sequence anew.
    pub(crate) fn reseed(&mut self, seed: u64) {
        self.random = seed;
    }

    /// The name of the only node.
    pub(crate) fn node(&self) -> &str {
        &self.settings.node
    }

    /// The next number of the engine's own random sequence.
    pub(crate) fn draw(&mut self) -> u64 {
        super::golang::splitmix(&mut self.random)
    }

    /// The index of a new raft entry. A refused write takes one as well.
    fn next_index(&mut self) -> u64 {
        self.raft_index += 1;
        self.raft_index
    }

    fn schedule_reap(&mut self, index: u64) {
        let end = (self.now + TOMBSTONE_TTL).as_nanos();
        let due = Moment::from_nanos(
            end.saturating_add(TOMBSTONE_GRANULARITY - end % TOMBSTONE_GRANULARITY),
        );
        match self.reaps.back_mut() {
            Some(last) if last.0 == due => last.1 = index,
            _ => self.reaps.push_back((due, index)),
        }
    }
}

#[cfg(test)]
mod tests;
