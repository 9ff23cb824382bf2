//! One process: the machines, and what the world can see of them.
//!
//! It shares slots, callers and leases with the real actors. What it would send
//! and publish is put out in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;

use super::{
    caller::Caller,
    plan::Plan,
    question::{Fact, Question},
    world::START,
};
use crate::{
    clock::{Clock, Moment},
    config::{HASHICORP_LOCK_FLAGS, Retention, Timing},
    consul::{ask::DeleteFence, fact::SessionId},
    holding::{
        observer::Observer,
        slot::{Purpose, Slot, Slots},
        tenure::Tenure,
        term::Term,
    },
    key::Key,
    ownership::LossReason,
    protocol::{
        lock, queue,
        session::{self, Session, SessionView},
    },
    status::telemetry::Telemetry,
    token::FencingToken,
};

/// What leaves the process, in order.
pub(super) enum Out {
    Ask(Question),
    /// The process owns a key.
    Won {
        key: Key,
        index: u64,
        session: SessionId,
        token: Option<FencingToken>,
    },
    /// `LockAcquired` is published.
    Acquired {
        key: Key,
        token: FencingToken,
    },
    /// `LockLost` is published. `still_valid`: a lease of that token says so.
    Lost {
        key: Key,
        token: FencingToken,
        reason: LossReason,
        still_valid: bool,
    },
    /// `LockReleased` is published.
    Freed {
        key: Key,
        token: FencingToken,
    },
    /// `Elected` is published.
    Elected {
        key: Key,
        token: FencingToken,
    },
    /// `Deposed` is published. `still_valid`: the tenure says that it leads.
    Deposed {
        key: Key,
        token: FencingToken,
        reason: LossReason,
        still_valid: bool,
    },
    /// `LeaderChanged` is published.
    LeaderChanged {
        key: Key,
        leader: Option<String>,
    },
    Opened(SessionId),
    Closed(LossReason),
}

/// A blocking read under way, as the watch actor keeps it.
pub(super) struct Read {
    pub(super) number: u64,
    pub(super) after: u64,
    pub(super) watch: Watch,
}

pub(super) struct Watch {
    pub(super) slot: Arc<Slot>,
    pub(super) after: u64,
    pub(super) ticket: crate::protocol::Ticket,
}

/// How long an idle slot stays.
pub(super) const LINGER: Duration = Duration::from_millis(250);

pub(super) struct Process {
    pub(super) id: usize,
    /// How often it was started.
    pub(super) life: u64,
    /// By how much its clock runs fast, in millionths.
    drift: i64,
    nanos: &'static AtomicU64,
    pub(super) clock: Clock,
    pub(super) timing: Timing,
    pub(super) retention: Retention,
    pub(super) node_checks: Vec<String>,
    pub(super) session: Session,
    pub(super) view: Option<SessionView>,
    pub(super) suspect: Option<u64>,
    pub(super) slots: Slots,
    /// The slots that have an actor.
    pub(super) working: Vec<Arc<Slot>>,
    pub(super) idle: BTreeSet<Key>,
    pub(super) sweep_at: Option<Moment>,
    pub(super) reads: BTreeMap<Key, Read>,
    pub(super) numbers: u64,
    pub(super) callers: BTreeMap<u64, Caller>,
    /// Its campaigns that are not over.
    pub(super) tenures: BTreeMap<Key, Tenure>,
    pub(super) observers: BTreeMap<Key, Observer>,
    /// The terms that it took, to do its work in.
    pub(super) taken: BTreeMap<Key, Term>,
    pub(super) out: Vec<Out>,
}

