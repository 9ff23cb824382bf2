//! The faults that a history injects, and their frequencies.

use std::time::Duration;

use super::{
    event::Event,
    operator::{Act, Meddling},
    plan::Class,
    question::Question,
    server::{Election, Exchange, Lacking, Server},
    world::World,
};
use crate::{consul::wire::WireReply, embedded::engine::IndexAfterRestore, key::Key};

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
        if let Some(focus) = self.plan.focus {
            return self.strike_at(focus, process);
        }
        let is_specified = self.plan.is_specified;
        if !is_specified && self.random.chance(150) {
            return self.meddle(process);
        }
        match self.random.below(24) {
            13..=17 if is_specified => {
                let lasts = self.random.skewed_millis(50..=5_000);
                self.refuse(process, lasts);
            }
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
        let holder = self.holding(&key);
        let any = self.random.below(self.processes.len());
        holder.filter(|_| self.random.chance(700)).unwrap_or(any)
    }

    /// The process that holds the key.
    pub(super) fn holding(&self, key: &Key) -> Option<usize> {
        let (session, _) = self.server.holder(key)?;
        self.processes.iter().position(|process| process.live_session() == Some(&session))
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
        let ways = self.random.pick(&[(true, true), (true, true), (true, false), (false, true)]);
        self.cut_ways(process, ways, lasts);
    }

    pub(super) fn cut_both_ways(&mut self, process: usize, lasts: Duration) {
        self.cut_ways(process, (true, true), lasts);
    }

    fn cut_ways(&mut self, process: usize, (out, back): (bool, bool), lasts: Duration) {
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

    pub(super) fn pause(&mut self, process: usize, lasts: Duration) {
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
        self.mend_semaphore();
        for process in 0..self.processes.len() {
            self.disturb(process, Duration::ZERO);
        }
        self.wake_readers();
    }
}
