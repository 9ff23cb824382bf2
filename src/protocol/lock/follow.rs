//! Following a key: reporting who holds it, whether or not a caller contends.

use std::time::Duration;

use super::{Effect, Lock, Phase};
use crate::{
    clock::Moment,
    consul::fact::Entry,
    protocol::queue::{Demand, Obstacle},
};

/// Interval between reads of a free key. It cannot be watched: a blocking read of a
/// missing key returns on every write to the store.
const FREE: Duration = Duration::from_secs(1);
/// Pause before a key is read again after a read or a lock was refused.
const REFUSED: Duration = Duration::from_secs(10);

impl Lock {
    /// Handles a change of the callers' demand.
    pub(super) fn demanded(&mut self, demand: Demand, effects: &mut Vec<Effect>) {
        let anew = !self.demand.follow || demand.followings != self.demand.followings;
        let follows_now = demand.follow && anew;
        self.demand = demand;
        if !demand.wants() {
            self.herd.left();
            self.outrun = 0;
        }
        // Report the holder now: while we wait, an unchanged holder is not reported again.
        if follows_now
            && matches!(self.phase, Phase::Waiting { .. })
            && let Some(obstacle @ Obstacle::Held(_)) = self.obstacle.clone()
        {
            effects.push(Effect::Obstructed(obstacle));
        }
    }

    /// Whether to attempt the lock. Without a session, a followed key is only read.
    pub(super) fn contends(&self) -> bool {
        self.demand.wants() && (self.session.is_some() || !self.demand.follow)
    }

    /// Reads the key.
    pub(super) fn look(&mut self, effects: &mut Vec<Effect>) {
        let ticket = self.tickets.next();
        self.phase = Phase::Reading { ticket };
        effects.push(Effect::Read { ticket });
    }

    /// Reports a changed value of an unchanged holder.
    pub(super) fn note_value(&mut self, entry: &Entry, effects: &mut Vec<Effect>) {
        if let Some(Obstacle::Held(holder)) = &mut self.obstacle
            && *holder.value != *entry.value
        {
            holder.value = entry.value.as_slice().into();
            holder.index = entry.modify_index;
            effects.push(Effect::Obstructed(Obstacle::Held(holder.clone())));
        }
    }

    /// Reports that nobody holds the key.
    pub(super) fn seen_free(&mut self, effects: &mut Vec<Effect>) {
        if self.demand.follow {
            effects.push(Effect::Free);
        }
    }

    /// Rests while the key is free and nobody here can contend.
    pub(super) fn rest(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.tell_no_session(effects);
        let until = now + self.random.within(FREE);
        self.follow_at(until);
    }

    /// Rests after Consul refused a lock or a read.
    pub(super) fn rest_refused(&mut self, now: Moment) {
        self.follow_at(now + REFUSED);
    }

    fn follow_at(&mut self, until: Moment) {
        let follow = self.demand.follow;
        self.phase = if follow { Phase::Following { until } } else { Phase::Idle };
    }
}
