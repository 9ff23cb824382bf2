//! Sessions: their creation, renewal and end, and how the end affects the keys
//! that they hold.

use std::{fmt::Write as _, time::Duration};

use super::{super::golang, EmbeddedRight, Engine, Expiry, Fault, LockDelay, SERF_HEALTH};
use crate::{clock::Moment, consul::fact::SessionId};

/// The longest lock-delay that the server enforces.
const MAX_LOCK_DELAY: Duration = Duration::from_secs(60);

const MIN_TTL: i64 = 10_000_000_000;
const MAX_TTL: i64 = 86_400_000_000_000;

/// What happens to a session's keys at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionBehavior {
    Release,
    Delete,
}

impl SessionBehavior {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Delete => "delete",
        }
    }
}

/// A client's request to create a session.
#[derive(Clone, Debug)]
pub(crate) struct SessionDraft {
    pub(crate) name: String,
    /// `None` selects the agent's own node.
    pub(crate) node: Option<String>,
    /// In nanoseconds; zero or less means none.
    pub(crate) lock_delay: i64,
    pub(crate) behavior: String,
    /// The TTL as the client wrote it, which Consul echoes.
    pub(crate) ttl: String,
    pub(crate) node_checks: Option<Vec<String>>,
    pub(crate) service_checks: Option<Vec<String>>,
}

impl Default for SessionDraft {
    fn default() -> Self {
        Self {
            name: String::new(),
            node: None,
            lock_delay: 15_000_000_000,
            behavior: String::new(),
            ttl: String::new(),
            node_checks: Some(vec![SERF_HEALTH.into()]),
            service_checks: None,
        }
    }
}

/// A live session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) name: String,
    /// In nanoseconds, as the client gave it.
    pub(crate) lock_delay: i64,
    pub(crate) behavior: SessionBehavior,
    /// The TTL as the client wrote it.
    pub(crate) ttl_text: String,
    /// `None` if the session does not expire.
    pub(crate) ttl: Option<Duration>,
    pub(crate) node_checks: Option<Vec<String>>,
    pub(crate) service_checks: Option<Vec<String>>,
    pub(crate) create_index: u64,
    /// When it expires unless it is renewed.
    pub(super) expires: Option<Moment>,
}

