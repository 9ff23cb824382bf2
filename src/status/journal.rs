//! The journal of a runtime: its current state and recent faults, readable from any
//! thread without waiting for the runtime's.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::{Clock, Moment},
    consul::fact::Fence,
    key::Key,
    protocol::{cell::DeadlineCell, session::SessionView},
    status::{
        report::{HealthReport, Mishap, SessionReport},
        telemetry::Telemetry,
    },
};

/// The journal of one runtime.
#[derive(Debug)]
pub(crate) struct Journal {
    clock: Clock,
    telemetry: Telemetry,
    pulse: Pulse,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    session: Option<SessionNote>,
    trouble: Option<String>,
    /// Newest first.
    mishaps: VecDeque<(Moment, Option<Key>, String)>,
}

#[derive(Debug)]
struct SessionNote {
    id: String,
    fence: Option<u64>,
    cell: Arc<DeadlineCell>,
    opened_at: Moment,
    renewed_at: Moment,
}

/// The number of mishaps that the journal keeps.
const MOST_MISHAPS: usize = 20;
/// How long a mishap counts as a key's last error.
const RECENT: Duration = Duration::from_secs(600);

impl Journal {
    pub(crate) fn new(clock: Clock, telemetry: Telemetry) -> Self {
        Self { clock, telemetry, pulse: Pulse::new(clock.now()), notes: Mutex::default() }
    }

    /// The runtime's metrics.
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Records that the runtime's thread is running.
    pub(crate) fn beat(&self) {
        self.pulse.beat(self.clock.now());
    }

    /// Records that the runtime has ended; `orderly` if by a shutdown.
    pub(crate) fn ended(&self, orderly: bool) {
        self.pulse.end(orderly);
        self.telemetry.in_use(0, 0);
        self.notes().session = None;
    }

    /// Whether the runtime ended without a shutdown.
    pub(crate) fn has_died(&self) -> bool {
        self.pulse.has_died()
    }

    /// Sets the current session, with the moments of its creation and of its last
    /// renewal; `None` if there is no session.
    pub(crate) fn session(&self, session: Option<(&SessionView, Moment, Moment)>) {
        self.notes().session = session.map(|(view, opened_at, renewed_at)| SessionNote {
            id: view.id.to_string(),
            fence: match view.fence {
                Fence::At(index) => Some(index),
                Fence::Unraised | Fence::Unusable => None,
            },
            cell: view.cell.clone(),
            opened_at,
            renewed_at,
        });
    }

    /// Sets why the session could not be created or renewed; `None` after a success.
    pub(crate) fn trouble(&self, trouble: Option<String>) {
        self.notes().trouble = trouble;
    }

    /// Adds a mishap of a key, or of the session if `key` is `None`.
    pub(crate) fn mishap(&self, key: Option<&Key>, what: String) {
        let now = self.clock.now();
        let mut notes = self.notes();
        // Keep one entry for a repeated mishap, with the time of its last occurrence.
        notes.mishaps.retain(|(_, of, known)| of.as_ref() != key || *known != what);
        notes.mishaps.push_front((now, key.cloned(), what));
        if notes.mishaps.len() > MOST_MISHAPS {
            // A lost session causes a mishap of every key. Drop those first, so that the
            // session's own entry stays.
            let of_key = notes.mishaps.iter().rposition(|(_, key, _)| key.is_some());
            notes.mishaps.remove(of_key.unwrap_or(MOST_MISHAPS));
        }
    }

    /// The key's last mishap, if it is recent.
    pub(crate) fn last_error(&self, key: &Key) -> Option<String> {
        let now = self.clock.now();
        let notes = self.notes();
        let mut recent = notes.mishaps.iter().filter(|(at, ..)| now.since(*at) < RECENT);
        recent.find(|(_, of, _)| of.as_ref() == Some(key)).map(|(.., what)| what.clone())
    }

    pub(crate) fn mishaps(&self) -> Vec<Mishap> {
        let now = self.clock.now();
        let mishap = |(at, key, what): &(Moment, Option<Key>, String)| Mishap {
            ago: now.since(*at),
            key: key.clone(),
            what: what.clone(),
        };
        self.notes().mishaps.iter().map(mishap).collect()
    }

    pub(crate) fn health(&self) -> HealthReport {
        let now = self.clock.now();
        let notes = self.notes();
        // The deadline decides: the runtime may not have noticed it yet.
        let session = notes.session.as_ref().and_then(|session| {
            let deadline = session.cell.deadline(now)?;
            Some(SessionReport {
                id: session.id.clone(),
                age: now.since(session.opened_at),
                renewed: now.since(session.renewed_at),
                remaining: deadline.since(now),
                fence: session.fence,
            })
        });
        HealthReport {
            live: self.pulse.beats(now),
            ready: session.is_some(),
            session,
            trouble: notes.trouble.clone(),
        }
    }

    /// Ignores poisoning: a panic leaves the notes readable.
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The moment of the last sign of life of the runtime's thread.
#[derive(Debug)]
struct Pulse(AtomicU64);

/// A thread without a beat for this long counts as stuck.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// The runtime was shut down.
const ENDED_WELL: u64 = u64::MAX;
/// The runtime ended without a shutdown.
const DEAD: u64 = 0;

impl Pulse {
    fn new(now: Moment) -> Self {
        Self(AtomicU64::new(now.as_nanos().max(1)))
    }

    fn beat(&self, now: Moment) {
        let beat = |seen| (seen != DEAD && seen != ENDED_WELL).then_some(now.as_nanos().max(1));
        // A beat after the end changes nothing.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, beat);
    }

    fn end(&self, orderly: bool) {
        self.0.store(if orderly { ENDED_WELL } else { DEAD }, Ordering::Release);
    }

    fn has_died(&self) -> bool {
        self.0.load(Ordering::Acquire) == DEAD
    }

    fn beats(&self, now: Moment) -> bool {
        match self.0.load(Ordering::Acquire) {
            DEAD => false,
            ENDED_WELL => true,
            seen => now.since(Moment::from_nanos(seen)) < LONGEST_SILENCE,
        }
    }
}

#[cfg(test)]
mod tests;
