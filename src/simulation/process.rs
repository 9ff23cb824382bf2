//! One process: its machines, and what the world sees of them.
//!
//! Slots, callers and leases are those of the real actors. Requests and published
//! messages are output in order.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    caller::Caller,
    client::Client,
    parts::{Mailboxes, Part, Worker},
    plan::Plan,
    question::{Fact, Question},
    sets::Troop,
    world::START,
};
use crate::{
    clock::{Clock, Moment},
    config::{HASHICORP_LOCK_FLAGS, Timing},
    consul::fact::SessionId,
    holding::{
        observer::Observer,
        slot::Slot,
        slots::{Entered, Purpose, SlotSettings, Slots},
        tenure::Tenure,
        term::Term,
        turn::Style,
        wards::Wards,
        watchers::Watchers,
    },
    key::Key,
    ownership::LossReason,
    protocol::{
        Ticket,
        cell::DeadlineCell,
        queue,
        session::{Session, SessionView},
        warden::{self, End},
    },
    status::telemetry::Telemetry,
    token::{Era, FencingToken},
};

/// An output of the process.
pub(super) enum Out {
    Ask(Question, Part),
    /// A probe whether the agent accepts another connection.
    Probe(Ticket, Part),
    /// The process has won a key.
    Won {
        key: Key,
        index: u64,
        session: SessionId,
        cell: Arc<DeadlineCell>,
        token: Option<FencingToken>,
    },
    /// `LockAcquired` is published.
    Acquired {
        key: Key,
        token: FencingToken,
    },
    /// `LockLost` is published. `still_valid` if a lease with that token is still
    /// valid.
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
    /// `Deposed` is published. `still_valid` if the term still counts as valid.
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
    /// The runtime has ended.
    Finished(End),
}

