//! Reports on a runtime.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{
    escape::Escaped,
    key::Key,
    ownership::{Holder, KeyState, LossReason},
    status::{
        findings::Preflight,
        millis::{millis, optional_millis},
        why::Why,
    },
    token::FencingToken,
};

/// The health of the runtime: the result of [`Dsync::health`](crate::Dsync::health).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// False only if this process should be restarted: the runtime's thread has
    /// died, or has shown no sign of life for 10 s. Stays true while Consul is
    /// unreachable, and after a shutdown. Can be false for a moment after a suspend,
    /// so check more than once.
    pub live: bool,
    /// Whether locks can be acquired: a session exists. A process that neither leads
    /// nor holds anything can be ready.
    pub ready: bool,
    /// The Consul session, if one exists.
    pub session: Option<SessionReport>,
    /// Why the last request to create or renew the session failed; `None` once one
    /// has succeeded.
    pub trouble: Option<String>,
    /// Set while no session works until an operator acts, with what to do: Consul has denied
    /// the session, or not known the ACL token, for 30 s; a round trip to Consul takes
    /// longer than the request timeout; the servers refuse the TTL. Alert on it, and on
    /// [`ready`](Self::ready): a login that is refused, an address that is not Consul's and a
    /// configured check that does not exist are only in [`trouble`](Self::trouble). `live`
    /// stays true, since a restart does not help. The runtime keeps trying.
    pub blocked: Option<String>,
    /// The periodic jobs that this process leads and that are blocked until an operator
    /// acts: see [`Dsync::every`](crate::Dsync::every). Alert on them. They change neither
    /// `live` nor `ready`: a restart does not help, and locks can be acquired.
    pub stuck: Vec<StuckJob>,
    /// Set while the agent accepts fewer connections than this process may use to watch
    /// keys. Locks stay safe; changes may be noticed later.
    pub saturation: Option<Saturation>,
}

/// A periodic job that is blocked until an operator acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StuckJob {
    /// The job's key.
    pub key: Key,
    /// Why the job is blocked, and what to do.
    pub why: String,
}

/// The agent refuses further connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Saturation {
    /// The number of connections that may watch keys now.
    pub allowed: usize,
    /// The number that [`Limits::connections`](crate::config::Limits::connections) reserves for
    /// watching.
    pub most: usize,
}

impl fmt::Display for Saturation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allowed, most } = self;
        write!(f, "the Consul agent takes no more connections: {allowed} of {most} watch keys")
    }
}

/// A Consul session, as known to its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionReport {
    /// The session's id.
    pub id: String,
    /// The time since its creation was requested.
    #[serde(rename = "age_ms", serialize_with = "millis")]
    pub age: Duration,
    /// The time since the newest successful renewal was sent.
    #[serde(rename = "renewed_ms", serialize_with = "millis")]
    pub renewed: Duration,
    /// How long everything held under it stays held if no further renewal succeeds.
    #[serde(rename = "remaining_ms", serialize_with = "millis")]
    pub remaining: Duration,
    /// The index of its entry `.dsync/<id>`, which voids lock requests that arrive late. `None`
    /// if the token may not write the entry: locks then do not check it.
    pub fence: Option<u64>,
}

/// The state of a key in this process: the reply to [`Explain`](crate::Explain).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyReport {
    /// The key.
    pub key: Key,
    /// What this process is doing about the key.
    pub state: KeyState,
    /// This process's role in the election for the key; `None` if nobody here
    /// campaigns for it or observes it.
    pub role: Option<Role>,
    /// The token of the current lease or term, while it is valid.
    pub token: Option<FencingToken>,
    /// How long that lease or term stays valid if no further renewal succeeds.
    #[serde(rename = "remaining_ms", serialize_with = "optional_millis")]
    pub remaining: Option<Duration>,
    /// How long the caller or the term has held the key.
    #[serde(rename = "held_ms", serialize_with = "optional_millis")]
    pub held: Option<Duration>,
    /// The holder of the key: this process, or the one that it last read.
    pub holder: Option<Holder>,
    /// The number of callers of this process that wait for the key.
    pub waiters: usize,
    /// How long the first of them has waited.
    #[serde(rename = "waited_ms", serialize_with = "optional_millis")]
    pub waited: Option<Duration>,
    /// Why those who want the key do not have it. `None` if nobody wants it, or a request
    /// for it is on its way.
    pub why: Option<Why>,
    /// What obstructs the key now; otherwise its last incident, if it is less than 10 minutes
    /// old; otherwise what concerns every key: why no locks work, or the agent's saturation.
    pub last_error: Option<String>,
}

