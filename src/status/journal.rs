//! What a runtime notes of itself, so that others can ask without waiting for its
//! thread.

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
        report::{HealthReport, Incident, Saturation, SessionReport},
        telemetry::Telemetry,
    },
};

/// The notes of one runtime.
#[derive(Debug)]
pub(crate) struct Record {
    clock: Clock,
    telemetry: Telemetry,
    pulse: Pulse,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    session: Option<SessionNote>,
    trouble: Option<String>,
    saturation: Option<Saturation>,
    /// The newest first.
    incidents: VecDeque<(Moment, Option<Key>, String)>,
}

#[derive(Debug)]
struct SessionNote {
    id: String,
    fence: Option<u64>,
    cell: Arc<DeadlineCell>,
    opened_at: Moment,
    renewed_at: Moment,
}

/// How many incidents are remembered.
const MOST_INCIDENTS: usize = 20;
/// For how long an incident counts as a key's last error.
const RECENT: Duration = Duration::from_secs(600);

impl Record {
    pub(crate) fn new(clock: Clock, telemetry: Telemetry) -> Self {
        Self { clock, telemetry, pulse: Pulse::new(clock.now()), notes: Mutex::default() }
    }

    /// Where numbers are counted.
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The runtime's thread runs.
    pub(crate) fn beat(&self) {
        self.pulse.beat(self.clock.now());
    }

    /// The runtime has ended, in good order or not.
    pub(crate) fn ended(&self, orderly: bool) {
        self.pulse.end(orderly);
        self.telemetry.in_use(0, 0);
        self.notes().session = None;
    }

    /// Whether the runtime has ended otherwise than it was asked to.
    pub(crate) fn has_died(&self) -> bool {
        self.pulse.has_died()
    }

    /// There is this session, opened at and last renewed at those moments; or none.
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

    /// The session could not be created or renewed; or it can be again.
    pub(crate) fn trouble(&self, trouble: Option<String>) {
        self.notes().trouble = trouble;
    }

    /// How many connections may be used to watch keys. Fewer than configured while
    /// the agent takes no more.
    pub(crate) fn watch_connections(&self, now: Saturation) {
        let saturation = Some(now).filter(|now| now.allowed < now.most);
        let before = std::mem::replace(&mut self.notes().saturation, saturation);
        if before == saturation {
            return;
        }
        self.telemetry.watch_connections(now.allowed);
        match saturation {
            Some(now) if before.is_none_or(|before| now.allowed < before.allowed) => {
                self.telemetry.connection_refused();
                tracing::warn!(
                    "{now}: other processes of this host may use the agent's \
                     http_max_conns_per_client; keys are watched over fewer connections, and their \
                     changes may be noticed later"
                );
                self.incident(None, now.to_string());
            }
            Some(_) => {}
            None => tracing::info!("keys are watched over {} connections again", now.most),
        }
    }

    /// Something went wrong, with a key or the session.
    pub(crate) fn incident(&self, key: Option<&Key>, what: String) {
        let now = self.clock.now();
        let mut notes = self.notes();
        // What goes on going wrong is one incident, at its last moment.
        notes.incidents.retain(|(_, of, known)| of.as_ref() != key || *known != what);
        notes.incidents.push_front((now, key.cloned(), what));
        if notes.incidents.len() > MOST_INCIDENTS {
            // A session takes all its keys with it: why it ended must not drown in them.
            let of_key = notes.incidents.iter().rposition(|(_, key, _)| key.is_some());
            notes.incidents.remove(of_key.unwrap_or(MOST_INCIDENTS));
        }
    }

    /// What last went wrong with the key, if that is recent; else what delays the
    /// news of every key.
    pub(crate) fn last_error(&self, key: &Key) -> Option<String> {
        let now = self.clock.now();
        let notes = self.notes();
        let mut recent = notes.incidents.iter().filter(|(at, ..)| now.since(*at) < RECENT);
        let of_key = recent.find(|(_, of, _)| of.as_ref() == Some(key));
        of_key
            .map(|(.., what)| what.clone())
            .or_else(|| notes.saturation.map(|saturation| saturation.to_string()))
    }

