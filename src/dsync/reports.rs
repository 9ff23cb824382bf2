//! Reports on the runtime, which do not wait for its thread.

use crate::{
    dsync::{
        hindrance,
        intake::{Intake, Pending},
    },
    holding::slot::Slot,
    key::Key,
    messages::{Explain, List},
    ownership::KeyState,
    protocol::queue::Obstacle,
    status::{
        journal::Journal,
        report::{HealthReport, KeyReport, Report},
    },
};

impl Intake {
    pub(crate) fn health(&self) -> HealthReport {
        let mut health = self.journal.health();
        health.ready &= !self.slots.is_stopped();
        health
    }

    pub(crate) fn report(&self) -> Report {
        let health = self.health();
        let slots = self.slots.all();
        let mut keys: Vec<_> = slots.iter().map(|slot| self.describe(slot, &health)).collect();
        keys.sort_by(|one, other| one.key.cmp(&other.key));
        Report {
            service: self.service.to_string(),
            health,
            lease: self.timing.lease(),
            failover: self.timing.failover(),
            keys,
            changes: self.journal.changes(),
            preflight: self.journal.last_preflight(),
            incidents: self.journal.incidents(),
        }
    }

    pub(crate) fn report_on(&self, key: &Key) -> KeyReport {
        match self.slots.get(key) {
            Some(slot) => self.describe(&slot, &self.health()),
            None => unused(key.clone(), &self.journal),
        }
    }

    pub(crate) fn explain(&self, Explain(key): Explain) -> Pending<KeyReport> {
        let report = self.report_on(&key);
        Box::pin(async move { Ok(report) })
    }

    pub(crate) fn list(&self, _: List) -> Pending<Report> {
        let report = self.report();
        Box::pin(async move { Ok(report) })
    }

    fn describe(&self, slot: &Slot, health: &HealthReport) -> KeyReport {
        let journal = &self.journal;
        let outline = slot.callers.outline();
        let state = match slot.machine().state() {
            // The machine may not know of the end yet.
            KeyState::Held if outline.is_lost => KeyState::Losing,
            KeyState::Held if outline.lease.is_none() => KeyState::Releasing,
            KeyState::Trying if slot.is_offered() => KeyState::Gathering,
            state => state,
        };
        let why = hindrance::of(slot, state, &outline, health, self.slots.clock().now());
        let (met, trouble) = match outline.obstacle {
            Some(Obstacle::Held(holder)) => (Some(*holder), None),
            Some(Obstacle::Delayed { .. }) | None => (None, None),
            Some(obstacle) => (None, Some(obstacle.into_error(&slot.key).to_string())),
        };
        KeyReport {
            state,
            token: outline.lease.map(|(token, _)| token),
            remaining: outline.lease.map(|(_, remaining)| remaining),
            held: outline.held,
            role: outline.role,
            // The obstacle's holder may be stale; for a followed key, `leader` is current.
            holder: outline.owner.or(if outline.role.is_some() { outline.leader } else { met }),
            waiters: outline.waiting,
            waited: outline.oldest_wait,
            why,
            last_error: trouble.or_else(|| journal.last_error(&slot.key)),
            ..unused(slot.key.clone(), journal)
        }
    }
}

fn unused(key: Key, journal: &Journal) -> KeyReport {
    KeyReport {
        state: KeyState::Idle,
        role: None,
        token: None,
        remaining: None,
        held: None,
        holder: None,
        waiters: 0,
        waited: None,
        why: None,
        last_error: journal.last_error(&key),
        key,
    }
}