/// A process's role in the election for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// It leads.
    Leader,
    /// It campaigns and does not lead.
    Candidate,
    /// It follows the leader without campaigning.
    Observer,
}

/// The whole runtime at one moment: the reply to [`List`](crate::List).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The service's name. The session's is this name, `#` and a number.
    pub service: String,
    /// The runtime's health, with its session.
    pub health: HealthReport,
    /// How long one renewal proves ownership: as
    /// [`Timing::lease`](crate::Timing::lease).
    #[serde(rename = "lease_ms", serialize_with = "millis")]
    pub lease: Duration,
    /// The longest time until another process can acquire a key if this one dies: as
    /// [`Timing::failover`](crate::Timing::failover).
    #[serde(rename = "failover_ms", serialize_with = "millis")]
    pub failover: Duration,
    /// Every key in use, sorted.
    pub keys: Vec<KeyReport>,
    /// The last elections, depositions and losses, the newest first; at most 20.
    pub changes: Vec<Change>,
    /// The last [`Dsync::preflight`](crate::Dsync::preflight), if one has run.
    pub preflight: Option<Preflight>,
    /// What went wrong lately, the newest first; at most 20.
    pub incidents: Vec<Incident>,
}

/// An election, a deposition or a loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// How long ago.
    #[serde(rename = "ago_ms", serialize_with = "millis")]
    pub ago: Duration,
    /// The key.
    pub key: Key,
    /// What happened.
    pub what: What,
    /// The token of the term or lease.
    pub token: FencingToken,
    /// Why it ended; `None` for an election.
    pub reason: Option<LossReason>,
}

/// The kind of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// This process was elected.
    Elected,
    /// Its term ended.
    Deposed,
    /// It lost a lock that was no term.
    Lost,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elected => "elected",
            Self::Deposed => "deposed",
            Self::Lost => "lost",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ago, key, what, token, reason } = self;
        write!(f, "{ago:.1?} ago: {key}: {what}, token {token}")?;
        reason.map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Incident {
    /// How long ago.
    #[serde(rename = "ago_ms", serialize_with = "millis")]
    pub ago: Duration,
    /// The key concerned; `None` if it is the session.
    pub key: Option<Key>,
    /// What went wrong.
    pub what: String,
}

/// The report as text, for logs and terminals.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, health, keys, changes, preflight, incidents, .. } = self;
        let or_not = |holds| if holds { "" } else { "not " };
        let (ready, live) = (or_not(health.ready), or_not(health.live));
        write!(f, "{}: {ready}ready, {live}live", Escaped(service))?;
        if let Some(trouble) = &health.trouble {
            write!(f, "; {}", Escaped(trouble))?;
        }
        if let Some(saturation) = &health.saturation {
            write!(f, "; {saturation}")?;
        }
        writeln!(f)?;
        match &health.session {
            Some(session) => writeln!(f, "session {session}")?,
            None => writeln!(f, "no session")?,
        }
        if let Some(blocked) = &health.blocked {
            writeln!(f, "no locks until an operator acts: {}", Escaped(blocked))?;
        }
        for job in &health.stuck {
            writeln!(f, "{job}")?;
        }
        for key in keys {
            writeln!(f, "{key}")?;
        }
        for change in changes {
            writeln!(f, "{change}")?;
        }
        if let Some(preflight) = preflight {
            preflight.fmt(f)?;
        }
        for incident in incidents {
            writeln!(f, "{incident}")?;
        }
        Ok(())
    }
}

