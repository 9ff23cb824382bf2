//! The world: processes, a network, a Consul and a clock, driven by one queue of
//! events.

use std::{collections::BTreeMap, rc::Rc, sync::atomic::AtomicU64, time::Duration};

use super::{
    elections::Elections,
    event::Event,
    invariants::Invariants,
    names,
    network::{Flight, Link},
    permits::Permits,
    plan::{Class, MOST_PROCESSES, Plan},
    process::{Out, Process},
    random::Random,
    record::Record,
    report::Stats,
    server::{Exchange, Server},
    takeovers::Takeovers,
    trace::Trace,
    writes::Writes,
};
use crate::{
    clock::Moment,
    consul::fact::{SessionId, Trouble},
    key::Key,
    ownership::LossReason,
};

/// The start of every history, away from the clocks' origin.
pub(super) const START: Moment = Moment::from_nanos(3_600_000_000_000);

/// The most events at one instant.
const MOST_AT_ONCE: u32 = 1_000;

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: Moment,
    pub(super) events: BTreeMap<(Moment, u64), Event>,
    events_made: u64,
    pub(super) random: Random,
    /// The numbers of callers that want several keys.
    pub(super) sets_random: Random,
    pub(super) permits: Option<Permits>,
    pub(super) trace: Trace,
    pub(super) record: Record,
    pub(super) server: Server,
    pub(super) links: Vec<Link>,
    pub(super) processes: Vec<Process>,
    clocks: Vec<&'static AtomicU64>,
    pub(super) paused: Vec<bool>,
    /// Since when each process has run without interruption.
    pub(super) runs_since: Vec<Moment>,
    inbox: Vec<Vec<Event>>,
    /// The end of the last fault that affected each process.
    pub(super) disturbed: Vec<Moment>,
    /// How late each process's actors read their mail.
    pub(super) lags: Vec<Duration>,
    armed: Vec<Option<Moment>>,
    pub(super) recheck_at: Option<Moment>,
    pub(super) waiting: BTreeMap<u64, Rc<Exchange>>,
    /// The messages under way, if an exploration carries them.
    pub(super) flights: Option<Vec<Flight>>,
    pub(super) exchanges: u64,
    pub(super) calls: u64,
    pub(super) keys: Vec<Key>,
    pub(super) invariants: Invariants,
    pub(super) elections: Elections,
    pub(super) writes: Writes,
    pub(super) takeovers: Takeovers,
    pub(super) stats: Stats,
    pub(super) violation: Option<String>,
    pub(super) healed_at: Option<Moment>,
    /// Whether a snapshot was restored, which can bring back sessions.
    pub(super) restored: bool,
    /// The locks that a snapshot has brought back, with their sessions and indexes.
    pub(super) risen: Vec<(Key, (SessionId, u64))>,
    /// The latest possible arrival of a delayed request.
    pub(super) last_arrival: Moment,
    /// When a caller last waited for a key or held one.
    pub(super) busy_until: Moment,
    pub(super) quiet_since: Option<Moment>,
    /// Each process's current second, and its requests in that second.
    pub(super) rates: Vec<(u64, u64)>,
}

thread_local! {
    static CLOCKS: Vec<&'static AtomicU64> =
        (0..MOST_PROCESSES).map(|_| &*Box::leak(Box::default())).collect();
}

impl World {
    pub(super) fn new(plan: Plan, readable: bool) -> Self {
        let mut random = Random::new(plan.seed);
        let clocks = CLOCKS.with(Clone::clone);
        let count = plan.processes;
        let server = Server::new(&plan);
        let processes =
            (0..count).map(|id| Process::new(id, 0, &plan, clocks[id], START)).collect();
        let lags = (0..count).map(|_| random.pick(&[0, 0, 1, 20])).map(Duration::from_millis);
        let keys = names::of(&plan);
        let mut world = Self {
            lags: lags.collect(),
            invariants: Invariants::new(&keys),
            keys,
            now: START,
            events: BTreeMap::new(),
            events_made: 0,
            random,
            sets_random: Random::new(plan.seed ^ 0x7365_7473),
            permits: Permits::of(&plan),
            trace: Trace::new(readable),
            record: Record::of(&plan),
            server,
            links: vec![Link::default(); count],
            processes,
            clocks,
            paused: vec![false; count],
            runs_since: vec![START; count],
            inbox: (0..count).map(|_| Vec::new()).collect(),
            disturbed: vec![START; count],
            armed: vec![None; count],
            recheck_at: None,
            waiting: BTreeMap::new(),
            flights: plan.is_explored.then(Vec::new),
            exchanges: 0,
            calls: 0,
            elections: Elections::default(),
            writes: Writes::new(&plan),
            takeovers: Takeovers::default(),
            stats: Stats::default(),
            violation: None,
            healed_at: None,
            restored: false,
            risen: Vec::new(),
            last_arrival: START,
            busy_until: START,
            quiet_since: None,
            rates: vec![(0, 0); count],
            plan,
        };
        world.trace.note(START, 0, || format!("{:?}", world.plan));
        for process in 0..count {
            world.live(process);
        }
        let first = world.random.millis(50..=world.plan.fault_every);
        world.after(first, Event::Fault);
        world.after(world.plan.chaos, Event::Heal);
        world
    }