impl Process {
    pub(super) fn new(
        id: usize,
        life: u64,
        plan: &Plan,
        nanos: &'static AtomicU64,
        now: Moment,
    ) -> Self {
        let clock = Clock::Simulated(nanos);
        let drift = plan.drifts[id];
        nanos.store(local(now, drift), Ordering::Relaxed);
        let number = u32::try_from(id as u64 + 16 * life + (plan.seed << 10 & 0xFFFF_FC00));
        let mut process = Self {
            id,
            life,
            drift,
            nanos,
            clock,
            timing: plan.timing.clone(),
            retention: plan.retention,
            node_checks: if plan.node_checks { vec!["serfHealth".into()] } else { Vec::new() },
            session: Session::new(plan.timing.clone(), 0),
            view: None,
            suspect: None,
            slots: Slots::new(
                clock,
                HASHICORP_LOCK_FLAGS,
                100,
                1000,
                number.unwrap_or(1),
                Telemetry::new("simulated", false),
            ),
            working: Vec::new(),
            idle: BTreeSet::new(),
            sweep_at: None,
            reads: BTreeMap::new(),
            numbers: 0,
            callers: BTreeMap::new(),
            tenures: BTreeMap::new(),
            observers: BTreeMap::new(),
            taken: BTreeMap::new(),
            out: Vec::new(),
        };
        process.feed_session(session::Event::Start);
        process
    }

    /// Sets the process's clock to the world's time.
    pub(super) fn set_time(&self, now: Moment) {
        self.nanos.store(local(now, self.drift), Ordering::Relaxed);
    }

