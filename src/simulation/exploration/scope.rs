//! What an exploration may choose from, and how often.

use std::time::Duration;

use super::super::plan::{Class, Plan};
use crate::{
    config::{Retention, Timing},
    consul::batches::TURNS,
    embedded::engine::Expiry,
};

/// How often each thing may happen in one history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Budget {
    /// Passing of routine time, up to the next moment that matters.
    pub(super) leaps: u8,
    /// Passing of time up to the next moment at which anything happens.
    pub(super) waits: u8,
    /// New callers in each process.
    pub(super) callers: u8,
    /// Callers that do not wait for another holder; they count as callers, too.
    pub(super) impatient: u8,
    /// Callers that leave the queue or give their lease back.
    pub(super) leaves: u8,
    /// Callers of all keys at once, in each process.
    pub(super) sets: u8,
    /// Writes under a lease.
    pub(super) writes: u8,
    /// Campaigns that begin or end.
    pub(super) stands: u8,
    /// Messages lost.
    pub(super) losses: u8,
    /// Messages that time overtakes.
    pub(super) delays: u8,
    /// Requests that arrive twice, the second time at any later moment.
    pub(super) repeats: u8,
    /// Requests that are never sent, which the sender knows.
    pub(super) unsent: u8,
    /// Processes cut off from Consul.
    pub(super) cuts: u8,
    /// Processes stopped and continued.
    pub(super) pauses: u8,
    /// Sessions ended by an operator.
    pub(super) ends: u8,
    /// Processes cut off from Consul at the moment at which their sessions are ended.
    pub(super) severs: u8,
    /// Locks taken away from their holders by an operator.
    pub(super) takes: u8,
    /// Parts of a process that die.
    pub(super) deaths: u8,
    /// Locks' actors that die while they handle what comes next.
    pub(super) fuses: u8,
    /// Runtimes shut down.
    pub(super) stops: u8,
    /// Stores replaced.
    pub(super) stores: u8,
    /// Rights withdrawn from a token.
    pub(super) denials: u8,
    /// Keys deleted, released by force or written over by an operator.
    pub(super) meddlings: u8,
    /// The fence entries of all sessions deleted by somebody.
    pub(super) sweeps: u8,
}

/// Where the histories begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// No process has a session.
    Cold,
    /// Every process has a session.
    Open,
    /// Process 0 holds the key, or a permit.
    Held,
    /// Process 0 holds the key, and the next one waits for it.
    Contended,
    /// As contended; the reply to a renewal of process 0 is late.
    Renewing,
    /// Every process campaigns for every key.
    Leading,
}

/// What is explored.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// The words that describe it.
    pub(super) text: String,
    pub(super) processes: usize,
    pub(super) keys: usize,
    /// By how many parts per thousand clocks may differ from the servers'. Every other
    /// process's clock is as slow, and the others' are as fast, as that allows.
    pub(super) drift: u8,
    /// The lock transactions of a process in flight.
    pub(super) turns: usize,
    /// The limit of a semaphore whose permits the callers want instead of the keys.
    pub(super) semaphore: Option<u32>,
    /// How many blocking reads the agent accepts.
    pub(super) connections: Option<usize>,
    /// Whether the snapshot of the store is far behind the store.
    pub(super) has_gap: bool,
    pub(super) start: Start,
    pub(super) budget: Budget,
    /// Whether messages arrive in the order in which they were sent, and timers fire when
    /// nothing is under way, unless a delay is spent. Else everything happens in every order.
    pub(super) is_prompt: bool,
    /// Whether messages within a process arrive in every order, not just the first.
    pub(super) is_inward: bool,
    pub(super) retention: Retention,
    pub(super) expiry: Expiry,
    pub(super) lock_delay: Duration,
    pub(super) has_hostile_names: bool,
}