    /// Starts the callers of a process.
    fn live(&mut self, process: usize) {
        self.settle(process);
        let life = self.processes[process].life;
        let first = self.random.skewed_millis(1..=2_000);
        self.after(first, Event::Call { process, life });
        if self.plan.elections {
            let first = self.random.skewed_millis(1..=self.plan.elect_every);
            self.after(first, Event::Stand { process, life });
        }
        if self.plan.sets {
            self.after(Duration::from_millis(100), Event::Muster { process, life });
        }
        if self.permits.is_some() {
            self.after(Duration::from_millis(100), Event::Enlist { process, life });
        }
    }

    pub(super) fn after(&mut self, pause: Duration, event: Event) {
        self.events_made += 1;
        self.events.insert((self.now + pause, self.events_made), event);
    }

    /// Whether chance decides. In an exploration, what happens next depends on the state alone.
    fn is_drawn(&self) -> bool {
        self.flights.is_none()
    }

    pub(super) fn is_healed(&self) -> bool {
        self.healed_at.is_some()
    }

    /// Runs the history to its end or its first violation.
    pub(super) fn run(mut self) -> Outcome {
        let mut at_once = 0;
        while self.violation.is_none()
            && let Some(((at, _), event)) = self.events.pop_first()
        {
            at_once = if at > self.now { 0 } else { at_once + 1 };
            if at_once > MOST_AT_ONCE {
                self.violate(|| format!("time stands still: {}", event.name()));
            }
            // A stopped process of an exploration gets the events that it missed late.
            self.now = self.now.max(at);
            self.step(event);
            self.check();
            if self.quiet_since.is_some() {
                break;
            }
        }
        self.stats.histories = 1;
        self.stats.lasted = self.now.since(START);
        let record = self.record;
        Outcome { violation: self.violation, trace: self.trace, record, stats: self.stats }
    }

    pub(super) fn step(&mut self, event: Event) {
        if let Some((process, life)) = event.process() {
            if self.processes[process].life != life {
                return;
            }
            if self.paused[process] {
                return self.inbox[process].push(event);
            }
            self.processes[process].set_time(self.now);
        }
        match event {
            Event::Arrive(exchange) => self.arrive(&exchange),
            Event::Answer(exchange, reply) => {
                if self.waiting.contains_key(&exchange.id) && exchange.question.outlives(&reply) {
                    exchange.void.set(true);
                }
                self.conclude(&exchange, Ok(&reply));
            }
            Event::Break(exchange, trouble) => self.conclude(&exchange, Err(trouble)),
            Event::Unsent(exchange) => {
                self.conclude(&exchange, Err(Trouble::Connect("refused".into())));
            }
            Event::Timeout(exchange) => {
                let limit = self.processes[exchange.process].request_timeout();
                // The connection may have measured that the path is longer than the limit.
                let is_far = self.is_drawn() && self.random.below(8) == 0;
                let trouble = match is_far {
                    true => Trouble::TooFar { limit, round_trip: limit * 2 },
                    false => Trouble::Timeout(limit),
                };
                self.conclude(&exchange, Err(trouble));
            }
            Event::Tick { process, .. } => {
                if self.armed[process].is_some_and(|at| at <= self.now) {
                    self.armed[process] = None;
                }
                self.processes[process].tick();
                self.settle(process);
            }
            Event::Work { process, .. } => {
                let most = self.random.skewed(1..=64);
                self.processes[process].work(most, &mut self.random);
                self.settle(process);
            }
            Event::Probe { process, read, part, .. } => self.probe(process, read, part),
            Event::Call { process, life } => self.call(process, life),
            Event::Stand { process, life } => self.stand(process, life),
            Event::Muster { process, life } => self.muster(process, life),
            Event::Enlist { process, life } => self.enlist(process, life),
            Event::Caller { process, caller, .. } => self.attend(process, caller),
            Event::Continue { process } => self.resume(process),
            Event::Restart { process, life } => self.restart(process, life),
            Event::Recheck => {
                self.recheck_at = None;
                self.wake_readers();
            }
            Event::Fault => self.strike(),
            Event::Operator(act) => self.operate(act),
            Event::ElectionEnds => {
                // Once all faults have ended, there is a leader already.
                if self.server.election.take().is_some() {
                    self.server.api.engine.elect(self.now);
                    self.trace.note(self.now, 1, || "a leader is elected".into());
                    self.wake_readers();
                }
            }
            Event::Heal => self.heal(),
            Event::Watchdog => self.look_for_the_end(),
        }
    }

