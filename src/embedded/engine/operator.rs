//! The effects of operators, failures and restarts on the server.

use super::{Engine, SERF_HEALTH, Store};
use crate::{clock::Moment, consul::fact::SessionId};

/// A copy of the store, like one made by `consul snapshot save`.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    store: Store,
    raft_index: u64,
}

/// Where raft indexes continue from after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexAfterRestore {
    /// From the current one: the snapshot was restored into the same cluster.
    Rises,
    /// From the snapshot's: the snapshot was restored into a new cluster.
    Rewinds,
}

impl Engine {
    /// The node's agent leaves the cluster and rejoins at once. All its sessions
    /// end in one raft entry, whatever their checks.
    pub(crate) fn leave(&mut self, now: Moment) {
        self.advance(now);
        let index = self.next_index();
        let all: Vec<SessionId> = self.store.sessions.keys().cloned().collect();
        for id in all {
            self.end_session(&id, index);
        }
    }

    /// The node's health check turns critical: the sessions that depend on it
    /// end, and none can be created until the check passes.
    pub(crate) fn fail_check(&mut self, now: Moment) {
        self.advance(now);
        self.serf_health_critical = true;
        let index = self.next_index();
        let depends = |checks: &Option<Vec<String>>| {
            checks.iter().flatten().any(|check| check == SERF_HEALTH)
        };
        let doomed: Vec<SessionId> = self
            .sessions()
            .filter(|(_, s)| depends(&s.node_checks) || depends(&s.service_checks))
            .map(|(id, _)| id.clone())
            .collect();
        for id in doomed {
            self.end_session(&id, index);
        }
    }

    /// The node's health check turns passing.
    pub(crate) fn pass_check(&mut self, now: Moment) {
        self.advance(now);
        self.serf_health_critical = false;
        self.next_index();
    }

    /// A new leader takes over: every session's timer restarts. Lock-delays
    /// continue, since each server counts them itself.
    pub(crate) fn elect(&mut self, now: Moment) {
        self.advance(now);
        let all: Vec<SessionId> = self.store.sessions.keys().cloned().collect();
        for id in all {
            self.start_timer(&id);
        }
        self.next_index();
    }

    /// All servers restart and keep their data: timers and running lock-delays
    /// restart, since raft replays the entries that started them.
    ///
    /// Consul also restarts delays that ended after its last raft snapshot; this
    /// engine does not.
    pub(crate) fn restart(&mut self, now: Moment) {
        self.elect(now);
        let now = self.now;
        for delay in self.delays.values_mut() {
            delay.until = now + delay.span;
        }
        self.life += 1;
        self.version += 1;
    }

    /// All servers restart without their data: indexes start over.
    pub(crate) fn restart_empty(&mut self, now: Moment) {
        self.advance(now);
        self.reset();
        self.life += 1;
        self.version += 1;
    }

    /// When the next lock-delay ends.
    #[cfg(test)]
    pub(crate) fn next_delay_end(&self) -> Option<Moment> {
        self.delays.values().map(|delay| delay.until).filter(|until| *until > self.now).min()
    }

    /// Other clients write that many entries elsewhere in the store.
    #[cfg(test)]
    pub(crate) fn write_elsewhere(&mut self, now: Moment, entries: u64) {
        self.advance(now);
        self.raft_index += entries;
    }

    /// Copies the store.
    pub(crate) fn snapshot(&mut self, now: Moment) -> Snapshot {
        self.advance(now);
        Snapshot { store: self.store.clone(), raft_index: self.raft_index }
    }

    /// Whether the snapshot has a higher raft index than this engine.
    pub(crate) fn is_behind(&self, snapshot: &Snapshot) -> bool {
        self.raft_index < snapshot.raft_index
    }

    /// Replaces the store with a snapshot: its sessions live again with fresh
    /// timers, and all lock-delays are dropped.
    pub(crate) fn restore(&mut self, now: Moment, snapshot: &Snapshot, index: IndexAfterRestore) {
        self.advance(now);
        self.store = snapshot.store.clone();
        if index == IndexAfterRestore::Rewinds {
            self.raft_index = snapshot.raft_index;
        }
        self.timers.clear();
        self.delays.clear();
        self.reaps.clear();
        for session in self.store.sessions.values_mut() {
            session.expires = None;
        }
        self.elect(now);
        let buried = self.store.tombstones.values().copied().max();
        if let Some(newest) = buried {
            self.schedule_reap(newest);
        }
        self.life += 1;
        self.version += 1;
    }

    /// Releases a key on behalf of its holder and keeps value and flags; returns
    /// `false` if nobody holds it.
    pub(crate) fn force_release(&mut self, now: Moment, key: &[u8]) -> bool {
        self.advance(now);
        let Some(pair) = self.pair(key) else { return false };
        let Some(holder) = pair.session.clone() else { return false };
        let (value, flags) = (pair.value.clone(), pair.flags);
        let index = self.next_index();
        self.unlock_pair(key, value, flags, holder.as_str(), index, None).unwrap_or(false)
    }
}
