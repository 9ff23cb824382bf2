//! Faults of processes, links, servers and operators.

use std::time::Duration;

use super::{
    event::Event,
    plan::Class,
    process::Process,
    question::Question,
    server::{Election, Exchange, Lacking, Server},
    world::World,
};
use crate::{
    config::HASHICORP_LOCK_FLAGS,
    consul::{fact::Trouble, wire::WireReply},
    embedded::engine::{IndexAfterRestore, PutMode},
    key::Key,
};

/// An action of an operator or a failing node on Consul.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Destroys the session that holds the key, or else the process's session.
    Destroy(Key, usize),
    Leave,
    FailCheck,
    PassCheck,
    DeleteKey(Key),
    ForceRelease(Key),
    Overwrite(Key),
    /// Overwrites the key as an editor does, which sets its flags to 0.
    Edit(Key),
    /// Writes a foreign entry under the key.
    Mark(Key),
    /// Removes foreign entries.
    Unmark,
    /// Meddles with the fence entries of all sessions.
    Fences(Meddling),
    /// Writes elsewhere raise the raft index.
    Gap,
    Restart,
    RestartEmpty,
    Save,
    Restore(IndexAfterRestore),
    /// Cuts a process off and destroys its session.
    CutAndDestroy(usize, Duration),
}

/// What somebody does to fence entries that they take for rubbish.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meddling {
    Delete,
    Overwrite,
    Unlock,
}

/// Flags that no lock of this crate carries.
const FOREIGN_FLAGS: u64 = 99;

impl World {
    /// Injects a fault and schedules the next one.
    pub(super) fn strike(&mut self) {
        if self.is_healed() {
            return;
        }
        let pause = match self.plan.class {
            Class::Chaos => {
                self.misfortune();
                self.random.skewed_millis(50..=2 * self.plan.fault_every)
            }
            Class::Interruptions => self.interrupt() + self.random.millis(300..=6_000),
        };
        self.after(pause, Event::Fault);
    }

    fn misfortune(&mut self) {
        let process = self.victim();
        if self.random.chance(150) {
            return self.meddle(process);
        }
        match self.random.below(24) {
            0..=2 => {
                let lasts = self.long();
                self.cut(process, lasts);
            }
            3..=5 => {
                let lasts = self.long();
                self.pause(process, lasts);
            }
            6 => {
                self.stats.fault("crash");
                self.trace
                    .note(self.now, 9, || format!("p{process}      CRASHES and starts again"));
                self.crash(process);
            }
            7 | 8 => {
                let lasts = self.random.skewed_millis(500..=18_000);
                self.elect(lasts);
            }
            // With fast failover, only the TTL protects a lease.
            9..=12 if self.plan.timing.fast_failover => {
                let lasts = self.long();
                self.cut(process, lasts);
            }
            9..=12 => {
                // The holder cannot learn that its session is destroyed.
                let lasts = self.long();
                match self.random.below(4) {
                    0 => self.cut(process, lasts),
                    1 => self.pause(process, lasts),
                    2 => {
                        // Its last successful answer is still in flight.
                        self.links[process].replies_slow = self.now + Duration::from_secs(4);
                        self.disturb(process, Duration::from_secs(6));
                        let pause = self.random.millis(500..=3_500);
                        let act = Act::CutAndDestroy(process, Duration::from_secs(40));
                        return self.after(pause, Event::Operator(act));
                    }
                    _ => {}
                }
                let pause = self.random.skewed_millis(0..=3_000);
                let act = self.early_end(process);
                self.after(pause, Event::Operator(act));
            }
            13..=16 => {
                let key = self.some_key();
                let act = match self.random.below(4) {
                    0 => Act::DeleteKey(key),
                    1 => Act::ForceRelease(key),
                    _ => Act::Overwrite(key),
                };
                self.operate(act);
            }
            17 => self.operate(Act::Restart),
            20..=23 => self.fail(process),
            _ if self.plan.other_stores => {
                let act = match self.random.below(5) {
                    0 => Act::RestartEmpty,
                    1 => Act::Restore(IndexAfterRestore::Rises),
                    2 => Act::Restore(IndexAfterRestore::Rewinds),
                    _ => Act::Save,
                };
                self.operate(act);
            }
            _ => {
                let lasts = self.random.skewed_millis(50..=5_000);
                self.refuse(process, lasts);
            }
        }
    }

