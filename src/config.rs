//! The settings, their defaults and their limits.

mod environment;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{error::ConfigError, key::fault_of_path, secret::Secret};

/// HashiCorp's flags for lock keys, which `consul lock` and the Go client write.
pub const HASHICORP_LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;

/// The settings of a lock runtime.
///
/// Every field has a default; a configuration file can omit it. Durations are text:
/// `"15s"`, `"1m 30s"`, `"500ms"`. An unknown field is an error.
///
/// ```
/// let config: actix_dsync::Config = serde_json::from_str(
///     r#"{ "address": "consul.internal:8500", "timing": { "session_ttl": "30s" } }"#,
/// )?;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The address of the Consul agent: `http://host:port`, `https://host:port`, or
    /// `host:port` as in `CONSUL_HTTP_ADDR`. Prefer the agent on the same host: a session
    /// ends with the node of the agent that created it.
    ///
    /// Default: `http://127.0.0.1:8500`.
    pub address: String,
    /// The ACL token. It needs `key:write` below the prefix and `session:write` on the
    /// agent's node. Without `session:read`, a session whose creation was not answered
    /// stays until its TTL. The token is never printed. Leading and trailing white space,
    /// such as the line break at the end of a mounted file, is ignored.
    ///
    /// Default: none.
    #[serde(skip_serializing)]
    pub token: Option<Secret>,
    /// The path below which every key lies; a `/` separates them. At most 256 bytes;
    /// the rules of a [`Key`](crate::Key) apply.
    ///
    /// Default: none.
    pub prefix: Option<String>,
    /// How long sessions live and how soon a dead holder's locks pass on.
    pub timing: Timing,
    /// Whether a release deletes the key or keeps it.
    ///
    /// Default: [`Retention::Delete`].
    pub retention: Retention,
    /// The resources that this process may use.
    pub limits: Limits,
    /// The flags that mark a key as a lock of this service. A request for a key with other
    /// flags fails with [`Error::FlagConflict`](crate::Error::FlagConflict) and leaves the
    /// key unchanged.
    ///
    /// Default: [`HASHICORP_LOCK_FLAGS`].
    pub flags: u64,
    /// Names of node checks that end the session when they turn critical, such as
    /// `serfHealth`. Without any, only the TTL, the node's departure and an operator end
    /// it. The lock-delay protects the holder in each case.
    ///
    /// Default: none.
    pub node_checks: Vec<String>,
    /// Whether metrics by key carry the label `key`; needs the feature `metrics`. Set it
    /// only if keys are few and fixed: the recorder keeps every key ever locked.
    ///
    /// Default: `false`.
    pub metrics_by_key: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "http://127.0.0.1:8500".into(),
            token: None,
            prefix: None,
            timing: Timing::default(),
            retention: Retention::default(),
            limits: Limits::default(),
            flags: HASHICORP_LOCK_FLAGS,
            node_checks: Vec::new(),
            metrics_by_key: false,
        }
    }
}

impl Config {
    /// The longest prefix, in bytes.
    pub const MAX_PREFIX_LEN: usize = 256;

    /// Checks every setting except the address.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.token.as_ref().is_some_and(|token| !token.fits_a_header()) {
            return Err(ConfigError::OutOfRange {
                field: "token",
                value: "a text that is not shown".into(),
                range: "visible ASCII characters without a space or a line break inside".into(),
            });
        }
        if let Some(prefix) = &self.prefix
            && let Some(why) = fault_of_path(prefix, Self::MAX_PREFIX_LEN)
        {
            return Err(ConfigError::Conflict(format!("prefix {why}")));
        }
        self.timing.check()?;
        self.limits.check()
    }
}

/// Omits the token and the parts of the address that may hold secrets.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            token,
            prefix,
            timing,
            retention,
            limits,
            flags,
            node_checks,
            metrics_by_key,
        } = self;
        f.debug_struct("Config")
            .field("address", &without_secrets(address))
            .field("token", token)
            .field("prefix", prefix)
            .field("timing", timing)
            .field("retention", retention)
            .field("limits", limits)
            .field("flags", flags)
            .field("node_checks", node_checks)
            .field("metrics_by_key", metrics_by_key)
            .finish()
    }
}

/// Returns the address without user, path, query and fragment, which may hold secrets.
fn without_secrets(address: &str) -> String {
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), address),
    };
    let host = rest.rsplit('@').next().unwrap_or_default();
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    let hidden = if host.len() == rest.trim_end_matches('/').len() { "" } else { " (..)" };
    format!("{scheme}{host}{hidden}")
}

/// What a release does with the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Retention {
    /// Deletes the key, so that short-lived keys do not accumulate. After a crash, the
    /// keys that the process held remain, unlocked, until their next use.
    #[default]
    Delete,
    /// Unlocks the key and keeps its value.
    Keep,
}