impl Scope {
    /// Reads a scope such as `held delays=2 leaps=3`: words from the list below, in any
    /// order.
    pub(super) fn of(text: &str) -> Self {
        let mut scope = Self {
            text: text.into(),
            processes: 2,
            keys: 1,
            drift: 0,
            turns: TURNS,
            semaphore: None,
            connections: None,
            has_gap: false,
            start: Start::Open,
            budget: Budget::default(),
            is_prompt: true,
            is_inward: false,
            retention: Retention::Delete,
            expiry: Expiry::Ttl,
            lock_delay: Duration::from_secs(10),
            has_hostile_names: false,
        };
        for word in text.split_whitespace() {
            let (name, number) = word.split_once('=').unwrap_or((word, "1"));
            let number: u8 = number.parse().expect("a number behind the sign");
            let left = &mut scope.budget;
            match name {
                "cold" => scope.start = Start::Cold,
                "open" => scope.start = Start::Open,
                "held" => scope.start = Start::Held,
                "contended" => scope.start = Start::Contended,
                "renewing" => scope.start = Start::Renewing,
                "leading" => scope.start = Start::Leading,
                "any-order" => scope.is_prompt = false,
                "inward" => (scope.is_prompt, scope.is_inward) = (false, true),
                "keep" => scope.retention = Retention::Keep,
                "twice-ttl" => scope.expiry = Expiry::TwiceTtl,
                "lock-delay" => scope.lock_delay = Duration::from_secs(number.into()),
                "hostile-names" => scope.has_hostile_names = true,
                "processes" => scope.processes = number.into(),
                "keys" => scope.keys = number.into(),
                "drift" => scope.drift = number,
                "turns" => scope.turns = number.into(),
                "semaphore" => scope.semaphore = Some(number.into()),
                "connections" => scope.connections = Some(number.into()),
                "gap" => scope.has_gap = true,
                "leaps" => left.leaps = number,
                "waits" => left.waits = number,
                "callers" => left.callers = number,
                "impatient" => left.impatient = number,
                "leaves" => left.leaves = number,
                "sets" => left.sets = number,
                "writes" => left.writes = number,
                "stands" => left.stands = number,
                "losses" => left.losses = number,
                "delays" => left.delays = number,
                "repeats" => left.repeats = number,
                "unsent" => left.unsent = number,
                "cuts" => left.cuts = number,
                "pauses" => left.pauses = number,
                "ends" => left.ends = number,
                "severs" => left.severs = number,
                "takes" => left.takes = number,
                "deaths" => left.deaths = number,
                "fuses" => left.fuses = number,
                "stops" => left.stops = number,
                "stores" => left.stores = number,
                "denials" => left.denials = number,
                "meddlings" => left.meddlings = number,
                "sweeps" => left.sweeps = number,
                _ => panic!("{word:?} is no word of a scope"),
            }
        }
        scope
    }

    pub(super) fn plan(&self) -> Plan {
        let mut timing = Timing::default()
            .with_session_ttl(Duration::from_secs(10))
            .with_lock_delay(self.lock_delay);
        if self.drift > 0 {
            timing.clock_drift = f64::from(self.drift) / 1_000.0;
        }
        let most = i64::from(self.drift) * 1_000;
        let drifts = (0..self.processes).map(|id| if id % 2 == 0 { -most } else { most });
        Plan {
            seed: 1,
            class: Class::Chaos,
            processes: self.processes,
            keys: self.keys,
            hostile_names: self.has_hostile_names,
            timing,
            retention: self.retention,
            expiry: self.expiry,
            node_checks: false,
            drifts: drifts.collect(),
            fence_denied: vec![false; self.processes],
            chaos: Duration::ZERO,
            call_every: 1_000,
            longest_hold: 1,
            longest_wait: 1,
            fault_every: 1_000,
            loss: 0,
            duplicates: 0,
            late: 0,
            slow: 0,
            unsent: 0,
            stale: 0,
            gap: 0,
            ttl_stretch: 1,
            other_stores: self.budget.stores > 0,
            elections: self.budget.stands > 0 || self.start == Start::Leading,
            elect_every: 1_000,
            watches: 8,
            connections: self.connections,
            turns: self.turns,
            focus: None,
            sets: self.budget.sets > 0,
            semaphore: self.semaphore,
            is_specified: false,
            is_explored: true,
        }
    }
}