    /// Injects an action that is permitted but harmful.
    fn meddle(&mut self, process: usize) {
        let key = self.some_key();
        let act = match self.random.below(10) {
            0 => Act::Edit(key),
            1 => Act::Mark(key),
            2..=4 => {
                let how =
                    [Meddling::Delete, Meddling::Delete, Meddling::Overwrite, Meddling::Unlock];
                Act::Fences(self.random.pick(&how))
            }
            5 => Act::Gap,
            _ => return self.withdraw_a_right(process),
        };
        self.operate(act);
    }

    /// Withdraws a right from a token for a while.
    fn withdraw_a_right(&mut self, process: usize) {
        let lasts = self.random.skewed_millis(50..=20_000);
        let until = self.now + lasts;
        let lacking = &mut self.server.lacking[process];
        let (what, right) = match self.random.below(4) {
            0 => ("sessions", &mut lacking.sessions),
            1 => ("writes", &mut lacking.writes),
            2 => ("reads", &mut lacking.reads),
            _ => ("fences", &mut lacking.fences),
        };
        *right = until;
        self.stats.fault("right withdrawn");
        self.disturb(process, lasts);
        self.trace
            .note(self.now, 15, || format!("consul  p{process} is DENIED {what} for {lasts:?}"));
    }

    /// A stale reply to a blocking read from a deposed leader, at random.
    pub(super) fn past_of(&mut self, exchange: &Exchange) -> Option<WireReply> {
        let Question::Watch { ask, .. } = &exchange.question else { return None };
        // A read that does not block is consistent, so it is never stale.
        ask.after?;
        if self.is_healed() || !self.random.chance(self.plan.stale) {
            return None;
        }
        let place = self.random.below(100);
        let reply = self.server.past(&ask.key, place)?;
        self.stats.fault("answer from the past");
        self.disturb(exchange.process, Duration::ZERO);
        Some(reply)
    }

    /// A random process, usually one that holds a key.
    fn victim(&mut self) -> usize {
        let key = self.some_key();
        let holder = self.server.holder(&key).and_then(|(session, _)| {
            self.processes.iter().position(|process| process.live_session() == Some(&session))
        });
        let any = self.random.below(self.processes.len());
        holder.filter(|_| self.random.chance(700)).unwrap_or(any)
    }

    fn some_key(&mut self) -> Key {
        let place = self.random.below(self.keys.len());
        self.keys[place].clone()
    }

    fn long(&mut self) -> Duration {
        self.random.skewed_millis(100..=80_000)
    }

    fn early_end(&mut self, process: usize) -> Act {
        let key = self.some_key();
        match self.random.below(8) {
            0 => Act::Leave,
            1 if self.plan.node_checks => Act::FailCheck,
            _ => Act::Destroy(key, process),
        }
    }

    /// Injects an interruption that ends one request timeout before any deadline.
    /// Returns its length.
    fn interrupt(&mut self) -> Duration {
        self.processes.iter().for_each(|process| process.set_time(self.now));
        let one = self.random.below(self.processes.len());
        let all = self.random.chance(400);
        let concerned = |id: usize| all || id == one;
        let left = self.processes.iter().filter(|process| concerned(process.id)).filter_map(|p| {
            let left = p.remaining()?.saturating_sub(p.request_timeout());
            Some(p.world_span(left))
        });
        // A process without a session has nothing to lose.
        let Some(longest) = left.min() else { return Duration::ZERO };
        let share = self.random.pick(&[100, 95, 50, 20]);
        let lasts = longest * share / 100;
        if all {
            self.elect(lasts);
        } else if self.random.chance(300) {
            self.pause(one, lasts);
        } else if self.random.chance(300) {
            self.refuse(one, lasts);
        } else {
            self.cut(one, lasts);
        }
        lasts
    }

    fn cut(&mut self, process: usize, lasts: Duration) {
        let (out, back) =
            self.random.pick(&[(true, true), (true, true), (true, false), (false, true)]);
        let until = self.now + lasts;
        let link = &mut self.links[process];
        if out {
            link.requests_cut = until;
        }
        if back {
            link.replies_cut = until;
        }
        self.stats.fault(match (out, back) {
            (true, true) => "partition",
            (true, false) => "partition of requests",
            _ => "partition of replies",
        });
        self.disturb(process, lasts);
        self.trace.note(self.now, 10, || {
            format!("network  p{process} is CUT OFF (out {out}, back {back}) for {lasts:?}")
        });
    }