/// The lifetime of a session, and the times that follow from it.
///
/// An ownership expires at its *deadline*: one [`lease`](Timing::lease) after the newest
/// successful renewal was sent. The lease is shorter than both the TTL and the
/// lock-delay: a session can end before its TTL, and then only the lock-delay keeps
/// others out.
///
/// | preset | TTL | lock-delay | fail-over after a crash | rides out an outage of |
/// |---|---|---|---|---|
/// | [`default`](Timing::default) | 15 s | 15 s | ≤ 45 s | 10 s |
/// | [`patient`](Timing::patient) | 30 s | 30 s | ≤ 90 s | 22 s |
/// | [`fast_failover`](Timing::fast_failover) | 10 s | 1 s | ≤ 21 s | 6 s |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Timing {
    /// The session's TTL, 10 s to 24 h (Consul's own range). Consul 1.8 keeps a session
    /// for up to twice its TTL; this crate does not rely on that.
    ///
    /// Default: 15 s.
    #[serde(with = "humantime_serde")]
    pub session_ttl: Duration,
    /// How long Consul keeps a key closed after its holder's session ends, 2 s to 60 s;
    /// with `fast_failover`, from 0 s.
    ///
    /// Default: 15 s.
    #[serde(with = "humantime_serde")]
    pub lock_delay: Duration,
    /// Leaves the lock-delay out of the lease, so that a short lock-delay does
    /// not shorten it. The promise that a holder knows first then has one
    /// exception: somebody ends the session early (an operator, an agent that
    /// leaves, a failed check) while this process is cut off or stopped.
    ///
    /// Default: `false`.
    pub fast_failover: bool,
    /// The largest difference between the rates of this machine's and the servers' clocks,
    /// as a fraction, 0 to 0.1.
    ///
    /// Default: 0.01.
    pub clock_drift: f64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            session_ttl: Duration::from_secs(15),
            lock_delay: Duration::from_secs(15),
            fast_failover: false,
            clock_drift: 0.01,
        }
    }
}

impl Timing {
    /// Subtracted from the lease for the granularity of timers.
    const MARGIN: Duration = Duration::from_millis(250);
    /// The longest lock-delay that Consul enforces.
    const LONGEST_LOCK_DELAY: Duration = Duration::from_secs(60);
    const SHORTEST_LOCK_DELAY: Duration = Duration::from_secs(2);
    const SHORTEST_TTL: Duration = Duration::from_secs(10);
    const LONGEST_TTL: Duration = Duration::from_secs(86_400);

    /// TTL and lock-delay of 30 s. Rides out an election after a killed leader, which took
    /// 11 to 18.5 s with Consul's default raft timing.
    #[must_use]
    pub fn patient() -> Self {
        Self::default()
            .with_session_ttl(Duration::from_secs(30))
            .with_lock_delay(Duration::from_secs(30))
    }

    /// TTL 10 s, lock-delay 1 s. Frees a dead holder's locks sooner; the field
    /// [`fast_failover`](Timing::fast_failover) documents the exception.
    #[must_use]
    pub fn fast_failover() -> Self {
        Self { fast_failover: true, ..Self::default() }
            .with_session_ttl(Duration::from_secs(10))
            .with_lock_delay(Duration::from_secs(1))
    }

    /// Sets [`session_ttl`](Timing::session_ttl).
    #[must_use]
    pub fn with_session_ttl(self, session_ttl: Duration) -> Self {
        Self { session_ttl, ..self }
    }

    /// Sets [`lock_delay`](Timing::lock_delay).
    #[must_use]
    pub fn with_lock_delay(self, lock_delay: Duration) -> Self {
        Self { lock_delay, ..self }
    }