impl Engine {
    /// Creates a session.
    pub(crate) fn create_session(
        &mut self,
        now: Moment,
        draft: SessionDraft,
    ) -> Result<SessionId, Fault> {
        self.advance(now);
        if draft.node.as_deref() == Some("") {
            return Err(Fault::MissingNode);
        }
        let behavior = match &*draft.behavior {
            "" | "release" => SessionBehavior::Release,
            "delete" => SessionBehavior::Delete,
            _ => return Err(Fault::InvalidBehavior(draft.behavior)),
        };
        let ttl = match &*draft.ttl {
            "" => 0,
            text => golang::parse_duration(text)
                .map_err(|why| Fault::UnreadableTtl(draft.ttl.clone(), why))?,
        };
        if ttl != 0 && !(MIN_TTL..=MAX_TTL).contains(&ttl) {
            return Err(Fault::TtlOutOfRange(ttl));
        }
        // A restored snapshot can contain the sessions of another agent with the same seed.
        let mut id = self.draw_id();
        while self.store.sessions.contains_key(&id) {
            id = self.draw_id();
        }
        let index = self.next_index();
        if draft.node.as_deref().is_some_and(|node| node != &*self.settings.node) {
            return Err(Fault::NodeNotRegistered);
        }
        for check in draft.node_checks.iter().chain(&draft.service_checks).flatten() {
            if check != SERF_HEALTH {
                return Err(Fault::MissingCheck(check.clone()));
            }
            if self.serf_health_critical {
                return Err(Fault::CriticalCheck(check.clone()));
            }
        }
        let session = Session {
            name: draft.name,
            lock_delay: draft.lock_delay,
            behavior,
            ttl_text: draft.ttl,
            ttl: u64::try_from(ttl).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos),
            node_checks: draft.node_checks,
            service_checks: draft.service_checks,
            create_index: index,
            expires: None,
        };
        self.store.sessions.insert(id.clone(), session);
        self.start_timer(&id);
        self.store.session_index = index;
        self.version += 1;
        Ok(id)
    }

    /// Restarts a session's timer; returns `None` if the session does not exist.
    ///
    /// A renewal is not written to raft, so no index moves.
    pub(crate) fn renew_session(
        &mut self,
        now: Moment,
        id: &str,
    ) -> Result<Option<(SessionId, &Session)>, Fault> {
        self.advance(now);
        let Some(id) = self.find_session(id)? else { return Ok(None) };
        self.start_timer(&id);
        Ok(self.store.sessions.get(&id).map(|session| (id, session)))
    }

    /// Ends a session if it exists.
    pub(crate) fn destroy_session(&mut self, now: Moment, id: &str) -> Result<(), Fault> {
        self.advance(now);
        let found = self.find_session(id)?;
        let index = self.next_index();
        if let Some(id) = found {
            self.end_session(&id, index);
        }
        Ok(())
    }

    /// The session with this id.
    pub(crate) fn session(&self, id: &SessionId) -> Option<&Session> {
        self.store.sessions.get(id)
    }

    /// All sessions, sorted by id.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.store.sessions.iter()
    }

    /// The sessions that clients may read, sorted by id.
    pub(crate) fn shown_sessions(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        let is_shown = !self.lacks(EmbeddedRight::SessionRead);
        self.sessions().take_while(move |_| is_shown)
    }

    /// The index at which a session was last created or ended.
    pub(crate) fn session_index(&self) -> u64 {
        self.store.session_index
    }

    /// Finds a session by a client's spelling of its id, ignoring case.
    pub(crate) fn find_session(&self, id: &str) -> Result<Option<SessionId>, Fault> {
        let wanted = SessionId::from(id);
        if self.store.sessions.contains_key(&wanted) {
            return Ok(Some(wanted));
        }
        check_uuid(id).map_err(Fault::SessionLookup)?;
        let lower = SessionId::from(&*id.to_ascii_lowercase());
        Ok(self.store.sessions.contains_key(&lower).then_some(lower))
    }

    /// Restarts a session's timer.
    pub(super) fn start_timer(&mut self, id: &SessionId) {
        let Some(session) = self.store.sessions.get_mut(id) else { return };
        if let Some(old) = session.expires.take() {
            self.timers.remove(&(old, id.clone()));
        }
        if let Some(ttl) = session.ttl {
            let factor = match self.settings.expiry {
                Expiry::TwiceTtl => 2,
                Expiry::Ttl => 1,
            };
            let due = self.now + ttl * factor;
            session.expires = Some(due);
            self.timers.insert((due, id.clone()));
        }
    }

    /// Ends a session: releases or deletes its keys and starts their lock-delay.
    pub(super) fn end_session(&mut self, id: &SessionId, index: u64) {
        let Some(session) = self.store.sessions.remove(id) else { return };
        if let Some(due) = session.expires {
            self.timers.remove(&(due, id.clone()));
        }
        self.store.session_index = index;
        self.version += 1;
        let held: Vec<Vec<u8>> = self
            .store
            .pairs
            .iter()
            .filter(|(_, pair)| pair.session.as_ref().is_some_and(|holder| same_id(holder, id)))
            .map(|(key, _)| key.clone())
            .collect();
        let span = u64::try_from(session.lock_delay)
            .map_or(Duration::ZERO, Duration::from_nanos)
            .min(MAX_LOCK_DELAY);
        let now = self.now;
        self.delays.retain(|_, delay| delay.until > now);
        for key in held {
            match session.behavior {
                SessionBehavior::Release => {
                    if let Some(pair) = self.store.pairs.get_mut(&key) {
                        pair.session = None;
                        pair.modify_index = index;
                        self.store.kv_index = index;
                        self.touch(&key);
                    }
                }
                SessionBehavior::Delete => self.remove_pair(&key, index, None),
            }
            if !span.is_zero() {
                self.delays.insert(key, LockDelay { until: now + span, span });
            }
        }
    }

    #[cfg(test)]
    fn count_up(&mut self) -> u64 {
        self.random += 1;
        self.random
    }

    /// Creates a random id in the format of a UUID.
    fn draw_id(&mut self) -> SessionId {
        let (high, low) = (self.draw(), self.draw());
        #[cfg(test)]
        let high = if self.settings.is_steady { self.count_up() << 32 } else { high };
        let mut id = String::with_capacity(36);
        // Writing to a `String` cannot fail.
        let _ = write!(
            id,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFFF,
            low >> 48,
            low & 0xFFFF_FFFF_FFFF
        );
        SessionId::from(&*id)
    }
}

fn same_id(a: &SessionId, b: &SessionId) -> bool {
    a.as_str().eq_ignore_ascii_case(b.as_str())
}

/// Checks that `id` is a UUID.
///
/// # Errors
/// The error text of Consul's database.
fn check_uuid(id: &str) -> Result<(), String> {
    if id.len() != 36 {
        return Err("UUID must be 36 characters".into());
    }
    let hyphens = id.bytes().filter(|byte| *byte == b'-').count();
    if hyphens > 4 {
        return Err(format!("UUID should have maximum of 4 \"-\"; got {hyphens}"));
    }
    if hyphens % 2 != 0 {
        return Err("Input (without hyphens) must be even length".into());
    }
    match id.bytes().find(|byte| *byte != b'-' && !byte.is_ascii_hexdigit()) {
        None => Ok(()),
        Some(byte) => Err(format!(
            "Invalid UUID: encoding/hex: invalid byte: U+{byte:04X} '{}'",
            char::from(byte)
        )),
    }
}

#[cfg(test)]
mod tests;
