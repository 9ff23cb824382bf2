//! Deaths of a process's parts, and shutdowns.

use std::time::Duration;

use super::{event::Event, parts::Part, permits::Permits, question::Question, world::World};
use crate::{
    holding::keeping::SessionQuestion,
    key::Key,
    protocol::warden::{self, End},
};

impl World {
    /// Kills a part of a process or shuts its runtime down.
    pub(super) fn fail(&mut self, process: usize) {
        if self.paused[process] || self.processes[process].is_ending() {
            return;
        }
        self.disturb(process, Duration::ZERO);
        self.processes[process].set_time(self.now);
        match self.random.below(10) {
            0..=3 => {
                let place = self.random.below(self.keys.len());
                let (key, points) = (self.keys[place].clone(), self.random.skewed(0..=16));
                let key = self.permits.as_mut().and_then(Permits::dies_instead).unwrap_or(key);
                self.failed(process, "a lock's actor died");
                // If nobody wants the key, there is no such actor yet.
                self.processes[process].fuse = Some((key, points as u32));
            }
            4 => {
                self.failed(process, "the session's actor died");
                self.processes[process].kill_session();
            }
            5 => {
                self.failed(process, "the watch actor died");
                self.processes[process].kill_watch();
            }
            6 => {
                self.failed(process, "the supervisor died");
                self.processes[process].abandon();
                self.restart_later(process);
            }
            _ => {
                self.failed(process, "shutdown");
                let limit = self.random.pick(&[100, 2_000, 30_000, 120_000]);
                let limit = Duration::from_millis(limit);
                self.processes[process].feed_warden(warden::Event::Stop { limit });
            }
        }
        self.settle(process);
    }

    fn failed(&mut self, process: usize, what: &'static str) {
        self.stats.fault(what);
        self.trace.note(self.now, 15, || format!("p{process}      FAILS: {what}"));
    }

    fn restart_later(&mut self, process: usize) {
        let life = self.processes[process].life;
        let pause = self.random.skewed_millis(0..=5_000);
        self.after(pause, Event::Restart { process, life });
    }

    /// Restarts a process whose runtime has ended.
    pub(super) fn restart(&mut self, process: usize, life: u64) {
        if self.processes[process].life == life {
            self.crash(process);
        }
    }

    /// Checks a runtime that has ended.
    pub(super) fn check_finished(&mut self, process: usize, end: End) {
        self.trace.note(self.now, 17, || format!("p{process}      ends: {end:?}"));
        let mut sessions = self.processes[process].sessions.keys();
        let left = sessions.find(|session| self.server.is_alive(session)).cloned();
        // A process without the right to destroy a session leaves it to the TTL.
        let excused = self.restored || self.server.has_denied[process];
        if let Some(session) = left.filter(|_| end == End::Orderly && !excused) {
            self.violate(|| format!("G7: p{process} ended, and its session {session} lives"));
        }
        self.restart_later(process);
    }

    /// Checks that an orderly destroyed session holds no key: its end would close the
    /// key by lock-delay. It cannot know of one that a snapshot has brought back.
    pub(super) fn check_goes(&mut self, process: usize, question: &Question) {
        let Question::Session(SessionQuestion::Destroy { ask, .. }) = question else { return };
        if self.processes[process].sessions.get(&ask.session) != Some(&false) {
            return;
        }
        let holds = |key: &&Key| {
            let holder = self.server.holder(key).filter(|(session, _)| *session == ask.session);
            holder.is_some_and(|lock| !self.risen.contains(&((*key).clone(), lock)))
        };
        let held = self.keys.iter().find(holds);
        if let Some(key) = held.cloned() {
            self.violate(|| format!("G7: p{process} destroys its session, which holds {key}"));
        }
    }
}

impl Part {
    pub(super) fn is_watch(self) -> bool {
        matches!(self, Self::Watch(_))
    }
}