pub(super) struct Process {
    pub(super) id: usize,
    /// How often the process was restarted.
    pub(super) life: u64,
    /// How fast its clock runs, in parts per million.
    drift: i64,
    nanos: &'static AtomicU64,
    pub(super) clock: Clock,
    pub(super) timing: Timing,
    pub(super) node_checks: Vec<String>,
    pub(super) style: Style,
    /// The connections of its watch.
    pub(super) watches: usize,
    pub(super) wards: Wards,
    /// The session machine, unless its actor died.
    pub(super) session: Option<Session>,
    pub(super) session_number: u64,
    pub(super) watchers: Option<Watchers>,
    pub(super) watch_number: u64,
    pub(super) workers: BTreeMap<u64, Worker>,
    /// The worker of each key, as known to the supervisor.
    pub(super) locks: BTreeMap<Key, u64>,
    pub(super) mail: Mailboxes,
    pub(super) client: Client,
    /// The key's worker dies in its next turn, after this many fuse points.
    pub(super) fuse: Option<(Key, u32)>,
    /// The runtime has ended.
    pub(super) is_over: bool,
    /// The sessions that it opened, and whether each was closed since.
    pub(super) sessions: BTreeMap<SessionId, bool>,
    pub(super) callers: BTreeMap<u64, Caller>,
    /// The callers that wait for several keys.
    pub(super) troops: BTreeMap<u64, Troop>,
    /// Its open campaigns.
    pub(super) tenures: BTreeMap<Key, Tenure>,
    pub(super) observers: BTreeMap<Key, Observer>,
    /// The terms that it works in.
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
            node_checks: if plan.node_checks { vec!["serfHealth".into()] } else { Vec::new() },
            style: Style {
                service: format!("p{id}"),
                flags: HASHICORP_LOCK_FLAGS,
                retention: plan.retention,
            },
            watches: plan.watches,
            wards: Wards::new(Arc::new(Slots::new(SlotSettings {
                clock,
                flags: HASHICORP_LOCK_FLAGS,
                era: Era::default(),
                most_keys: 100,
                most_waiters: 1000,
                process: number.unwrap_or(1),
                telemetry: Telemetry::new("simulated", false),
            }))),
            session: None,
            session_number: 0,
            watchers: None,
            watch_number: 0,
            workers: BTreeMap::new(),
            locks: BTreeMap::new(),
            mail: BTreeMap::new(),
            client: Client::new(plan.turns),
            fuse: None,
            is_over: false,
            sessions: BTreeMap::new(),
            callers: BTreeMap::new(),
            troops: BTreeMap::new(),
            tenures: BTreeMap::new(),
            observers: BTreeMap::new(),
            taken: BTreeMap::new(),
            out: Vec::new(),
        };
        process.feed_warden(warden::Event::Start);
        process
    }

    /// Sets the process's clock to world time `now`.
    pub(super) fn set_time(&self, now: Moment) {
        self.nanos.store(local(now, self.drift), Ordering::Relaxed);
    }

    /// The world time at which the process's clock shows `at`.
    pub(super) fn world_time(&self, at: Moment) -> Moment {
        let since = i128::from(at.as_nanos()) - i128::from(START.as_nanos());
        let rate = i128::from(1_000_000 + self.drift);
        let elapsed = (since.max(0) * 1_000_000 + rate - 1) / rate;
        START + Duration::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX / 2))
    }

    /// The world's duration while the process's clock counts `span`.
    pub(super) fn world_span(&self, span: Duration) -> Duration {
        span.mul_f64(1e6 / (1_000_000 + self.drift) as f64)
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.timing.request_timeout()
    }

    /// The open session.
    pub(super) fn live_session(&self) -> Option<&SessionId> {
        self.wards.view().map(|view| &view.id)
    }

    pub(super) fn session_view(&self) -> Option<&SessionView> {
        self.wards.view()
    }

    /// How long its ownerships stay proven, by its own clock.
    pub(super) fn remaining(&self) -> Option<Duration> {
        self.wards.view().map(|view| view.cell.remaining(self.clock.now()))
    }

    /// Whether it refuses new callers.
    pub(super) fn is_ending(&self) -> bool {
        self.wards.slots().is_stopped()
    }

    /// Whether anybody here waits for the key alone or holds it. A waiting set keeps none of
    /// its keys.
    pub(super) fn wants(&self, key: &Key) -> bool {
        self.callers.values().any(|caller| caller.key == *key && caller.wants())
            || self.wards.slots().get(key).is_some_and(|slot| slot.callers.campaigns())
    }

    /// The term that its tenure shows and the term that it works in, and whether each
    /// is still valid.
    pub(super) fn terms(&self, key: &Key) -> impl Iterator<Item = (FencingToken, bool)> {
        let shown = self.tenures.get(key).and_then(Tenure::would_lead);
        let taken = self.taken.get(key).map(|term| (term.token(), term.would_be_valid()));
        shown.into_iter().chain(taken)
    }

    /// Whether its lock machine for the key is busy.
    pub(super) fn is_busy_with(&self, key: &Key) -> bool {
        self.wards.slots().get(key).is_some_and(|slot| !slot.machine().is_quiet())
    }

    /// Whether its machine for the semaphore has a permit, or would find one.
    pub(super) fn may_have_permit(&self, key: &Key) -> bool {
        self.wards.slots().get(key).is_some_and(|slot| !slot.machine().may_stop())
    }

    /// The keys whose slots remain.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .wards
            .slots()
            .all()
            .iter()
            .map(|slot| format!("{}: {:?}", slot.key, slot.machine()))
            .collect();
        keys.sort();
        keys
    }

    /// Adds a caller to the key's queue.
    pub(super) fn enter(
        &mut self,
        key: &Key,
        patience: queue::Patience,
        value: Arc<[u8]>,
    ) -> Option<Entered> {
        let entered = self.wards.slots().enter(key, Purpose::Lock, patience, value).ok()?;
        if entered.is_new {
            self.opened(&entered.slot);
        }
        Some(entered)
    }

    pub(super) fn opened(&mut self, slot: &Slot) {
        self.feed_warden(warden::Event::SlotMade(slot.key.clone()));
    }

    /// Campaigns for a key.
    pub(super) fn campaign(&mut self, key: &Key, value: Arc<[u8]>) {
        let Ok(opened) = self.wards.slots().campaign(key, value) else { return };
        self.tenures.insert(key.clone(), opened.answer);
        if opened.is_new {
            self.opened(&opened.slot);
        }
    }

    /// Resigns, for a while or for good.
    pub(super) fn resign(&mut self, key: &Key, cool_down: Option<Duration>) {
        let Some(tenure) = self.tenures.remove(key) else { return };
        // The confirmation is the same as for a released lease.
        drop(tenure.observer().callers().resign(tenure.number(), cool_down));
        if cool_down.is_some() {
            self.tenures.insert(key.clone(), tenure);
        }
    }

    /// Starts or stops observing a key. Returns whether it started.
    pub(super) fn toggle_observation(&mut self, key: &Key) -> bool {
        if self.observers.remove(key).is_some() {
            return false;
        }
        let Ok(opened) = self.wards.slots().observe(key) else { return false };
        self.observers.insert(key.clone(), opened.answer);
        if opened.is_new {
            self.opened(&opened.slot);
        }
        true
    }

    /// The leader's session as it sees it, if it follows the key.
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

    /// Delivers Consul's answer, or a timeout, to a part.
    pub(super) fn learn(&mut self, part: Part, fact: Fact) {
        if self.is_over {
            return;
        }
        match (part, fact) {
            (Part::Session(number), Fact::Session(event)) => self.feed_session(number, event),
            (Part::Watch(number), Fact::Watch(event)) => {
                self.watch(number, |watchers, now| watchers.handle(now, event));
            }
            // Delivered to the slot, whichever actor drives it now.
            (_, Fact::Slot(slot, event)) => slot.report(event),
            (_, Fact::Locked { batch, answers }) => self.locked(batch, answers),
            (_, Fact::Locks(events)) => {
                events.into_iter().for_each(|(slot, event)| slot.report(event));
            }
            _ => {}
        }
    }
}

/// What a clock shows at world time `now` if it runs fast by `drift` parts per
/// million.
fn local(now: Moment, drift: i64) -> u64 {
    let elapsed = i128::try_from(now.since(START).as_nanos()).unwrap_or(0);
    let local = elapsed * i128::from(1_000_000 + drift) / 1_000_000;
    START.as_nanos() + u64::try_from(local).unwrap_or(0)
}
