//! An operator's actions on Consul, and those of failing servers.

use std::time::Duration;

use super::{event::Event, process::Process, question::Question, server::Exchange, world::World};
use crate::{
    config::HASHICORP_LOCK_FLAGS,
    consul::{
        ask::Release,
        fact::{Fence, SessionId, Trouble},
    },
    embedded::engine::{IndexAfterRestore, PutMode},
    holding::slot_question::SlotQuestion,
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
    /// Writes the semaphore's entry with this limit and these flags.
    EditSemaphore {
        limit: u32,
        flags: u64,
    },
    /// Writes the semaphore's entry as it was.
    MendSemaphore,
    /// Meddles with the fence entries of all sessions.
    Fences(Meddling),
    /// Writes elsewhere raise the raft index.
    Gap,
    Restart,
    RestartEmpty,
    Save,
    Restore(IndexAfterRestore),
    /// Releases the locks that a snapshot brought back and that their processes do not know.
    ReleaseRisen,
    /// Takes the key away from its holder, safely.
    TakeAway(Key),
    /// Releases a key that was taken away.
    GiveUp(Release),
    /// Cuts a process off and destroys its session.
    CutAndDestroy(usize, Duration),
}

/// The ways in which somebody meddles with fence entries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meddling {
    Delete,
    Overwrite,
    Unlock,
}

/// Flags that no lock of this crate carries.
const FOREIGN_FLAGS: u64 = 99;

impl World {
    /// Carries out an operator's action.
    pub(super) fn operate(&mut self, act: Act) {
        let now = self.now;
        self.trace.note(now, 14, || format!("consul  OPERATOR: {act:?}"));
        if !matches!(act, Act::ReleaseRisen) {
            (0..self.processes.len()).for_each(|process| self.disturb(process, Duration::ZERO));
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
                let flags = engine.pair(key.as_str().as_bytes()).map(|pair| pair.flags);
                if let Some(flags) = flags {
                    self.write_over(&key, flags);
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
            Act::EditSemaphore { limit, flags } => {
                self.edit_semaphore(limit, flags);
                let pause = self.random.skewed_millis(100..=20_000);
                self.after(pause, Event::Operator(Act::MendSemaphore));
            }
            Act::MendSemaphore => self.mend_semaphore(),
            Act::Fences(how) => {
                self.stats.fault("fence entries meddled with");
                self.meddle_with_fences(how);
            }
            Act::TakeAway(key) => self.take_away(&key),
            Act::GiveUp(release) => self.give_up(&release),
            Act::ReleaseRisen => self.release_the_risen(),
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
                    let before = self.held();
                    self.server.api.engine.restore(now, &snapshot, index);
                    self.server.forget_the_past();
                    self.store_replaced();
                    // One that the last snapshot brought back may still be there.
                    let held = self.held();
                    let risen = std::mem::replace(&mut self.risen, held);
                    self.risen.retain(|lock| !before.contains(lock) || risen.contains(lock));
                    self.release_the_risen();
                    self.withdraw_permits(Process::may_have_permit);
                    self.withhold_the_late();
                }
            }
        }
        self.wake_readers();
    }

    fn write_over(&mut self, key: &Key, flags: u64) {
        let (now, name) = (self.now, key.as_str().as_bytes());
        let value = format!("op {}", now.as_nanos()).into_bytes();
        let lock = self.server.holder(key).map(|lock| (key.clone(), lock));
        let risen = self.risen.iter().position(|risen| Some(risen) == lock.as_ref());
        // A plain write is never refused. It changes a lock's index, but not its holder.
        let _ = self.server.api.engine.put(now, name, value, flags, PutMode::Plain);
        if let Some((risen, lock)) = risen.zip(self.server.holder(key)) {
            self.risen[risen].1 = lock;
        }
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

    /// The locked keys, with their sessions and indexes.
    fn held(&self) -> Vec<(Key, (SessionId, u64))> {
        let held = |key: &Key| Some((key.clone(), self.server.holder(key)?));
        self.keys.iter().filter_map(held).collect()
    }

    /// Works around a known limit: a snapshot can restore the lock of a live session
    /// whose process no longer knows of it, or forgets its interest before it looks. The
    /// operator who restores a snapshot must release such locks.
    fn release_the_risen(&mut self) {
        let mut risen = std::mem::take(&mut self.risen);
        risen.retain(|(key, lock)| self.server.holder(key).as_ref() == Some(lock));
        risen.retain(|(key, (session, _))| {
            let knows = |process: &Process| {
                process.live_session() == Some(session) && process.is_busy_with(key)
            };
            let is_known = self.processes.iter().any(knows);
            if !is_known {
                self.server.api.engine.force_release(self.now, key.as_str().as_bytes());
            }
            is_known
        });
        // An exploration releases at once what a process does not own.
        if !risen.is_empty() && self.flights.is_none() {
            self.risen = risen;
            self.after(Duration::from_secs(1), Event::Operator(Act::ReleaseRisen));
        }
    }

    /// Works around the same limit: a late lock request that was fenced off can pass
    /// the fence of a snapshot, and a late release, write or change of a semaphore can expect
    /// an index that the entry has again.
    fn withhold_the_late(&mut self) {
        let scheduled = self.events.values().filter_map(|event| match event {
            Event::Arrive(exchange) => Some(exchange),
            _ => None,
        });
        let carried = self.flights.iter().flatten().filter(|flight| flight.reply.is_none());
        for exchange in scheduled.chain(carried.map(|flight| &flight.exchange)) {
            use SlotQuestion::{Join, Leave, Prune, Release, Write};
            let changes = exchange.question.locks().next().is_some()
                || matches!(
                    exchange.question,
                    Question::Slot(
                        _,
                        Join { .. } | Leave { .. } | Prune { .. } | Release { .. } | Write { .. }
                    )
                );
            if changes && !(self.waiting.contains_key(&exchange.id) && self.is_open(exchange)) {
                exchange.void.set(true);
            }
        }
    }

    /// Whether the process's machine still regards an attempt to lock as open: it has the
    /// session and the fence of the attempt. True of other requests.
    fn is_open(&self, exchange: &Exchange) -> bool {
        let host = &self.processes[exchange.process];
        let view = host.session_view();
        let is_open = |session: &SessionId, fence: Fence| {
            view.is_some_and(|view| view.id == *session && view.fence == fence)
        };
        let joins = match &exchange.question {
            Question::Slot(_, SlotQuestion::Join { ask, .. }) => Some((&ask.session, ask.fence)),
            _ => None,
        };
        let locks = exchange.question.locks().map(|ask| (&ask.session, ask.fence));
        host.life == exchange.life && locks.chain(joins).all(|(id, fence)| is_open(id, fence))
    }

    fn break_readers(&mut self) {
        for (_, (_, exchange)) in std::mem::take(&mut self.server.parked) {
            let trouble = Trouble::Broken("connection reset by peer".into());
            self.after(Duration::from_millis(1), Event::Break(exchange, trouble));
        }
    }
}
