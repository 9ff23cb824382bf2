//! What an operator, a failure or a restart does to the server.

use super::{Engine, SERF_HEALTH, Store};
use crate::{clock::Moment, consul::fact::SessionId};

/// A copy of the store, as `consul snapshot save` makes one.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    store: Store,
    raft_index: u64,
}

/// Where raft indexes go on from after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexAfterRestore {
    /// From the present one: the snapshot was restored into the same cluster.
    Rises,
    /// From the snapshot's: it was restored into a new cluster.
    Rewinds,
}

impl Engine {
    /// The node's agent leaves the cluster: all its sessions end in one raft
    /// entry, whatever their checks. The node is back at once.
    pub(crate) fn leave(&mut self, now: Moment) {
        self.advance(now);
        let index = self.next_index();
        let all: Vec<SessionId> = self.store.sessions.keys().cloned().collect();
        for id in all {
            self.end_session(&id, index);
        }
    }

    /// The node's health check turns critical: the sessions that depend on it
    /// end, and no new one can until it passes.
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

    /// The node's health check passes again.
    pub(crate) fn pass_check(&mut self, now: Moment) {
        self.advance(now);
        self.serf_health_critical = false;
        self.next_index();
    }

    /// A new leader takes over: every session's timer starts anew. Lock-delays
    /// go on, as each server counts them for itself.
    pub(crate) fn elect(&mut self, now: Moment) {
        self.advance(now);
        let all: Vec<SessionId> = self.store.sessions.keys().cloned().collect();
        for id in all {
            self.start_timer(&id);
        }
        self.next_index();
    }

    /// All servers restart and keep their data: timers and running lock-delays
    /// start anew, for raft replays the entries that began them.
    ///
    /// Consul also begins the delays again that had ended since its last raft
    /// snapshot; those are not remembered here.
    pub(crate) fn restart(&mut self, now: Moment) {
        self.elect(now);
        let now = self.now;
        for delay in self.delays.values_mut() {
            delay.until = now + delay.span;
        }
        self.life += 1;
        self.version += 1;
    }

    /// All servers restart and have lost their data: indexes begin anew.
    pub(crate) fn restart_empty(&mut self, now: Moment) {
        self.advance(now);
        self.begin_empty();
        self.life += 1;
        self.version += 1;
    }

    /// Others write so much elsewhere in the store.
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

    /// Replaces the store by a copy: sessions of the copy live again, with
    /// their timers started anew, and no key is under a lock-delay.
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

    /// Frees a key in its holder's name, value and flags kept; `false` if
    /// nobody holds it.
    pub(crate) fn force_release(&mut self, now: Moment, key: &[u8]) -> bool {
        self.advance(now);
        let Some(pair) = self.pair(key) else { return false };
        let Some(holder) = pair.session.clone() else { return false };
        let (value, flags) = (pair.value.clone(), pair.flags);
        let index = self.next_index();
        self.unlock_pair(key, value, flags, holder.as_str(), index, None).unwrap_or(false)
    }
}