    fn refuse(&mut self, process: usize, lasts: Duration) {
        self.stats.fault("connections refused");
        self.links[process].refused = self.now + lasts;
        self.disturb(process, lasts);
        self.trace.note(self.now, 11, || format!("network  p{process} is REFUSED for {lasts:?}"));
    }

    fn pause(&mut self, process: usize, lasts: Duration) {
        if self.paused[process] {
            return;
        }
        self.stats.fault("pause");
        self.paused[process] = true;
        self.disturb(process, lasts);
        self.trace.note(self.now, 12, || format!("p{process}      is STOPPED for {lasts:?}"));
        self.after(lasts, Event::Continue { process });
    }

    fn elect(&mut self, lasts: Duration) {
        if self.server.election.is_some() {
            return;
        }
        let holds = self.random.chance(400);
        self.stats.fault(if holds { "election, requests held" } else { "election" });
        self.server.election = Some(Election { until: self.now + lasts, holds });
        self.trace.note(self.now, 13, || format!("consul  ELECTS for {lasts:?}, holds: {holds}"));
        for process in 0..self.processes.len() {
            self.disturb(process, lasts + Duration::from_secs(if holds { 1 } else { 0 }));
        }
        for (_, (_, exchange)) in std::mem::take(&mut self.server.parked) {
            self.reply(&exchange, Server::leaderless());
        }
        self.after(lasts, Event::ElectionEnds);
    }

    /// Carries out an operator's action.
    pub(super) fn operate(&mut self, act: Act) {
        let now = self.now;
        self.trace.note(now, 14, || format!("consul  OPERATOR: {act:?}"));
        for process in 0..self.processes.len() {
            self.disturb(process, Duration::ZERO);
        }
        let engine = &mut self.server.api.engine;
        match act {
            Act::Destroy(key, process) => {
                self.stats.fault("session destroyed");
                let holder = self.server.holder(&key).map(|(session, _)| session);
                let used = self.processes[process].live_session().cloned();
                if let Some(session) = holder.or(used) {
                    // An unknown session is as good as destroyed.
                    let _ = self.server.api.engine.destroy_session(now, session.as_str());
                }
            }
            Act::CutAndDestroy(process, lasts) => {
                self.stats.fault("session destroyed behind news");
                if let Some(session) = self.processes[process].live_session() {
                    // An unknown session is as good as destroyed.
                    let _ = engine.destroy_session(now, session.as_str());
                }
                if !self.is_healed() {
                    self.links[process].requests_cut = now + lasts;
                    self.disturb(process, lasts);
                }
            }
            Act::Leave => {
                self.stats.fault("agent left");
                engine.leave(now);
            }
            Act::FailCheck => {
                self.stats.fault("check failed");
                engine.fail_check(now);
                let pause = self.random.skewed_millis(100..=10_000);
                self.after(pause, Event::Operator(Act::PassCheck));
            }
            Act::PassCheck => engine.pass_check(now),
            Act::DeleteKey(key) => {
                self.stats.fault("key deleted");
                engine.delete(now, key.as_str().as_bytes(), None);
                self.bypassed(&key);
            }
            Act::ForceRelease(key) => {
                self.stats.fault("key released by force");
                if engine.force_release(now, key.as_str().as_bytes()) {
                    self.bypassed(&key);
                }
            }
            Act::Overwrite(key) => {
                self.stats.fault("value overwritten");
                let name = key.as_str().as_bytes();
                if let Some(pair) = engine.pair(name) {
                    let (flags, value) = (pair.flags, format!("op {}", now.as_nanos()));
                    // A plain write is never refused.
                    let _ = engine.put(now, name, value.into_bytes(), flags, PutMode::Plain);
                }
            }
            Act::Edit(key) => {
                self.stats.fault("key edited");
                self.write_over(&key, 0);
            }
            Act::Mark(key) => {
                self.stats.fault("foreign flags");
                self.write_over(&key, FOREIGN_FLAGS);
                let pause = self.random.skewed_millis(100..=20_000);
                self.after(pause, Event::Operator(Act::Unmark));
            }
            Act::Unmark => self.unmark_all(),
            Act::Fences(how) => {
                self.stats.fault("fence entries meddled with");
                self.meddle_with_fences(how);
            }
            Act::Gap => {
                self.stats.fault("raft index jumps");
                engine.write_elsewhere(now, self.plan.gap);
            }
            Act::Restart => {
                self.stats.fault("servers restarted");
                engine.restart(now);
                self.break_readers();
            }
            Act::RestartEmpty => {
                self.stats.fault("servers restarted empty");
                engine.restart_empty(now);
                self.server.forget_the_past();
                self.server.snapshot = None;
                self.store_replaced();
                self.break_readers();
            }
            Act::Save => self.server.snapshot = Some(engine.snapshot(now)),
            Act::Restore(index) => {
                if let Some(snapshot) = self.server.snapshot.take() {
                    self.stats.fault("snapshot restored");
                    self.restored = true;
                    engine.restore(now, &snapshot, index);
                    self.server.forget_the_past();
                    self.store_replaced();
                    self.release_the_risen();
                    self.withhold_the_late();
                }
            }
        }
        self.wake_readers();
    }

