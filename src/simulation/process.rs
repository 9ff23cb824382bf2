//! One process: the machines, and what the actors do with their effects.
//!
//! It mirrors the shells in `src/actors/` and shares their slots, callers and
//! leases. What it would send and publish is put out in order.

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
    actors::slot::{Slot, Slots},
    callers::News,
    clock::{Clock, Moment},
    config::{HASHICORP_LOCK_FLAGS, Retention, Timing},
    consul::{
        fact::{Seen, SessionId},
        request::{Lock, NewSession, Release, ReleaseHow},
    },
    key::Key,
    observer::Observer,
    ownership::{Holder, LossReason},
    protocol::{
        lock, queue,
        session::{self, Session, SessionView},
    },
    telemetry::Telemetry,
    tenure::{Tenure, Term},
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
struct Read {
    number: u64,
    after: u64,
    watch: Watch,
}

struct Watch {
    slot: Arc<Slot>,
    after: u64,
    ticket: crate::protocol::Ticket,
}

/// How long an idle slot stays.
const LINGER: Duration = Duration::from_millis(250);

pub(super) struct Process {
    pub(super) id: usize,
    /// How often it was started.
    pub(super) life: u64,
    /// By how much its clock runs fast, in millionths.
    drift: i64,
    nanos: &'static AtomicU64,
    clock: Clock,
    timing: Timing,
    retention: Retention,
    node_checks: Vec<String>,
    session: Session,
    view: Option<SessionView>,
    suspect: Option<u64>,
    slots: Slots,
    /// The slots that have an actor.
    working: Vec<Arc<Slot>>,
    idle: BTreeSet<Key>,
    sweep_at: Option<Moment>,
    reads: BTreeMap<Key, Read>,
    numbers: u64,
    pub(super) callers: BTreeMap<u64, Caller>,
    /// Its campaigns that are not over.
    pub(super) tenures: BTreeMap<Key, Tenure>,
    pub(super) observers: BTreeMap<Key, Observer>,
    /// The terms that it took, to do its work in.
    taken: BTreeMap<Key, Term>,
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
            timing: plan.timing,
            retention: plan.retention,
            node_checks: if plan.node_checks { vec!["serfHealth".into()] } else { Vec::new() },
            session: Session::new(plan.timing, 0),
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
    ) -> Option<crate::actors::slot::Entered> {
        let entered = self.slots.enter(key, patience, value).ok()?;
        if entered.is_new {
            self.open(&entered.slot);
        }
        Some(entered)
    }

    fn open(&mut self, slot: &Arc<Slot>) {
        if let Some(view) = &self.view {
            slot.report(lock::Event::Opened(view.clone()));
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
        let of_tenure = self.tenures.get(key).map(Tenure::leader);
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
                self.out.push(Out::Ask(Question::DeleteFence { ticket, session }));
            }
            Fact::Lock(slot, event) => slot.report(event),
            Fact::Watched { slot, number, seen } => self.watched(&slot, number, seen),
        }
    }

    // The session actor and, for its news, the supervisor.

    fn feed_session(&mut self, event: session::Event) {
        let mut effects = Vec::new();
        self.session.handle(self.clock.now(), event, &mut effects);
        for effect in effects {
            self.perform_session(effect);
        }
    }

    fn perform_session(&mut self, effect: session::Effect) {
        use session::Effect;
        let question = match effect {
            Effect::Create { ticket } => {
                let new = NewSession {
                    name: format!("p{}", self.id),
                    ttl: self.timing.session_ttl,
                    lock_delay: self.timing.lock_delay,
                    node_checks: self.node_checks.clone(),
                };
                Question::Create { ticket, new }
            }
            Effect::Renew { ticket, session } => Question::Renew { ticket, session },
            Effect::Destroy { ticket, session, raised } => {
                Question::Destroy { ticket, session, raised }
            }
            Effect::Raise { ticket, session, from } => Question::Raise { ticket, session, from },
            Effect::ReadFence { ticket, session } => Question::ReadFence { ticket, session },
            Effect::Opened(view) => {
                self.out.push(Out::Opened(view.id.clone()));
                self.view = Some(view.clone());
                return self.tell_all(|| lock::Event::Opened(view.clone()));
            }
            Effect::Fenced { generation, fence } => {
                if let Some(view) = self.view.as_mut().filter(|v| v.generation == generation) {
                    view.fence = fence;
                }
                return self.tell_all(|| lock::Event::Fenced { generation, fence });
            }
            Effect::Closed { generation, reason } => return self.close(generation, reason),
            Effect::Troubled(error) => {
                if self.view.is_none() {
                    self.tell_all(|| lock::Event::Troubled(error.clone()));
                }
                return;
            }
            Effect::Recovered | Effect::Stopped => return,
        };
        self.out.push(Out::Ask(question));
    }

    fn close(&mut self, generation: u64, reason: LossReason) {
        self.out.push(Out::Closed(reason));
        self.view = None;
        for slot in self.all_slots() {
            slot.callers.lost(reason);
            self.tell(&slot);
            slot.report(lock::Event::Closed { generation, reason });
        }
        self.feed_session(session::Event::Told { generation });
    }

    fn tell_all(&self, fact: impl Fn() -> lock::Event) {
        self.all_slots().iter().for_each(|slot| slot.report(fact()));
    }

    /// In an order that repeats.
    fn all_slots(&self) -> Vec<Arc<Slot>> {
        let mut slots = self.slots.all();
        slots.sort_by(|a, b| a.key.cmp(&b.key));
        slots
    }

    fn tell(&mut self, slot: &Arc<Slot>) -> queue::Demand {
        let mut told = Vec::new();
        let demand = slot.callers.tell(|news| told.push(news));
        for news in told {
            self.publish(slot.key.clone(), news);
        }
        demand
    }

    fn publish(&mut self, key: Key, news: News) {
        self.out.push(match news {
            // As `Out::Won`.
            News::Acquired { .. } => return,
            News::Lost { token, reason } => {
                let still_valid = self
                    .callers
                    .values()
                    .filter(|caller| caller.key == key)
                    .filter_map(|caller| caller.lease.as_ref())
                    .any(|lease| lease.token() == token && lease.would_be_valid());
                Out::Lost { key, token, reason, still_valid }
            }
            News::Released { token } => Out::Freed { key, token },
            News::Elected { token } => {
                if let Some(term) = self.tenures.get(&key).and_then(Tenure::term) {
                    self.taken.insert(key.clone(), term);
                }
                Out::Elected { key, token }
            }
            News::Deposed { token, reason } => {
                let still_valid = self.terms(&key).any(|(of, valid)| valid && of == token);
                Out::Deposed { key, token, reason, still_valid }
            }
            News::LeaderChanged { leader } => {
                Out::LeaderChanged { key, leader: leader.map(|leader| leader.session) }
            }
        });
    }

    fn sweep(&mut self) {
        self.sweep_at = None;
        for key in std::mem::take(&mut self.idle) {
            if self.slots.reap(&key) {
                self.working.retain(|slot| slot.key != key);
            }
        }
        let Some(generation) = self.suspect else { return };
        if self.view.as_ref().is_none_or(|view| view.generation != generation) {
            self.suspect = None;
        } else if self.all_slots().iter().any(|slot| slot.machine().owns()) {
            self.sweep_later();
        } else {
            self.suspect = None;
            let reason = LossReason::SessionGone;
            self.feed_session(session::Event::Distrust { generation, reason });
        }
    }

    fn sweep_later(&mut self) {
        self.sweep_at.get_or_insert(self.clock.now() + LINGER);
    }

    // The lock actor.

    fn turn(&mut self, slot: &Arc<Slot>) {
        while let Some(fact) = slot.next_fact() {
            self.feed_lock(slot, fact);
        }
        let demand = self.tell(slot);
        self.feed_lock(slot, lock::Event::Demand(demand));
        if slot.is_idle() {
            self.idle.insert(slot.key.clone());
            self.sweep_later();
        }
    }

    fn feed_lock(&mut self, slot: &Arc<Slot>, event: lock::Event) {
        let mut effects = Vec::new();
        slot.machine().handle(self.clock.now(), event, &mut effects);
        for effect in effects {
            self.perform_lock(slot.clone(), effect);
        }
    }

    fn perform_lock(&mut self, slot: Arc<Slot>, effect: lock::Effect) {
        use lock::Effect;
        let key = slot.key.clone();
        let question = match effect {
            Effect::Lock { ticket, session, fence, expect } => {
                let value = slot.value().to_vec();
                let ask = Lock { key, session, value, flags: HASHICORP_LOCK_FLAGS, fence, expect };
                Question::Lock { slot, ticket, ask }
            }
            Effect::Release { ticket, session, index, found } => {
                let how = match self.retention {
                    Retention::Delete => ReleaseHow::Delete,
                    Retention::Keep => ReleaseHow::Keep {
                        value: found.unwrap_or_else(|| slot.written().to_vec()),
                        flags: HASHICORP_LOCK_FLAGS,
                    },
                };
                Question::Release { slot, ticket, ask: Release { key, session, index, how } }
            }
            Effect::Read { ticket } => Question::Read { slot, ticket },
            Effect::AskSession { ticket, session } => {
                Question::AskSession { slot, ticket, session }
            }
            Effect::Watch { ticket, after } => {
                return self.watch(Watch { slot, after, ticket });
            }
            Effect::RaiseFence { generation, seen } => {
                return self.feed_session(session::Event::RaiseFence { generation, seen });
            }
            Effect::Distrust { generation, reason } => {
                return self.feed_session(session::Event::Distrust { generation, reason });
            }
            Effect::Suspect { generation } => {
                self.suspect = Some(generation);
                return self.sweep_later();
            }
            Effect::Own { index, session, cell } => {
                let holder = Box::new(Holder {
                    session: session.to_string(),
                    session_name: None,
                    node: None,
                    value: slot.written().to_vec(),
                    since: index,
                });
                let token = slot.callers.owned(index, cell, holder);
                self.out.push(Out::Won { key, index, session, token });
                self.tell(&slot);
                return;
            }
            Effect::Revoke => return slot.callers.revoke(),
            Effect::Lost { reason } => {
                slot.callers.lost(reason);
                self.tell(&slot);
                return;
            }
            Effect::Released => {
                slot.callers.released();
                self.tell(&slot);
                return;
            }
            Effect::Free => return slot.callers.free(),
            Effect::Obstructed(obstacle) => return slot.callers.obstructed(obstacle),
            Effect::Failed(error) => return slot.callers.failed(error),
        };
        self.out.push(Out::Ask(question));
    }

    // The watch actor, as a read of its own for each key; which reads carry many
    // keys is simulated beside that machine.

    fn watch(&mut self, watch: Watch) {
        let fits = |read: &&mut Read| watch.after >= read.after;
        if let Some(read) = self.reads.get_mut(&watch.slot.key).filter(fits) {
            read.watch = watch;
            return;
        }
        self.read(watch);
    }

    fn read(&mut self, watch: Watch) {
        self.numbers += 1;
        let (number, after, slot) = (self.numbers, watch.after, watch.slot.clone());
        self.reads.insert(slot.key.clone(), Read { number, after, watch });
        self.out.push(Out::Ask(Question::Watch { slot, number, after }));
    }

    fn watched(&mut self, slot: &Arc<Slot>, number: u64, seen: Seen) {
        if self.reads.get(&slot.key).is_none_or(|read| read.number != number) {
            return;
        }
        let Some(Read { after, watch, .. }) = self.reads.remove(&slot.key) else { return };
        let has_news = match &seen {
            Seen::Found { index, .. } | Seen::Missing { index } => {
                *index > watch.after || *index < after
            }
            Seen::Denied(_) | Seen::Unknown(_) => true,
        };
        if has_news || watch.after == after {
            watch.slot.report(lock::Event::Watched { ticket: watch.ticket, answer: seen });
        } else {
            self.read(watch);
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