    /// The world's time at which the process's clock shows `at`.
    fn world_time(&self, at: Moment) -> Moment {
        let since = i128::from(at.as_nanos()) - i128::from(START.as_nanos());
        let rate = i128::from(1_000_000 + self.drift);
        let elapsed = (since.max(0) * 1_000_000 + rate - 1) / rate;
        START + Duration::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX / 2))
    }

    /// How long the world takes while this process's clock counts `span`.
    pub(super) fn world_span(&self, span: Duration) -> Duration {
        span.mul_f64(1e6 / (1_000_000 + self.drift) as f64)
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.timing.request_timeout()
    }

    /// The session with which it locks.
    pub(super) fn live_session(&self) -> Option<&SessionId> {
        self.view.as_ref().map(|view| &view.id)
    }

    /// For how long what it owns is proven, by its own clock.
    pub(super) fn remaining(&self) -> Option<Duration> {
        self.view.as_ref().map(|view| view.cell.remaining(self.clock.now()))
    }

    /// Whether anybody here waits for the key, or has it.
    pub(super) fn wants(&self, key: &Key) -> bool {
        self.callers.values().any(|caller| caller.key == *key && caller.wants())
            || self.slots.get(key).is_some_and(|slot| slot.callers.campaigns())
    }

    /// The term that its tenure of the key shows and the one that it has taken, and
    /// whether each says that it lasts.
    pub(super) fn terms(&self, key: &Key) -> impl Iterator<Item = (FencingToken, bool)> {
        let shown = self.tenures.get(key).and_then(Tenure::would_lead);
        let taken = self.taken.get(key).map(|term| (term.token(), term.would_be_valid()));
        shown.into_iter().chain(taken)
    }

    /// Whether its machine for the key has something to do.
    pub(super) fn is_busy_with(&self, key: &Key) -> bool {
        self.slots.get(key).is_some_and(|slot| !slot.machine().is_quiet())
    }

    /// The keys for which something is still to be done.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .slots
            .all()
            .iter()
            .map(|slot| format!("{}: {:?}", slot.key, slot.machine()))
            .collect();
        keys.sort();
        keys
    }

    /// When a timer of its actors is due, in the world's time.
    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        let session = self.session.next_wakeup(self.clock.now());
        let locks = self.working.iter().filter_map(|slot| next_wakeup(slot));
        let next = locks.chain(session).chain(self.sweep_at).min()?;
        Some(self.world_time(next))
    }

    /// A timer is due.
    pub(super) fn tick(&mut self) {
        let now = self.clock.now();
        if self.session.next_wakeup(now).is_some_and(|at| at <= now) {
            self.feed_session(session::Event::Tick);
        }
        for slot in self.working.clone() {
            let due = next_wakeup(&slot);
            if due.is_some_and(|at| at <= now) {
                self.feed_lock(&slot, lock::Event::Tick);
                self.turn(&slot);
            }
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep();
        }
    }

    /// Whether a lock actor has something to read.
    pub(super) fn is_poked(&self) -> bool {
        self.working.iter().any(|slot| {
            let poked = slot.callers.poked().now_or_never().is_some();
            if poked {
                slot.callers.poke();
            }
            poked
        })
    }

    /// Lets the lock actors read what was reported to their slots.
    pub(super) fn work(&mut self) {
        loop {
            let poked: Vec<Arc<Slot>> = self
                .working
                .iter()
                .filter(|slot| slot.callers.poked().now_or_never().is_some())
                .cloned()
                .collect();
            if poked.is_empty() {
                return;
            }
            poked.iter().for_each(|slot| self.turn(slot));
        }
    }

    /// A caller takes its place in the queue.
    pub(super) fn enter(
        &mut self,
        key: &Key,
        patience: queue::Patience,
        value: Arc<[u8]>,
    ) -> Option<crate::holding::slot::Entered> {
        let entered = self.slots.enter(key, Purpose::Lock, patience, value).ok()?;
        if entered.is_new {
            self.open(&entered.slot);
        }
        Some(entered)
    }

    fn open(&mut self, slot: &Arc<Slot>) {
        if let Some(view) = &self.view {
            slot.report(lock::Event::Session(session::Notice::Opened(view.clone())));
        }
        self.working.push(slot.clone());
        self.turn(slot);
    }

    /// Campaigns for a key.
    pub(super) fn campaign(&mut self, key: &Key, value: Arc<[u8]>) {
        let Ok(opened) = self.slots.campaign(key, value) else { return };
        self.tenures.insert(key.clone(), opened.answer);
        if opened.is_new {
            self.open(&opened.slot);
        }
    }

    /// Stands down, for a while or for good.
    pub(super) fn resign(&mut self, key: &Key, cool_down: Option<Duration>) {
        let Some(tenure) = self.tenures.remove(key) else { return };
        // How it went is the same as for a lease that is released.
        drop(tenure.observer().callers().resign(tenure.number(), cool_down));
        if cool_down.is_some() {
            self.tenures.insert(key.clone(), tenure);
        }
    }

    /// Begins or ceases to observe a key; whether it began.
    pub(super) fn toggle_observation(&mut self, key: &Key) -> bool {
        if self.observers.remove(key).is_some() {
            return false;
        }
        let Ok(opened) = self.slots.observe(key) else { return false };
        self.observers.insert(key.clone(), opened.answer);
        if opened.is_new {
            self.open(&opened.slot);
        }
        true
    }

    /// The session that it sees lead the key, if it follows that.
    pub(super) fn sees(&self, key: &Key) -> Option<Option<String>> {
        let of_tenure = self.tenures.get(key).map(|tenure| tenure.leader());
        let leader = of_tenure.or_else(|| self.observers.get(key).map(Observer::leader))?;
        Some(leader.map(|leader| leader.session))
    }

    /// Ends all campaigns and observations.
    pub(super) fn end_campaigns(&mut self) {
        let keys: Vec<Key> = self.tenures.keys().cloned().collect();
        keys.iter().for_each(|key| self.resign(key, None));
        self.observers.clear();
    }

    /// An answer of Consul, or the end of waiting for one.
    pub(super) fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Session(event) => self.feed_session(event),
            Fact::DeleteFence(ticket, session) => {
                self.out
                    .push(Out::Ask(Question::DeleteFence { ticket, ask: DeleteFence { session } }));
            }
            Fact::Nothing => {}
            Fact::Lock(slot, event) => slot.report(event),
            Fact::Watched { slot, number, seen } => self.watched(&slot, number, seen),
        }
    }
}

/// When a lock actor's timer is due.
fn next_wakeup(slot: &Slot) -> Option<Moment> {
    slot.machine().next_wakeup().into_iter().chain(slot.callers.next_wakeup()).min()
}

/// What a clock that runs fast by `drift` millionths shows at the world's `now`.
fn local(now: Moment, drift: i64) -> u64 {
    let elapsed = i128::try_from(now.since(START).as_nanos()).unwrap_or(0);
    let local = elapsed * i128::from(1_000_000 + drift) / 1_000_000;
    START.as_nanos() + u64::try_from(local).unwrap_or(0)
}