    fn write_over(&mut self, key: &Key, flags: u64) {
        let (now, name) = (self.now, key.as_str().as_bytes());
        let value = format!("op {}", now.as_nanos()).into_bytes();
        // A plain write is never refused.
        let _ = self.server.api.engine.put(now, name, value, flags, PutMode::Plain);
    }

    fn meddle_with_fences(&mut self, how: Meddling) {
        let now = self.now;
        let engine = &mut self.server.api.engine;
        let names = |(name, _): (&Vec<u8>, _)| name.clone();
        let entries: Vec<Vec<u8>> = engine.pairs(b".dsync/").map(names).collect();
        for name in entries {
            match how {
                Meddling::Delete => {
                    engine.delete(now, &name, None);
                }
                Meddling::Overwrite => {
                    let value = format!("op {}", now.as_nanos()).into_bytes();
                    let _ = engine.put(now, &name, value, 0, PutMode::Plain);
                }
                Meddling::Unlock => {
                    engine.force_release(now, &name);
                }
            }
        }
    }

    /// Removes all foreign entries.
    pub(super) fn unmark_all(&mut self) {
        for key in self.keys.clone() {
            let (now, name) = (self.now, key.as_str().as_bytes());
            let engine = &mut self.server.api.engine;
            let is_foreign = engine
                .pair(name)
                .is_some_and(|pair| pair.session.is_none() && pair.flags != HASHICORP_LOCK_FLAGS);
            if is_foreign {
                engine.delete(now, name, None);
                self.bypassed(&key);
            }
        }
        self.wake_readers();
    }

    /// Works around a known limit: a snapshot can restore the lock of a live session
    /// whose process no longer knows of it. The operator who restores a snapshot must
    /// release such locks.
    fn release_the_risen(&mut self) {
        for key in self.keys.clone() {
            let Some((session, _)) = self.server.holder(&key) else { continue };
            let knows = |process: &Process| {
                process.live_session() == Some(&session) && process.is_busy_with(&key)
            };
            if !self.processes.iter().any(knows) {
                let name = key.as_str().as_bytes();
                self.server.api.engine.force_release(self.now, name);
            }
        }
    }

    /// Works around the same limit: a late lock request that was fenced off can pass
    /// the fence of a snapshot.
    fn withhold_the_late(&mut self) {
        let scheduled = self.events.values().filter_map(|event| match event {
            Event::Arrive(exchange) => Some(exchange),
            _ => None,
        });
        let carried = self.flights.iter().flatten().filter(|flight| flight.reply.is_none());
        for exchange in scheduled.chain(carried.map(|flight| &flight.exchange)) {
            let locks = matches!(exchange.question, Question::Lock { .. });
            if locks && !self.waiting.contains_key(&exchange.id) {
                exchange.void.set(true);
            }
        }
    }

    fn break_readers(&mut self) {
        for (_, (_, exchange)) in std::mem::take(&mut self.server.parked) {
            let trouble = Trouble::Broken("connection reset by peer".into());
            self.after(Duration::from_millis(1), Event::Break(exchange, trouble));
        }
    }

    /// Ends all faults.
    pub(super) fn mend_everything(&mut self) {
        for link in &mut self.links {
            (link.requests_cut, link.replies_cut, link.refused) = (self.now, self.now, self.now);
        }
        if self.server.election.take().is_some() {
            self.server.api.engine.elect(self.now);
        }
        self.server.api.engine.pass_check(self.now);
        self.server.lacking.fill(Lacking::default());
        self.unmark_all();
        for process in 0..self.processes.len() {
            self.disturb(process, Duration::ZERO);
        }
        self.wake_readers();
    }
}
