//! The end of a history: all faults end, every caller must be served, and nothing
//! may remain.

use std::time::Duration;

use super::{caller::Conduct, event::Event, permits::PASSES, world::World};
use crate::{
    consul::ask::{Ask as _, Watch},
    protocol::watch::LONGEST_WAIT,
};

/// The longest time for which late replies and all callers' brief holds delay progress.
const SLACK: Duration = Duration::from_secs(20);

impl World {
    /// Ends all faults.
    pub(super) fn heal(&mut self) {
        self.trace.note(self.now, 7, || "all faults end".into());
        self.healed_at = Some(self.now);
        self.mend_everything();
        for process in 0..self.processes.len() {
            self.resume(process);
            if self.processes[process].is_ending() {
                self.crash(process);
            }
            let (life, now) = (self.processes[process].life, self.now);
            let mut ids = Vec::new();
            for (id, caller) in &mut self.processes[process].callers {
                caller.conduct.looks_at = now;
                caller.conduct.hold = caller.conduct.hold.min(Duration::from_millis(50));
                let end = now + Duration::from_millis(500);
                caller.holds_until = caller.holds_until.map(|at| at.min(end));
                ids.push(*id);
            }
            for id in ids {
                let pause = Duration::from_millis(501);
                self.after(pause, Event::Caller { process, life, caller: id });
            }
            self.processes[process].set_time(now);
            self.settle(process);
        }
        for key in self.keys.clone() {
            let process = self.random.below(self.processes.len());
            let conduct = Conduct::at_the_end(self.now);
            self.processes[process].set_time(self.now);
            self.enter(process, &key, conduct);
        }
        self.want_permits_again();
        self.after(Duration::from_millis(500), Event::Watchdog);
    }

    /// How long after the faults the last caller is served, and the last lock released.
    ///
    /// A session ends within two TTLs of its last renewal. Its owner may learn only from
    /// its watch that its lock is gone: the reply to one blocking read was lost, and in a
    /// replaced store the next one waits for an index of the old store. A lock-delay
    /// follows, and then each waiting caller's turn.
    fn bound(&self) -> Duration {
        let timing = &self.plan.timing;
        let ttl = timing.session_ttl * self.plan.ttl_stretch;
        let reads = if self.plan.other_stores { 2 } else { 1 };
        let read = Watch { key: self.keys[0].clone(), after: Some(1), wait: LONGEST_WAIT };
        let watch = read.limit(timing.request_timeout());
        let permits = if self.permits.is_some() { PASSES } else { Duration::ZERO };
        (ttl * 2).max(watch * reads) + timing.lock_delay + SLACK + permits
    }

    /// Checks whether every caller was served and nothing remains.
    pub(super) fn look_for_the_end(&mut self) {
        let Some(healed_at) = self.healed_at else { return };
        self.after(Duration::from_millis(500), Event::Watchdog);
        self.unmark_all();
        let bound = self.bound();
        // A late renewal extends even the session of a crashed process.
        let calm_since = self.last_arrival.max(healed_at);
        if !self.look_at_elections(bound, calm_since) {
            return;
        }
        let busy = self.processes.iter().enumerate().find_map(|(id, process)| {
            if let Some((troop, who)) = process.troops.iter().next() {
                let waited = self.now.since(who.asked_at);
                return Some(format!("p{id}'s set {troop} of {:?} after {waited:?}", who.keys));
            }
            let (caller, who) = process.callers.iter().next()?;
            Some(format!(
                "p{id}'s caller {caller} of {} after {:?}",
                who.key,
                self.now.since(who.asked_at)
            ))
        });
        let calm_since = self.elections.over_at.map_or(calm_since, |at| at.max(calm_since));
        let settled = self.now.since(calm_since) > Duration::from_secs(7);
        if let Some(busy) = busy {
            self.busy_until = self.now;
            if self.now.since(calm_since) > bound {
                self.violate(|| format!("no progress: {busy} still waits"));
            }
            return;
        }
        if !settled {
            return;
        }
        let held = self.keys.iter().find_map(|key| Some((key.clone(), self.server.holder(key)?)));
        let over = self.now.since(calm_since.max(self.busy_until)) > bound;
        if let Some((key, (session, _))) = held {
            if over {
                self.violate(|| format!("leak: {key} is locked by {session}, and nobody wants it"));
            }
            return;
        }
        if let Some(session) = self.permit_left() {
            if over {
                self.violate(|| format!("leak: {session} has a permit, and nobody wants it"));
            }
            return;
        }
        let unfinished = self.processes.iter().find_map(|process| {
            let left = process.unfinished();
            (!left.is_empty()).then(|| format!("p{}: {left:?}", process.id))
        });
        if let Some(left) = unfinished {
            if over {
                self.violate(|| format!("stuck: {left}"));
            }
            return;
        }
        if let Some(left) = self
            .leads_to_the_last()
            .or_else(|| self.never_ended())
            .or_else(|| self.never_answered())
        {
            return self.violate(|| left);
        }
        self.quiet_since = Some(self.now);
    }
}
