//! Histories with one kind of fault, arranged so that a certain rule is needed. Faults at
//! random show the violation of these rules too rarely.

use std::{rc::Rc, time::Duration};

use super::{
    event::Event, operator::Act, plan::Plan, question::Question, random::Random, server::Exchange,
    world::World,
};
use crate::holding::keeping::SessionQuestion;
use crate::{config::Timing, consul::fact::Trouble, embedded::engine::IndexAfterRestore};

/// The kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Focus {
    /// A session is destroyed while the answer to its last renewal is on its way.
    SlowRenewals,
    /// Answers to locks arrive after their sessions have ended.
    LateAnswers,
    /// Replies to locks are lost, and locks cannot be sent; the reads that follow are
    /// denied.
    LostLocks,
    /// A lock's actor dies while it learns that its session's fence cannot be raised.
    DeadActors,
    /// The store returns to a snapshot, far behind the indexes of the last locks.
    Rewinds,
    /// An operator takes the lock away from a holder that is cut off or stopped, or is not.
    Takeovers,
}

/// One raft entry per write elsewhere, many of them.
const LARGE_GAP: u64 = 1 << 32;

impl Focus {
    const ALL: [Self; 5] =
        [Self::SlowRenewals, Self::LateAnswers, Self::LostLocks, Self::DeadActors, Self::Rewinds];

    /// The focus of a few seeds' histories.
    pub(super) fn of(seed: u64) -> Option<Self> {
        let mut r = Random::new(seed ^ 0x666f_6375);
        let first = r.chance(40).then(|| r.pick(&Self::ALL));
        // From a generator of its own, so that the other histories stay as they were.
        first.or_else(|| Random::new(seed ^ 0x7461_6b65).chance(8).then_some(Self::Takeovers))
    }

    /// Turns the plan into one with this kind of fault alone.
    pub(super) fn arrange(self, plan: &mut Plan) {
        (plan.loss, plan.duplicates, plan.late, plan.slow) = (0, 0, 0, 0);
        (plan.unsent, plan.stale, plan.gap, plan.ttl_stretch) = (0, 0, 0, 1);
        (plan.other_stores, plan.elections, plan.node_checks) = (false, false, false);
        (plan.keys, plan.chaos) = (1, Duration::from_secs(90));
        plan.fence_denied.fill(false);
        plan.timing.fast_failover = false;
        match self {
            Self::SlowRenewals => {
                let (fifteen, most) = (Duration::from_secs(15), plan.timing.clock_drift * 1e6);
                plan.timing = Timing { clock_drift: plan.timing.clock_drift, ..Timing::default() }
                    .with_session_ttl(fifteen)
                    .with_lock_delay(fifteen);
                // With slow clocks, leases reach as far as they may.
                plan.drifts.fill(-(most as i64));
                (plan.call_every, plan.longest_hold, plan.fault_every) = (600, 60_000, 4_000);
            }
            Self::LateAnswers => {
                (plan.call_every, plan.longest_hold, plan.fault_every) = (150, 20, 3_000);
            }
            Self::LostLocks | Self::DeadActors => {
                (plan.call_every, plan.longest_hold, plan.fault_every) = (8_000, 20, 4_000);
                plan.longest_wait = 3_000;
            }
            Self::Rewinds => {
                (plan.call_every, plan.longest_hold, plan.fault_every) = (2_500, 20, 4_000);
                (plan.other_stores, plan.gap) = (true, LARGE_GAP);
            }
            Self::Takeovers => {
                (plan.call_every, plan.longest_hold, plan.fault_every) = (600, 60_000, 10_000);
            }
        }
    }
}