    pub(crate) fn incidents(&self) -> Vec<Incident> {
        let now = self.clock.now();
        let told = |(at, key, what): &(Moment, Option<Key>, String)| Incident {
            ago: now.since(*at),
            key: key.clone(),
            what: what.clone(),
        };
        self.notes().incidents.iter().map(told).collect()
    }

    pub(crate) fn health(&self) -> HealthReport {
        let now = self.clock.now();
        let notes = self.notes();
        // By the clock: nobody may have noticed yet that it has ended.
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
            saturation: notes.saturation,
        }
    }

    /// A panic elsewhere leaves notes that can be read all the same.
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the runtime's thread was last seen to run.
#[derive(Debug)]
struct Pulse(AtomicU64);

/// After how long without a beat the thread counts as stuck.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// It ended as it was asked to.
const ENDED_WELL: u64 = u64::MAX;
/// It ended otherwise.
const DEAD: u64 = 0;

impl Pulse {
    fn new(now: Moment) -> Self {
        Self(AtomicU64::new(now.as_nanos().max(1)))
    }

    fn beat(&self, now: Moment) {
        let beat = |seen| (seen != DEAD && seen != ENDED_WELL).then_some(now.as_nanos().max(1));
        // After the end nothing beats any more.
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
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_thread_that_is_silent_for_ten_seconds_is_stuck_until_it_beats_again() {
        let pulse = Pulse::new(at(100));
        assert!(pulse.beats(at(109)));
        assert!(!pulse.beats(at(110)));
        pulse.beat(at(111));
        assert!(pulse.beats(at(112)));
        assert!(pulse.beats(at(105)), "asked with a clock reading from before the beat");
    }

    #[test]
    fn an_end_in_good_order_is_no_reason_for_a_restart_and_any_other_is() {
        let (well, badly) = (Pulse::new(at(1)), Pulse::new(at(1)));
        well.end(true);
        badly.end(false);
        badly.beat(at(2));
        assert!(well.beats(at(1_000)));
        assert!(!badly.beats(at(2)));
    }

    #[test]
    fn an_agent_without_connections_shows_in_health_and_with_every_key_until_it_has_some() {
        let record = Record::new(Clock::Boot, Telemetry::new("test", false));
        let key = Key::new("k").unwrap();
        record.watch_connections(Saturation { allowed: 6, most: 6 });
        assert_eq!((record.health().saturation, record.incidents().len()), (None, 0));
        let saturated = Saturation { allowed: 3, most: 6 };
        record.watch_connections(saturated);
        record.watch_connections(saturated);
        assert_eq!(record.health().saturation, Some(saturated));
        assert!(record.last_error(&key).unwrap().contains("3 of 6"));
        assert_eq!(record.incidents().len(), 1);
        record.watch_connections(Saturation { allowed: 6, most: 6 });
        assert_eq!((record.health().saturation, record.last_error(&key)), (None, None));
    }

    #[test]
    fn incidents_are_bounded_and_a_repeated_one_is_told_once() {
        let record = Record::new(Clock::Boot, Telemetry::new("test", false));
        let key = Key::new("k").unwrap();
        record.incident(None, "session lost".into());
        for count in 0..50 {
            let other = Key::new(format!("{count}")).unwrap();
            record.incident(Some(&other), "lost".into());
            record.incident(Some(&key), "again".into());
        }
        let incidents = record.incidents();
        assert_eq!(incidents.len(), MOST_INCIDENTS);
        assert_eq!((incidents[0].key.as_ref(), incidents[0].what.as_str()), (Some(&key), "again"));
        assert_eq!(incidents[1].key.as_ref().map(Key::as_str), Some("49"));
        assert_eq!(incidents.iter().filter(|incident| incident.what == "again").count(), 1);
        assert_eq!(incidents.last().map(|incident| incident.what.as_str()), Some("session lost"));
        assert_eq!(record.last_error(&key).as_deref(), Some("again"));
        assert_eq!(record.last_error(&Key::new("other").unwrap()), None);
    }
}