impl fmt::Display for SessionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, age, renewed, remaining, .. } = self;
        write!(f, "{id}: {age:.0?} old, renewed {renewed:.1?} ago, lease left {remaining:.1?}")
    }
}

impl fmt::Display for StuckJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, why } = self;
        write!(f, "the periodic job {key} is stuck: {}", Escaped(why))
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ago, key, what } = self;
        let key = key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
        write!(f, "{ago:.1?} ago: {key}{}", Escaped(what))
    }
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.state)?;
        if let Some(role) = self.role {
            write!(f, ", {role}")?;
        }
        if let (Some(token), Some(remaining)) = (self.token, self.remaining) {
            write!(f, ", token {token}, lease left {remaining:.1?}")?;
        } else if let Some(holder) = self.holder.as_ref().filter(|_| self.why.is_none()) {
            write!(f, ", held by {holder}")?;
        }
        if let Some(held) = self.held {
            write!(f, ", held for {held:.1?}")?;
        }
        if self.waiters > 0 {
            write!(f, ", {} waiting", self.waiters)?;
        }
        if let Some(waited) = self.waited {
            write!(f, ", the first for {waited:.1?}")?;
        }
        if let Some(why) = &self.why {
            write!(f, "; {why}")?;
        }
        let is_told =
            |error: &&String| self.why.as_ref().is_some_and(|why| why.text.contains(&**error));
        if let Some(error) = self.last_error.as_ref().filter(|error| !is_told(error)) {
            write!(f, "; {}", Escaped(error))?;
        }
        Ok(())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::Candidate => "candidate",
            Self::Observer => "observer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        escape::is_printable,
        status::{
            findings::{Check, Verdict},
            why::Hindrance,
        },
    };

    #[test]
    fn each_line_of_a_report_is_its_own_whatever_others_wrote() {
        let wild = "\u{1b}[2Jall is well\r\norders: ready\u{202e}";
        let holder = Holder::of_text(wild);
        let key = Key::new("k").unwrap();
        let mut preflight = Preflight::new();
        preflight.add(Check::Agent, Verdict::Failed, wild);
        preflight.policy = Some(wild.into());
        let report = Report {
            service: wild.into(),
            health: HealthReport {
                live: true,
                ready: true,
                session: None,
                trouble: Some(wild.into()),
                blocked: Some(wild.into()),
                stuck: vec![StuckJob { key: key.clone(), why: wild.into() }],
                saturation: None,
            },
            lease: Duration::ZERO,
            failover: Duration::ZERO,
            keys: vec![
                KeyReport {
                    key: key.clone(),
                    state: KeyState::Waiting,
                    role: None,
                    token: None,
                    remaining: None,
                    held: None,
                    holder: Some(holder),
                    waiters: 1,
                    waited: None,
                    why: None,
                    last_error: Some(wild.into()),
                },
                KeyReport {
                    key: key.clone(),
                    state: KeyState::Waiting,
                    role: None,
                    token: None,
                    remaining: None,
                    held: None,
                    holder: None,
                    waiters: 1,
                    waited: Some(Duration::ZERO),
                    why: Some(Why::new(Hindrance::Held, wild)),
                    last_error: None,
                },
            ],
            changes: Vec::new(),
            preflight: Some(preflight),
            incidents: vec![Incident { ago: Duration::ZERO, key: Some(key), what: wild.into() }],
        };
        let text = report.to_string();
        assert_eq!(text.lines().count(), 12, "{text:?}");
        assert!(text.lines().all(|line| line.chars().all(is_printable)), "{text:?}");
        assert!(
            text.contains("saying \\u{1b}[2Jall is well\\r\\norders: ready\\u{202e}"),
            "{text}"
        );
    }
}