    /// Lets a process work, and handles its output.
    pub(super) fn settle(&mut self, process: usize) {
        let lag = self.lags[process];
        loop {
            if lag.is_zero() && self.flights.is_none() {
                self.processes[process].work(u64::MAX, &mut self.random);
            }
            self.emit(process);
            let answered = self.look(process);
            if !(self.look_at_sets(process) || answered) {
                break;
            }
        }
        self.read_write_answers();
        if self.flights.is_some() {
            return;
        }
        if !lag.is_zero() {
            let life = self.processes[process].life;
            if self.processes[process].is_poked() {
                let pause = self.random.skewed_millis(0..=lag.as_millis() as u64);
                self.after(pause, Event::Work { process, life });
            }
        }
        self.arm(process);
    }

    fn arm(&mut self, process: usize) {
        let Some(at) = self.processes[process].next_wakeup() else { return };
        if self.armed[process].is_none_or(|armed| at < armed) {
            self.armed[process] = Some(at);
            let life = self.processes[process].life;
            // Timers fire late, never early.
            let late = Duration::from_micros(self.random.within(0..=1_500));
            self.after(at.since(self.now) + late, Event::Tick { process, life });
        }
    }

    /// Handles a process's output in order.
    fn emit(&mut self, process: usize) {
        let now = self.now;
        for out in std::mem::take(&mut self.processes[process].out) {
            match out {
                Out::Ask(question, part) => {
                    self.check_told_before(process, &question);
                    self.check_goes(process, &question);
                    self.ask(process, part, question);
                }
                Out::Probe(read, part) => {
                    let life = self.processes[process].life;
                    let pause = Duration::from_millis(1);
                    self.after(pause, Event::Probe { process, life, read, part });
                }
                Out::Acquired { key, token } => self.check_acquired(process, &key, token),
                Out::Won { key, index, session, cell, token } => {
                    self.trace.note(now, index, || {
                        format!("p{process}      owns {key} at {index}, {token:?}")
                    });
                    self.record_owned(process, index);
                    self.check_won(process, &key, index, (session, cell), token);
                }
                Out::Lost { key, token, reason, still_valid } => {
                    self.trace
                        .note(now, 2, || format!("p{process}      LOST {key} {token:?}: {reason}"));
                    self.record_lost(process, reason);
                    self.check_told(process, key, token, reason, still_valid);
                }
                Out::Freed { key, token } => {
                    self.check_ended(process, &key, token);
                    self.trace.note(now, 3, || format!("p{process}      released {key} {token:?}"));
                }
                Out::Elected { key, token } => {
                    self.trace.note(now, 8, || format!("p{process}      ELECTED {key} {token:?}"));
                    self.check_elected(process, &key, token);
                }
                Out::Deposed { key, token, reason, still_valid } => {
                    self.trace.note(now, 9, || {
                        format!("p{process}      DEPOSED {key} {token:?}: {reason}")
                    });
                    self.check_deposed(process, &key, token, reason, still_valid);
                }
                Out::LeaderChanged { key, leader } => {
                    self.trace
                        .note(now, 10, || format!("p{process}      sees {leader:?} lead {key}"));
                    self.note_leader(process, &key, leader.as_deref());
                }
                Out::Finished(end) => self.check_finished(process, end),
                Out::Opened(session) => {
                    self.trace.note(now, 4, || format!("p{process}      session {session} opened"));
                }
                Out::Closed(reason) => {
                    self.trace.note(now, 5, || format!("p{process}      session closed: {reason}"));
                    self.record_closed(process, reason);
                    let late = reason == LossReason::DeadlinePassed;
                    if late && self.plan.class == Class::Interruptions {
                        self.violate(|| format!("G5: p{process} lost its session: {reason}"));
                    }
                }
            }
        }
    }

    // Pauses and crashes.

    pub(super) fn resume(&mut self, process: usize) {
        if !std::mem::take(&mut self.paused[process]) {
            return;
        }
        self.trace.note(self.now, 6, || format!("p{process}      continues"));
        self.runs_since[process] = self.now;
        self.check();
        // Callers continue where they stopped: they check the lease, then use it.
        self.processes[process].set_time(self.now);
        for caller in self.processes[process].callers.values() {
            if let Some(lease) = caller.lease.as_ref().filter(|_| caller.conduct.heedful) {
                let _ = lease.is_valid();
            }
        }
        let mut inbox = std::mem::take(&mut self.inbox[process]);
        if self.is_drawn() && self.random.chance(500) {
            // Read an answer that has arrived before its timeout.
            inbox.sort_by_key(|event| matches!(event, Event::Timeout(_)));
        }
        for event in inbox {
            self.step(event);
            self.check();
        }
    }

    pub(super) fn crash(&mut self, process: usize) {
        let life = self.processes[process].life + 1;
        self.record_restart(process);
        self.paused[process] = false;
        self.inbox[process].clear();
        self.armed[process] = None;
        let clock = self.clocks[process];
        self.processes[process] = Process::new(process, life, &self.plan, clock, self.now);
        self.runs_since[process] = self.now;
        self.live(process);
    }
}

/// How a history ended.
pub(super) struct Outcome {
    pub(super) violation: Option<String>,
    pub(super) trace: Trace,
    pub(super) record: Record,
    pub(super) stats: Stats,
}