    /// How long a successful renewal proves ownership, counted from when it was sent:
    /// `min(TTL, lock-delay, 60 s) × (1 − drift) − 250 ms`. The lock-delay and its 60 s do
    /// not count if [`fast_failover`](Timing::fast_failover) is set.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease_under(self.session_ttl)
    }

    /// The lease under the shorter of the configured TTL and `ttl`, which Consul reported.
    pub(crate) fn lease_under(&self, ttl: Duration) -> Duration {
        let mut bound = self.session_ttl.min(ttl);
        if !self.fast_failover {
            bound = bound.min(self.lock_delay).min(Self::LONGEST_LOCK_DELAY);
        }
        let drift = self.clock_drift.clamp(0.0, 0.1);
        bound.mul_f64(1.0 - drift).saturating_sub(Self::MARGIN)
    }

    /// The time between two renewals of the session: a sixth of the lease.
    #[must_use]
    pub fn renew_period(&self) -> Duration {
        self.lease() / 6
    }

    /// The time limit of one request: a sixth of the lease, at most 2 s.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.renew_period().min(Duration::from_secs(2))
    }

    /// The longest time from a dead holder's last renewal until another process can have
    /// the lock: twice the TTL plus the lock-delay.
    #[must_use]
    pub fn failover(&self) -> Duration {
        self.session_ttl * 2 + self.lock_delay.min(Self::LONGEST_LOCK_DELAY)
    }

    /// An outage of Consul up to this long costs no lock: the lease less one renew period
    /// and one request timeout.
    #[must_use]
    pub fn rides_out(&self) -> Duration {
        self.lease().saturating_sub(self.renew_period() + self.request_timeout())
    }

    fn check(&self) -> Result<(), ConfigError> {
        let shortest_delay =
            if self.fast_failover { Duration::ZERO } else { Self::SHORTEST_LOCK_DELAY };
        within(
            "timing.session_ttl",
            self.session_ttl,
            Self::SHORTEST_TTL..=Self::LONGEST_TTL,
            "10s to 24h",
        )?;
        within(
            "timing.lock_delay",
            self.lock_delay,
            shortest_delay..=Self::LONGEST_LOCK_DELAY,
            if self.fast_failover {
                "0s to 60s"
            } else {
                "2s to 60s (from 0s with timing.fast_failover)"
            },
        )?;
        if !(0.0..=0.1).contains(&self.clock_drift) {
            return Err(ConfigError::OutOfRange {
                field: "timing.clock_drift",
                value: self.clock_drift.to_string(),
                range: "0 to 0.1".into(),
            });
        }
        Ok(())
    }
}

fn within(
    field: &'static str,
    value: Duration,
    range: std::ops::RangeInclusive<Duration>,
    words: &str,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange { field, value: format!("{value:?}"), range: words.into() })
}

/// The resources that one process may use. Beyond a limit, a request fails at once with a
/// typed error, so a public handler cannot queue without bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// The most keys that are waited for, held or being cleaned up at one time, 1 to
    /// 1,000,000. Beyond it, requests fail with
    /// [`Error::TooManyKeys`](crate::Error::TooManyKeys).
    ///
    /// A tenth, at most 200, is reserved for campaigns and observers. Web requests under
    /// `LockPath` can use half of the rest, so a flood of keys chosen by clients stops
    /// neither elections nor the service's own locks.
    ///
    /// Default: 20,000.
    pub keys: usize,
    /// The most callers of this process that wait for one key, 1 to 1,000,000. Beyond it,
    /// requests fail with [`Error::TooManyWaiters`](crate::Error::TooManyWaiters).
    ///
    /// Default: 1,000.
    pub waiters_per_key: usize,
    /// The most connections to the Consul agent, 12 to 190. The agent accepts 200 per
    /// client address, which all processes of a host share; beyond that it resets
    /// connections without an answer. Ten are reserved for renewals and writes; the others
    /// carry blocking reads, which wait for keys to change.
    ///
    /// They watch any number of keys: a few keys with one read each, the others with
    /// listings of shared key prefixes. Over TLS, a connection carries 240 reads, so most
    /// keys have their own read.
    ///
    /// If the agent refuses connections, the runtime uses fewer, down to one besides those
    /// for renewals and writes, and adds them again one by one.
    ///
    /// Default: `None`, which means 16, or 48 for an `https://` address, where a
    /// connection carries many reads and few are opened.
    pub connections: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { keys: 20_000, waiters_per_key: 1_000, connections: None }
    }
}

impl Limits {
    /// Connections for renewals. While none is answered, a renewal is sent every quarter
    /// of the request timeout.
    pub(crate) const RENEWALS: usize = 4;
    /// Connections for single writes and reads.
    pub(crate) const WRITES: usize = 6;

    /// The most keys that are reserved for campaigns and observers.
    pub(crate) const LEADERSHIP_KEYS: usize = 200;

    const CONNECTIONS: usize = 16;
    const CONNECTIONS_OVER_TLS: usize = 48;

    /// The number of connections for blocking reads.
    pub(crate) fn watches(&self, https: bool) -> usize {
        let default = if https { Self::CONNECTIONS_OVER_TLS } else { Self::CONNECTIONS };
        self.connections.unwrap_or(default).saturating_sub(Self::RENEWALS + Self::WRITES)
    }

    fn check(&self) -> Result<(), ConfigError> {
        for (field, value, range) in [
            ("limits.keys", self.keys, 1..=1_000_000),
            ("limits.waiters_per_key", self.waiters_per_key, 1..=1_000_000),
            ("limits.connections", self.connections.unwrap_or(Self::CONNECTIONS), 12..=190),
        ] {
            if !range.contains(&value) {
                let range = format!("{} to {}", range.start(), range.end());
                return Err(ConfigError::OutOfRange { field, value: value.to_string(), range });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TTL {:?}, lock-delay {:?}: fail-over within {:?}, rides out {:?}",
            self.session_ttl,
            self.lock_delay,
            self.failover(),
            self.rides_out()
        )
    }
}

#[cfg(test)]
mod tests;
