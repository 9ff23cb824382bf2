//! What a runtime tells of itself.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

use crate::{
    key::Key,
    ownership::{Holder, KeyState},
    token::FencingToken,
};

/// Whether the runtime works: the reply of [`Dsync::health`](crate::Dsync::health).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// False only if this process should be restarted: the runtime's thread is
    /// dead, or was not seen to run for 10 s. It stays true while Consul cannot be
    /// reached, and after a shutdown. After a suspend it can be false for a
    /// moment: ask more than once.
    pub live: bool,
    /// Whether locks can be had: there is a session. A process that leads nothing
    /// and holds nothing is as ready as any other.
    pub ready: bool,
    /// The Consul session, if there is one.
    pub session: Option<SessionReport>,
    /// Why the last request to create or renew the session failed, if none has
    /// gone well since.
    pub trouble: Option<String>,
    /// Set while the agent takes fewer connections than this process may use to
    /// watch keys. Locks stay safe; changes may be noticed later.
    pub saturation: Option<Saturation>,
}

/// The agent takes no more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Saturation {
    /// Connections that are used to watch keys at most now.
    pub allowed: usize,
    /// Connections that [`Limits::connections`](crate::Limits::connections) leaves
    /// for that.
    pub most: usize,
}

impl fmt::Display for Saturation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allowed, most } = self;
        write!(f, "the Consul agent takes no more connections: {allowed} of {most} watch keys")
    }
}

/// A Consul session, as its process knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionReport {
    /// Its id.
    pub id: String,
    /// How long ago it was asked for.
    #[serde(rename = "age_ms", serialize_with = "millis")]
    pub age: Duration,
    /// How long ago the newest renewal was sent that Consul answered well.
    #[serde(rename = "renewed_ms", serialize_with = "millis")]
    pub renewed: Duration,
    /// For how long everything held under it stays held if no further renewal is
    /// answered.
    #[serde(rename = "remaining_ms", serialize_with = "millis")]
    pub remaining: Duration,
    /// The index of its fence entry, if late lock requests had to be made void.
    pub fence: Option<u64>,
}

/// What this process knows of a key: the reply to [`Explain`](crate::Explain).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyReport {
    /// The key.
    pub key: Key,
    /// What this process does about it.
    pub state: KeyState,
    /// Whether this process leads by it or campaigns for it, if it is a matter of
    /// leadership here.
    pub role: Option<Role>,
    /// The token of the lease or term that is out, while it is valid.
    pub token: Option<FencingToken>,
    /// For how long that stays valid if no further renewal is answered.
    #[serde(rename = "remaining_ms", serialize_with = "optional_millis")]
    pub remaining: Option<Duration>,
    /// Who has the key: this process, or whom it last saw.
    pub holder: Option<Holder>,
    /// How many callers of this process wait for it.
    pub waiters: usize,
    /// What last went wrong with it, if that is recent.
    pub last_error: Option<String>,
    /// How soon another process has the key at the latest if this one, holding
    /// it, dies: as [`Timing::failover`](crate::Timing::failover).
    #[serde(rename = "failover_ms", serialize_with = "millis")]
    pub failover: Duration,
}

/// What a process is in the election for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// It leads.
    Leader,
    /// It campaigns, and somebody else leads, or nobody.
    Candidate,
    /// It follows who leads, without campaigning.
    Observer,
}

/// Everything at one moment: the reply to [`List`](crate::List).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The service, as the session is named.
    pub service: String,
    /// Whether the runtime works, and its session.
    pub health: HealthReport,
    /// How long a renewal proves ownership: as [`Timing::lease`](crate::Timing::lease).
    #[serde(rename = "lease_ms", serialize_with = "millis")]
    pub lease: Duration,
    /// How soon another process has a key at the latest if this one dies: as
    /// [`Timing::failover`](crate::Timing::failover).
    #[serde(rename = "failover_ms", serialize_with = "millis")]
    pub failover: Duration,
    /// Every key that is in use, in order.
    pub keys: Vec<KeyReport>,
    /// What went wrong lately, the newest first; at most 20.
    pub incidents: Vec<Incident>,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Incident {
    /// How long ago.
    #[serde(rename = "ago_ms", serialize_with = "millis")]
    pub ago: Duration,
    /// With which key; `None` if with the session.
    pub key: Option<Key>,
    /// What.
    pub what: String,
}

fn millis<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn optional_millis<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => millis(span, to),
        None => to.serialize_none(),
    }
}

/// As text, for logs and terminals.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, health, keys, incidents, .. } = self;
        let or_not = |holds| if holds { "" } else { "not " };
        write!(f, "{service}: {}ready, {}live", or_not(health.ready), or_not(health.live))?;
        if let Some(trouble) = &health.trouble {
            write!(f, "; {trouble}")?;
        }
        if let Some(saturation) = &health.saturation {
            write!(f, "; {saturation}")?;
        }
        writeln!(f)?;
        match &health.session {
            Some(SessionReport { id, age, renewed, remaining, .. }) => writeln!(
                f,
                "session {id}: {age:.0?} old, renewed {renewed:.1?} ago, sure for {remaining:.1?}"
            )?,
            None => writeln!(f, "no session")?,
        }
        for key in keys {
            writeln!(f, "{key}")?;
        }
        for Incident { ago, key, what } in incidents {
            let key = key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
            writeln!(f, "{ago:.1?} ago: {key}{what}")?;
        }
        Ok(())
    }
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.state)?;
        if let Some(role) = self.role {
            write!(f, ", {role}")?;
        }
        if let (Some(token), Some(remaining)) = (self.token, self.remaining) {
            write!(f, ", token {token}, sure for {remaining:.1?}")?;
        } else if let Some(holder) = &self.holder {
            write!(f, ", held by {holder}")?;
        }
        if self.waiters > 0 {
            write!(f, ", {} waiting", self.waiters)?;
        }
        if let Some(error) = &self.last_error {
            write!(f, "; {error}")?;
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
