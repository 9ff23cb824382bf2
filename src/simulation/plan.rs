//! The settings that a seed chooses for its history.

use std::time::Duration;

use super::{focus::Focus, random::Random};
use crate::{
    config::{Retention, Timing},
    consul::batches::TURNS,
    embedded::engine::Expiry,
};

/// The question that a history answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Does any guarantee break, whatever happens?
    Chaos,
    /// Do interruptions that end in time cause a loss?
    Interruptions,
}

/// The most processes of a history.
pub(super) const MOST_PROCESSES: usize = 12;

/// The settings of one history.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) class: Class,
    pub(super) processes: usize,
    pub(super) keys: usize,
    /// Whether key names are made from Consul's error texts.
    pub(super) hostile_names: bool,
    pub(super) timing: Timing,
    pub(super) retention: Retention,
    pub(super) expiry: Expiry,
    pub(super) node_checks: bool,
    /// How fast each process's clock runs, in parts per million.
    pub(super) drifts: Vec<i64>,
    /// The processes that may not access fence entries.
    pub(super) fence_denied: Vec<bool>,
    /// How long faults are injected.
    pub(super) chaos: Duration,
    /// The mean time between two calls in a process, in milliseconds.
    pub(super) call_every: u64,
    /// The longest time that a caller holds a lease, in milliseconds.
    pub(super) longest_hold: u64,
    /// The longest time that an impatient caller waits, in milliseconds.
    pub(super) longest_wait: u64,
    /// The mean time between two faults, in milliseconds.
    pub(super) fault_every: u64,
    /// Per thousand messages, like the next three.
    pub(super) loss: u64,
    pub(super) duplicates: u64,
    pub(super) late: u64,
    pub(super) slow: u64,
    /// Requests per thousand that are never sent: no connection, or a full queue.
    pub(super) unsent: u64,
    /// Blocking reads per thousand that a deposed leader answers with stale data.
    pub(super) stale: u64,
    /// The number of raft entries of one write elsewhere in the store.
    pub(super) gap: u64,
    /// The factor by which the servers extend the requested TTL: Consul may answer a
    /// higher TTL, but no lower one.
    pub(super) ttl_stretch: u32,
    /// Whether the store may be replaced by another.
    pub(super) other_stores: bool,
    /// Whether processes also campaign and observe.
    pub(super) elections: bool,
    /// The mean time between two such actions of a process, in milliseconds.
    pub(super) elect_every: u64,
    /// The connections of a process's watch.
    pub(super) watches: usize,
    /// The blocking reads that the agent accepts, from all processes together.
    pub(super) connections: Option<usize>,
    /// The lock transactions of a process in flight; further locks wait in line.
    pub(super) turns: usize,
    /// The only kind of fault, in some histories.
    pub(super) focus: Option<Focus>,
    /// Whether callers also want several keys at once.
    pub(super) sets: bool,
    /// The limit of a semaphore whose permits callers want, too.
    pub(super) semaphore: Option<u32>,
    /// Whether nothing happens that `spec/lock.qnt` leaves out.
    pub(super) is_specified: bool,
    /// Whether an exploration decides what happens next.
    pub(super) is_explored: bool,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut r = Random::new(seed ^ 0x706c_616e);
        let class = if r.chance(125) { Class::Interruptions } else { Class::Chaos };
        let processes = r.within(2..=4) as usize;
        let (ttl, delay) =
            r.pick(&[(15, 15), (15, 15), (10, 10), (10, 2), (10, 5), (15, 5), (20, 60), (10, 30)]);
        let mut timing = Timing::default()
            .with_session_ttl(Duration::from_secs(ttl))
            .with_lock_delay(Duration::from_secs(delay));
        timing.clock_drift = r.pick(&[0.01, 0.01, 0.05, 0.1]);
        timing.fast_failover = class == Class::Chaos && r.chance(100);
        let most = (timing.clock_drift * 1e6) as u64;
        let drifts = (0..processes)
            .map(|_| match r.below(4) {
                0 => -(most as i64),
                1 => most as i64,
                _ => r.within(0..=2 * most) as i64 - most as i64,
            })
            .collect();
        let denies = r.chance(120);
        let fence_denied = (0..processes).map(|_| denies && r.chance(500)).collect();
        let calm = class == Class::Interruptions || r.chance(150);
        let rough = !calm && r.chance(250);
        let mut plan = Self {
            seed,
            class,
            processes,
            keys: r.within(1..=2) as usize,
            hostile_names: false,
            timing,
            retention: r.pick(&[Retention::Delete, Retention::Keep]),
            expiry: r.pick(&[Expiry::Ttl, Expiry::Ttl, Expiry::TwiceTtl]),
            node_checks: r.chance(200),
            drifts,
            fence_denied,
            chaos: r.skewed_millis(15_000..=90_000),
            call_every: r.pick(&[150, 600, 2_500, 8_000]),
            longest_hold: r.pick(&[20, 1_000, 10_000, 60_000]),
            longest_wait: 30_000,
            fault_every: r.pick(&[1_500, 4_000, 10_000]),
            loss: if calm { 0 } else { r.within(0..=if rough { 250 } else { 30 }) },
            duplicates: if calm { 0 } else { r.within(0..=if rough { 100 } else { 30 }) },
            late: if calm { 0 } else { r.within(0..=if rough { 80 } else { 20 }) },
            slow: if calm { 0 } else { r.within(0..=if rough { 200 } else { 60 }) },
            unsent: 0,
            stale: 0,
            gap: 0,
            ttl_stretch: 1,
            other_stores: r.chance(150),
            elections: r.chance(350),
            elect_every: r.pick(&[500, 3_000, 12_000]),
            watches: r.pick(&[1, 2, 3, 8, 32]),
            connections: None,
            turns: TURNS,
            focus: None,
            sets: false,
            semaphore: None,
            is_specified: false,
            is_explored: false,
        };
        // Drawn from separate generators, so that all other histories stay unchanged.
        plan.hostile_names = Random::new(seed ^ 0x6e61_6d65).chance(100);
        let mut more = Random::new(seed ^ 0x6d6f_7265);
        if plan.class == Class::Chaos && more.chance(500) {
            plan.unsent = if calm { 0 } else { more.pick(&[0, 20, 150]) };
            plan.stale = more.pick(&[0, 0, 100]);
            plan.gap = more.pick(&[0, 1_000, 1 << 32]);
            plan.ttl_stretch = more.pick(&[1, 1, 2]);
        }
        let mut herds = Random::new(seed ^ 0x6865_7264);
        if plan.class == Class::Chaos && herds.chance(30) {
            plan.gather(herds.within(8..=MOST_PROCESSES as u64) as usize);
        }
        let mut lines = Random::new(seed ^ 0x6c69_6e65);
        if plan.class == Class::Chaos && plan.processes <= 4 && lines.chance(40) {
            plan.line_up(&mut lines);
        }
        let mut shares = Random::new(seed ^ 0x636f_6e6e);
        if plan.class == Class::Chaos && plan.processes <= 4 && shares.chance(40) {
            plan.share_agent(&mut shares);
        }
        if plan.class == Class::Chaos {
            plan.focus = Focus::of(seed);
        }
        if let Some(focus) = plan.focus {
            focus.arrange(&mut plan);
        }
        let mut sets = Random::new(seed ^ 0x0073_6574);
        // A history of one kind of fault, or of a long line of locks, has its own callers.
        let has_own = plan.focus.is_some() || plan.turns != TURNS;
        if plan.processes <= 4 && !has_own && sets.chance(150) {
            plan.sets = true;
            plan.keys = sets.within(2..=4) as usize;
        }
        let mut permits = Random::new(seed ^ 0x7365_6d61);
        if plan.processes <= 4 && !has_own && permits.chance(200) {
            plan.semaphore = Some(permits.within(1..=plan.processes as u64 - 1) as u32);
        }
        plan
    }

    /// A plan of which `spec/lock.qnt` knows everything: one key, clocks at one rate, and
    /// nobody who writes the key, a fence entry or the rights of a token.
    pub(super) fn specified(seed: u64) -> Self {
        let mut plan = Self { focus: None, ..Self::of(seed) };
        (plan.class, plan.is_specified) = (Class::Chaos, true);
        (plan.keys, plan.sets, plan.elections, plan.semaphore) = (1, false, false, None);
        (plan.other_stores, plan.ttl_stretch, plan.stale) = (false, 1, 0);
        plan.processes = plan.processes.min(3);
        plan.drifts = vec![0; plan.processes];
        plan.fence_denied = vec![false; plan.processes];
        plan.timing.fast_failover = false;
        plan.chaos = plan.chaos.min(Duration::from_secs(20));
        plan
    }

    /// Turns it into a history of an agent that accepts few connections, for many keys.
    fn share_agent(&mut self, r: &mut Random) {
        let processes = self.processes as u64;
        self.connections = Some(r.within(processes..=2 * processes) as usize);
        (self.keys, self.watches) = (r.within(4..=8) as usize, r.pick(&[8, 32]));
    }

    /// Turns it into a history of locks that wait in line and share transactions.
    fn line_up(&mut self, r: &mut Random) {
        (self.keys, self.turns) = (r.within(4..=8) as usize, 1);
        (self.call_every, self.longest_hold) = (150, r.pick(&[20, 1_000]));
        // While one is slow, the others gather.
        self.slow = self.slow.max(150);
    }

    /// Turns it into a history of many processes that repeatedly want one key, each
    /// briefly.
    fn gather(&mut self, processes: usize) {
        let few = self.processes;
        self.drifts = (0..processes).map(|n| self.drifts[n % few]).collect();
        self.fence_denied = (0..processes).map(|n| self.fence_denied[n % few]).collect();
        (self.processes, self.keys) = (processes, 1);
        (self.call_every, self.longest_hold) = (150, 20);
    }
}
