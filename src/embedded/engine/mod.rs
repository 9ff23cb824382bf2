//! The state of a Consul server and the events that time causes.
//!
//! Pure: `now` is a parameter, nothing reads a clock, and equal inputs give
//! equal outputs. If `now` goes backwards, the latest moment counts.

mod fault;
mod kv;
mod operator;
mod rights;
mod session;
mod txn;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

pub use self::rights::EmbeddedRight;
pub(crate) use self::{
    fault::Fault,
    kv::{Pair, PutMode},
    operator::{IndexAfterRestore, Snapshot},
    session::{Session, SessionDraft},
    txn::{OpFault, TxnOp, TxnRow, Verb},
};
use crate::{clock::Moment, consul::fact::SessionId};

/// The check that every agent's node has.
pub(crate) const SERF_HEALTH: &str = "serfHealth";

/// The raft index of an engine without data: a server writes some entries of its
/// own before it serves.
const FIRST_INDEX: u64 = 20;

/// How long a deleted key affects the indexes of its prefixes.
const TOMBSTONE_TTL: Duration = Duration::from_secs(15 * 60);

/// A tombstone's end is rounded up to a multiple of this, in nanoseconds.
const TOMBSTONE_GRANULARITY: u64 = 30_000_000_000;

/// When an unrenewed session expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// After twice its TTL, as on Consul's servers.
    #[default]
    TwiceTtl,
    /// After its TTL, the earliest instant that Consul's contract allows.
    Ttl,
}

/// The settings of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) expiry: Expiry,
    /// The name of the only node.
    pub(crate) node: Arc<str>,
    /// Seeds the session ids and the jitter of blocking reads.
    pub(crate) seed: u64,
    /// Whether `/v1/kv/` refuses names as Consul 1.21.5 does.
    pub(crate) strict_names: bool,
    /// Whether the agent behaves as Consul 1.21 where that differs from 1.8.7.
    pub(crate) newer: bool,
    /// The number of requests that are answered in each second, if that is limited.
    pub(crate) request_rate: Option<u32>,
    /// The number of connections that a client address may have, if that is limited.
    pub(crate) connections: Option<usize>,
    /// The rights that clients lack.
    pub(crate) lacking: BTreeSet<EmbeddedRight>,
    /// Whether session ids count up, blocking reads last as long as requested and
    /// tombstones stay, so that an exploration has fewer states.
    #[cfg(test)]
    pub(crate) is_steady: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            expiry: Expiry::default(),
            node: "embedded".into(),
            seed: 0,
            strict_names: false,
            newer: false,
            request_rate: None,
            connections: None,
            lacking: BTreeSet::new(),
            #[cfg(test)]
            is_steady: false,
        }
    }
}

/// The state that a raft snapshot contains.
#[derive(Clone, Debug, Default)]
struct Store {
    /// The index of the last write or deletion of any key.
    kv_index: u64,
    /// The index at which a tombstone was last set or reaped.
    tombstone_index: u64,
    /// The index at which a session was last created or ended.
    session_index: u64,
    pairs: BTreeMap<Vec<u8>, Pair>,
    tombstones: BTreeMap<Vec<u8>, u64>,
    sessions: BTreeMap<SessionId, Session>,
}

/// The lock-delay of one key.
#[derive(Clone, Copy, Debug)]
struct LockDelay {
    until: Moment,
    span: Duration,
}

/// A cluster of one Consul server, which always leads.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    settings: Settings,
    now: Moment,
    raft_index: u64,
    store: Store,
    /// The expiry of each session with a TTL. In Consul, only the leader's memory
    /// holds it.
    timers: BTreeSet<(Moment, SessionId)>,
    /// The lock-delays by key. In Consul, only the server's memory holds them.
    delays: BTreeMap<Vec<u8>, LockDelay>,
    /// When the tombstones up to an index are reaped, soonest first.
    reaps: VecDeque<(Moment, u64)>,
    serf_health_critical: bool,
    /// The state of the generator of ids and jitter.
    random: u64,
    /// Changes with every change that a blocking read can see.
    version: u64,
    /// Changes when the store is replaced or the server restarts.
    life: u64,
    /// The keys written or deleted since the last
    /// [`take_touched`](Engine::take_touched); `None` unless recording.
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
        engine.reset();
        engine
    }

    fn reset(&mut self) {
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

    /// Applies everything due by `now`: sessions expire, each at its own instant,
    /// and tombstones are reaped.
    pub(crate) fn advance(&mut self, now: Moment) {
        while let Some((due, id)) = self.timers.first() {
            if *due > now {
                break;
            }
            let (due, id) = (*due, id.clone());
            self.timers.pop_first();
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

    /// The server was stopped until `now`: what was due meanwhile happens now.
    pub(crate) fn resume(&mut self, now: Moment) {
        self.now = self.now.max(now);
        self.advance(now);
    }

    /// The next instant at which [`Engine::advance`] changes what a blocking
    /// read sees; `None` if nothing is scheduled.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        let expiry = self.timers.first().map(|(due, _)| *due);
        let reap = self.reaps.front().map(|(due, _)| *due);
        expiry.into_iter().chain(reap).min()
    }

    /// Changes with every change that a blocking read can see.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Changes when the store is replaced or the server restarts.
    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    /// Starts recording which keys are written or deleted. The caller must take
    /// them regularly, since the record grows without bound.
    pub(crate) fn record_touched(&mut self) {
        self.touched = Some(Vec::new());
    }

    /// Takes the keys written or deleted since the last call, including those of
    /// failed transactions.
    pub(crate) fn take_touched(&mut self) -> Vec<Vec<u8>> {
        self.touched.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn touch(&mut self, key: &[u8]) {
        self.version += 1;
        if let Some(touched) = &mut self.touched {
            touched.push(key.to_vec());
        }
    }

    /// The settings, for changes at run time. Running timers are not affected.
    pub(crate) fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Restarts the random sequence from `seed`.
    pub(crate) fn reseed(&mut self, seed: u64) {
        self.random = seed;
    }

    /// Whether the agent behaves as Consul 1.21 where that differs from 1.8.7.
    pub(crate) fn is_newer(&self) -> bool {
        self.settings.newer
    }

    pub(crate) fn request_rate(&self) -> Option<u32> {
        self.settings.request_rate
    }

    /// The number of connections that a client address may have, if that is limited.
    pub(crate) fn connections(&self) -> Option<usize> {
        self.settings.connections
    }

    /// Whether `/v1/kv/` refuses names as Consul 1.21.5 does.
    pub(crate) fn strict_names(&self) -> bool {
        self.settings.strict_names
    }

    /// The name of the only node.
    pub(crate) fn node(&self) -> &str {
        &self.settings.node
    }

    /// The next number of the engine's random sequence.
    pub(crate) fn draw(&mut self) -> u64 {
        #[cfg(test)]
        if self.settings.is_steady {
            return 0;
        }
        super::golang::splitmix(&mut self.random)
    }

    /// Allocates the index of a new raft entry; a refused write also takes one.
    fn next_index(&mut self) -> u64 {
        self.raft_index += 1;
        self.raft_index
    }

    fn schedule_reap(&mut self, index: u64) {
        #[cfg(test)]
        if self.settings.is_steady {
            return;
        }
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
