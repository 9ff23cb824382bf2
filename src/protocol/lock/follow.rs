//! How it is known who has a key, whether or not anybody here contends.

use std::time::Duration;

use super::{Effect, Lock, Phase};
use crate::{
    clock::Moment,
    consul::fact::Entry,
    protocol::queue::{Demand, Obstacle},
};

/// How soon a key is read again that nobody holds: it cannot be watched, since a
/// blocking read of a missing key ends with every write to the store.
const FREE: Duration = Duration::from_secs(1);
/// How soon a key is read again whose reading or locking was refused.
const REFUSED: Duration = Duration::from_secs(10);

impl Lock {
    /// What the callers want has changed.
    pub(super) fn demanded(&mut self, demand: Demand, effects: &mut Vec<Effect>) {
        let anew = !self.demand.follow || demand.followings != self.demand.followings;
        let follows_now = demand.follow && anew;
        self.demand = demand;
        if !demand.wants() {
            self.herd.left();
        }
        // Who is waited for is known already, and told no more while it stays.
        if follows_now
            && matches!(self.phase, Phase::Waiting { .. })
            && let Some(obstacle @ Obstacle::Held(_)) = self.obstacle.clone()
        {
            effects.push(Effect::Obstructed(obstacle));
        }
    }

    /// Whether a try may be made. While there is no session for it, a key that is
    /// followed is at least looked at.
    pub(super) fn contends(&self) -> bool {
        self.demand.wants() && (self.session.is_some() || !self.demand.follow)
    }

    /// Reads the key, whoever may hold it.
    pub(super) fn look(&mut self, effects: &mut Vec<Effect>) {
        let ticket = self.tickets.next();
        self.phase = Phase::Reading { ticket };
        effects.push(Effect::Read { ticket });
    }

    /// The watched key changed, and its holder did not.
    pub(super) fn note_value(&mut self, entry: &Entry, effects: &mut Vec<Effect>) {
        if let Some(Obstacle::Held(holder)) = &mut self.obstacle
            && self.demand.follow
            && *holder.value != *entry.value
        {
            holder.value = entry.value.as_slice().into();
            holder.since = entry.modify_index;
            effects.push(Effect::Obstructed(Obstacle::Held(holder.clone())));
        }
    }

    /// A read shows that nobody holds the key.
    pub(super) fn seen_free(&mut self, effects: &mut Vec<Effect>) {
        if self.demand.follow {
            effects.push(Effect::Free);
        }
    }

    /// Nobody holds the key, and nobody here can contend.
    pub(super) fn rest(&mut self, now: Moment) {
        let until = now + self.jittered(FREE);
        self.follow_at(until);
    }

    /// Consul refuses to let the key be had, or read.
    pub(super) fn rest_refused(&mut self, now: Moment) {
        self.follow_at(now + REFUSED);
    }

    fn follow_at(&mut self, until: Moment) {
        let follow = self.demand.follow;
        self.phase = if follow { Phase::Following { until } } else { Phase::Idle };
    }
}
