//! The journal of a runtime: its current state and recent faults, readable from any
//! thread without waiting for the runtime's.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::{Clock, Moment},
    consul::fact::Fence,
    error::Error,
    escape::shortened,
    key::Key,
    logs,
    protocol::{cell::DeadlineCell, contest::News, session::SessionView},
    status::{
        findings::Preflight,
        history::History,
        report::{Change, HealthReport, Incident, Saturation, SessionReport, StuckJob},
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
    blocked: Option<String>,
    saturation: Option<Saturation>,
    /// Why periodic jobs are stuck.
    stuck: BTreeMap<Key, String>,
    preflight: Option<Preflight>,
    /// How the runtime's shutdown ended.
    end: Option<Result<(), Error>>,
    /// Newest first.
    incidents: VecDeque<(Moment, Option<Key>, String)>,
    history: History,
}

#[derive(Debug)]
struct SessionNote {
    id: String,
    fence: Option<u64>,
    cell: Arc<DeadlineCell>,
    opened_at: Moment,
    renewed_at: Moment,
}

/// The number of incidents that the journal keeps.
const MOST_INCIDENTS: usize = 20;
/// The longest text of an incident, in characters: a job's panic can quote anything.
const LONGEST_INCIDENT: usize = 2_000;
/// How long an incident counts as a key's last error.
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
        self.telemetry.ready(false);
        self.telemetry.in_use(0, 0);
        self.telemetry.oldest(Duration::ZERO, Duration::ZERO);
        self.notes().session = None;
    }

    /// Sets how the runtime's shutdown ended.
    pub(crate) fn set_end(&self, end: Result<(), Error>) {
        self.notes().end = Some(end);
    }

    /// How the runtime's shutdown ended; `None` if it did not end by one.
    pub(crate) fn end(&self) -> Option<Result<(), Error>> {
        self.notes().end.clone()
    }

    /// Whether the runtime ended without a shutdown.
    pub(crate) fn has_died(&self) -> bool {
        self.pulse.has_died()
    }

    /// Sets the current session, with the moments of its creation and of its last
    /// renewal; `None` if there is no session.
    pub(crate) fn set_session(&self, session: Option<(&SessionView, Moment, Moment)>) {
        self.telemetry.ready(session.is_some());
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

    /// Sets the result of the last preflight.
    pub(crate) fn set_preflight(&self, found: &Preflight) {
        self.notes().preflight = Some(found.clone());
    }

    pub(crate) fn last_preflight(&self) -> Option<Preflight> {
        self.notes().preflight.clone()
    }

    /// Sets why the session could not be created or renewed; `None` after a success. Returns
    /// whether trouble has begun or ended.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) -> bool {
        let is_trouble = trouble.is_some();
        let before = std::mem::replace(&mut self.notes().trouble, trouble);
        before.is_some() != is_trouble
    }

    /// Sets what an operator must mend before locks work. Returns whether it is new.
    pub(crate) fn set_blocked(&self, why: Option<&str>) -> bool {
        let before = std::mem::replace(&mut self.notes().blocked, why.map(str::to_owned));
        let is_new = why.is_some() && before.is_none();
        if let Some(why) = why.filter(|_| is_new) {
            self.add_incident(None, format!("no locks until an operator acts: {why}"));
        }
        is_new
    }

    /// Sets how many connections may watch keys now: fewer than configured while the
    /// agent refuses more.
    pub(crate) fn set_watch_connections(&self, now: Saturation) {
        let saturation = Some(now).filter(|now| now.allowed < now.most);
        let before = std::mem::replace(&mut self.notes().saturation, saturation);
        if before == saturation {
            return;
        }
        self.telemetry.watch_connections(now.allowed);
        match saturation {
            Some(now) if before.is_none_or(|before| now.allowed < before.allowed) => {
                self.telemetry.connection_refused();
                logs::warn!(
                    "{now}; changes of watched keys may be noticed later; other processes of this \
                     host may use up the agent's http_max_conns_per_client"
                );
                self.add_incident(None, now.to_string());
            }
            Some(_) => {}
            None => logs::info!("keys are watched over {} connections again", now.most),
        }
    }

    /// Adds an incident of a key, or of the session if `key` is `None`.
    pub(crate) fn add_incident(&self, key: Option<&Key>, what: String) {
        let what = shortened(&what, LONGEST_INCIDENT);
        let now = self.clock.now();
        let mut notes = self.notes();
        // Keep one entry for a repeated incident, with the time of its last occurrence.
        notes.incidents.retain(|(_, of, known)| of.as_ref() != key || *known != what);
        notes.incidents.push_front((now, key.cloned(), what));
        if notes.incidents.len() > MOST_INCIDENTS {
            // A lost session causes an incident of every key. Drop those first, so that the
            // session's own entry stays. The new one stays in any case.
            let mut earlier = notes.incidents.iter().skip(1);
            let of_key = earlier.rposition(|(_, key, _)| key.is_some());
            notes.incidents.remove(of_key.map_or(MOST_INCIDENTS, |place| place + 1));
        }
    }

    /// Sets why the key's periodic job is stuck; `None` if it is not. Returns whether it is
    /// stuck for a new reason.
    pub(crate) fn set_stuck(&self, key: &Key, why: Option<&str>) -> bool {
        let known = {
            let mut notes = self.notes();
            match why {
                Some(why) => notes.stuck.insert(key.clone(), why.to_owned()),
                None => notes.stuck.remove(key),
            }
        };
        let Some(why) = why.filter(|why| known.as_deref() != Some(*why)) else { return false };
        self.add_incident(Some(key), format!("the periodic job is stuck: {why}"));
        true
    }

    /// The key's last incident, if it is recent; otherwise what concerns every key: why
    /// no locks work, or the agent's saturation, which delays changes.
    pub(crate) fn last_error(&self, key: &Key) -> Option<String> {
        let now = self.clock.now();
        let notes = self.notes();
        let mut recent = notes.incidents.iter().filter(|(at, ..)| now.since(*at) < RECENT);
        let of_key = recent.find(|(_, of, _)| of.as_ref() == Some(key));
        of_key
            .map(|(.., what)| what.clone())
            .or_else(|| notes.blocked.clone())
            .or_else(|| notes.saturation.map(|saturation| saturation.to_string()))
    }

    /// Adds an event of a key to the history.
    pub(crate) fn news(&self, key: &Key, news: &News) {
        let now = self.clock.now();
        self.notes().history.add(now, key, news);
    }

    /// The last elections, depositions and losses.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let now = self.clock.now();
        self.notes().history.report(now)
    }

    pub(crate) fn incidents(&self) -> Vec<Incident> {
        let now = self.clock.now();
        let incident = |(at, key, what): &(Moment, Option<Key>, String)| Incident {
            ago: now.since(*at),
            key: key.clone(),
            what: what.clone(),
        };
        self.notes().incidents.iter().map(incident).collect()
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
            blocked: notes.blocked.clone(),
            stuck: (notes.stuck.iter())
                .map(|(key, why)| StuckJob { key: key.clone(), why: why.clone() })
                .collect(),
            saturation: notes.saturation,
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