impl World {
    /// Injects the fault of a history with this focus.
    pub(super) fn strike_at(&mut self, focus: Focus, process: usize) {
        let key = self.keys[0].clone();
        match focus {
            Focus::SlowRenewals => {
                // The next renewal is answered late, and then the session is destroyed.
                let is_cut = self.links.iter().any(|link| link.requests_cut > self.now);
                if let Some(holder) = self.holding(&key).filter(|_| !is_cut) {
                    self.links[holder].replies_slow = self.now + Duration::from_secs(4);
                    self.disturb(holder, Duration::from_secs(6));
                }
            }
            Focus::LateAnswers => self.operate(Act::Destroy(key, process)),
            Focus::Takeovers => self.strike_before_a_takeover(&key),
            Focus::LostLocks => {
                self.stats.fault("reads denied after lost locks");
                let lasts = self.random.millis(100..=5_000);
                self.server.lacking[process].reads = self.now + lasts;
                self.disturb(process, lasts);
            }
            Focus::DeadActors => {
                self.stats.fault("fences denied after lost locks");
                let lasts = self.random.millis(100..=5_000);
                self.server.lacking[process].fences = self.now + lasts;
                self.disturb(process, lasts);
            }
            Focus::Rewinds => {
                let act = match self.random.below(3) {
                    _ if self.server.snapshot.is_none() => Act::Save,
                    0 => Act::Restore(IndexAfterRestore::Rewinds),
                    _ => Act::Gap,
                };
                self.operate(act);
            }
        }
    }

    /// Whether the focus of the history keeps this request from being sent.
    pub(super) fn is_withheld(&mut self, exchange: &Exchange) -> bool {
        self.spoils(Focus::LostLocks, exchange) && self.random.chance(600)
    }

    /// Loses or delays a reply if that is the focus of the history. Returns the delay of
    /// the reply unless it is lost.
    pub(super) fn spoil(&mut self, exchange: &Rc<Exchange>) -> Option<Duration> {
        let loses = [Focus::LostLocks, Focus::DeadActors].map(|focus| self.spoils(focus, exchange));
        if loses.contains(&true) && self.random.chance(600) {
            self.stats.fault("reply to a lock lost");
            self.disturb(exchange.process, Duration::ZERO);
            let trouble = Trouble::Broken("unexpected end of file".into());
            self.after(Duration::from_millis(1), Event::Break(exchange.clone(), trouble));
            return None;
        }
        if self.spoils(Focus::LateAnswers, exchange) && self.random.chance(500) {
            self.stats.fault("reply to a lock late");
            return Some(self.random.skewed_millis(1_000..=15_000));
        }
        if let Question::Session(SessionQuestion::Raise { .. })
        | Question::Session(SessionQuestion::ReadFence { .. }) = exchange.question
            && self.plan.focus == Some(Focus::DeadActors)
            && !self.is_healed()
        {
            let points = self.random.below(4) as u32;
            self.processes[exchange.process].fuse = Some((self.keys[0].clone(), points));
        }
        if let Question::Session(SessionQuestion::Renew { .. }) = exchange.question
            && self.plan.focus == Some(Focus::SlowRenewals)
            && self.links[exchange.process].replies_slow > self.now
        {
            self.stats.fault("session destroyed after a slow renewal");
            let act = Act::CutAndDestroy(exchange.process, Duration::from_secs(18));
            let pause = self.random.millis(0..=300);
            self.after(pause, Event::Operator(act));
        }
        if let Question::Session(SessionQuestion::Raise { .. }) = exchange.question
            && self.plan.focus == Some(Focus::LateAnswers)
            && !self.is_healed()
        {
            // Until then, the machine waits for its fence.
            let most = self.processes[exchange.process].request_timeout().as_millis() as u64;
            return Some(self.random.millis(0..=most * 9 / 10));
        }
        Some(Duration::ZERO)
    }

    /// Whether locks are the focus of the history.
    fn spoils(&self, focus: Focus, exchange: &Exchange) -> bool {
        let is_lock = matches!(exchange.question, Question::Lock { .. });
        self.plan.focus == Some(focus) && is_lock && !self.is_healed()
    }
}
