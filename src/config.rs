//! Which settings there are, what they default to, and which cannot work.

mod environment;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{error::ConfigError, key::fault_of_path, secret::Secret};

/// HashiCorp's flags for lock keys: what `consul lock` and the Go client write.
pub const HASHICORP_LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;

/// The settings of a lock runtime.
///
/// Every field has a default, so a configuration file names only what differs.
/// Durations are written as text: `"15s"`, `"1m 30s"`, `"500ms"`. An unknown
/// field is an error.
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
    /// The Consul agent: `http://host:port`, `https://host:port`, or `host:port`
    /// as in `CONSUL_HTTP_ADDR`. Prefer the agent on the same host: a session
    /// ends with the node of the agent that created it.
    ///
    /// Default: `http://127.0.0.1:8500`.
    pub address: String,
    /// The ACL token. It needs `key:write` below the prefix and
    /// `session:write` on the agent's node. Without `session:read`, a session whose
    /// creation was not answered stays until its TTL. The token is never printed.
    /// Blanks and line breaks around it, as at the end of a mounted file, are no part
    /// of it.
    ///
    /// Default: none.
    #[serde(skip_serializing)]
    pub token: Option<Secret>,
    /// What is put, with a `/`, before every key. At most 256 bytes; the same
    /// rules as for a [`Key`](crate::Key).
    ///
    /// Default: none.
    pub prefix: Option<String>,
    /// How long sessions live and how soon a dead holder's locks pass on.
    pub timing: Timing,
    /// What an orderly release leaves behind.
    ///
    /// Default: [`Retention::Delete`].
    pub retention: Retention,
    /// What this process may use up.
    pub limits: Limits,
    /// The flags that mark a key as a lock of ours. A key with other flags is
    /// refused and left untouched.
    ///
    /// Default: [`HASHICORP_LOCK_FLAGS`].
    pub flags: u64,
    /// Names of node checks that end the session when they turn critical, such
    /// as `serfHealth`. Without any, only the TTL, the node's leave and an
    /// operator do; lock-delay protects the holder in each case.
    ///
    /// Default: none.
    pub node_checks: Vec<String>,
    /// Whether metrics of single keys carry the label `key`, where the feature
    /// `metrics` is on. Set it only where keys are few and fixed: every key ever
    /// locked stays in the recorder.
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

    /// Refuses what cannot work.
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

/// The token is not shown, nor what an address should not contain.
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

/// The address without a user, a path or a query, in each of which people put secrets.
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

/// What an orderly release leaves of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Retention {
    /// Nothing: keys made for one order leave no rubbish. After a crash the
    /// entries that the process held stay, unlocked, until next used.
    #[default]
    Delete,
    /// The key and its value, unlocked.
    Keep,
}

/// How long a session lives, and what follows from it.
///
/// A holder stops believing at its *deadline*: one [`lease`](Timing::lease)
/// after the newest renewal that Consul answered was sent. The lease is shorter
/// than both the TTL and the lock-delay, because a session can end before its
/// TTL and then only the lock-delay holds others back.
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
    /// The session's TTL, 10 s to 24 h (Consul's own range). Consul 1.8 lets a
    /// session live for twice its TTL; nothing here relies on that.
    ///
    /// Default: 15 s.
    #[serde(with = "humantime_serde")]
    pub session_ttl: Duration,
    /// For how long Consul keeps a key closed after its holder's session ended,
    /// 2 s to 60 s; with `fast_failover`, from 0 s.
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
    /// By how much the rates of this machine's and the servers' clocks may
    /// differ, as a fraction, 0 to 0.1.
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
    /// What is taken off the lease for the granularity of timers.
    const MARGIN: Duration = Duration::from_millis(250);
    /// The longest that Consul enforces a lock-delay.
    const LONGEST_LOCK_DELAY: Duration = Duration::from_secs(60);
    const SHORTEST_LOCK_DELAY: Duration = Duration::from_secs(2);
    const SHORTEST_TTL: Duration = Duration::from_secs(10);
    const LONGEST_TTL: Duration = Duration::from_secs(86_400);

    /// Rides out an election after a killed leader, which took 11 to 18.5 s with
    /// Consul's default raft timing: TTL and lock-delay 30 s.
    #[must_use]
    pub fn patient() -> Self {
        Self::default()
            .with_session_ttl(Duration::from_secs(30))
            .with_lock_delay(Duration::from_secs(30))
    }

    /// Passes a dead holder's locks on soon: TTL 10 s, lock-delay 1 s. See the
    /// exception at the field [`fast_failover`](Timing::fast_failover).
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

    /// For how long after a renewal was sent its answer proves ownership:
    /// `min(TTL, lock-delay, 60 s) × (1 − drift) − 250 ms`, without the
    /// lock-delay if [`fast_failover`](Timing::fast_failover) is set.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease_under(self.session_ttl)
    }

    /// The lease under the TTL that Consul answered, if that is the shorter.
    pub(crate) fn lease_under(&self, ttl: Duration) -> Duration {
        let mut bound = self.session_ttl.min(ttl);
        if !self.fast_failover {
            bound = bound.min(self.lock_delay).min(Self::LONGEST_LOCK_DELAY);
        }
        let drift = self.clock_drift.clamp(0.0, 0.1);
        bound.mul_f64(1.0 - drift).saturating_sub(Self::MARGIN)
    }

    /// How often the session is renewed: a sixth of the lease.
    #[must_use]
    pub fn renew_period(&self) -> Duration {
        self.lease() / 6
    }

    /// How long one request may take: a sixth of the lease, at most 2 s.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.renew_period().min(Duration::from_secs(2))
    }

    /// How long after a holder's last renewal another process has the lock, at
    /// most, if the holder dies: twice the TTL plus the lock-delay.
    #[must_use]
    pub fn failover(&self) -> Duration {
        self.session_ttl * 2 + self.lock_delay.min(Self::LONGEST_LOCK_DELAY)
    }

    /// How long Consul may be out of reach without any lock being lost, at
    /// least: the lease less one renew period and one request timeout.
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

/// What one process may use up. Beyond a limit a request gets a typed error at
/// once, so that a public handler cannot queue without bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Keys that are waited for, held or being cleaned up at one time, 1 to
    /// 1,000,000. Beyond it: [`Error::TooManyKeys`](crate::Error::TooManyKeys).
    ///
    /// A tenth, at most 200, is kept for campaigns and observers, and web requests
    /// under `LockPath` have half of the others, so that a flood of keys that clients
    /// choose stops neither elections nor the service's own locks.
    ///
    /// Default: 20,000.
    pub keys: usize,
    /// Callers of this process that wait for one key, 1 to 1,000,000. Beyond
    /// it: [`Error::TooManyWaiters`](crate::Error::TooManyWaiters).
    ///
    /// Default: 1,000.
    pub waiters_per_key: usize,
    /// Connections to the Consul agent, 12 to 190. The agent's own limit is 200
    /// for each client address, which all processes of a host share; beyond
    /// that it resets connections without a word. Ten are kept for renewals and
    /// writes, the others wait for keys to change.
    ///
    /// Any number of keys is watched over them: a few by reads of their own, the
    /// others by reading all keys below common beginnings of their names; over
    /// TLS, where a connection carries 240 reads, most by their own.
    ///
    /// Where the agent takes no more connections, fewer are used, down to one beside
    /// those for renewals and writes, and tried again one by one.
    ///
    /// Default: `None`, which is 16, or 48 for an `https://` address, where a
    /// connection carries many reads and few are opened.
    pub connections: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { keys: 20_000, waiters_per_key: 1_000, connections: None }
    }
}

impl Limits {
    /// Connections for renewals: one is sent every quarter of the request
    /// timeout while none is answered.
    pub(crate) const RENEWALS: usize = 4;
    /// Connections for single writes and reads.
    pub(crate) const WRITES: usize = 6;

    /// The most keys that are kept for campaigns and observers.
    pub(crate) const LEADERSHIP_KEYS: usize = 200;

    const CONNECTIONS: usize = 16;
    const CONNECTIONS_OVER_TLS: usize = 48;

    /// How many connections there are for reads that wait.
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
mod tests {
    use super::*;

    fn refused(config: &Config) -> String {
        config.check().expect_err("accepted").to_string()
    }

    #[test]
    fn the_presets_keep_the_times_that_the_table_gives() {
        for (timing, failover, rides_out) in [
            (Timing::default(), 45, 10),
            (Timing::patient(), 90, 22),
            (Timing::fast_failover(), 21, 6),
        ] {
            timing.check().unwrap();
            assert_eq!(timing.failover().as_secs(), failover);
            assert_eq!(timing.rides_out().as_secs(), rides_out, "{timing}");
        }
    }

    #[test]
    fn the_lease_is_shorter_than_the_ttl_and_the_lock_delay() {
        let long_delay = Timing::default().with_lock_delay(Duration::from_secs(60));
        assert!(long_delay.lease() < long_delay.session_ttl);
        let short_delay = Timing::default().with_lock_delay(Duration::from_secs(5));
        assert!(short_delay.lease() < Duration::from_secs(5));
        let fast = Timing::fast_failover();
        assert!(fast.lease() > Duration::from_secs(9));
        assert!(fast.lease_under(Duration::from_secs(4)) < Duration::from_secs(4));
    }

    #[test]
    fn a_setting_out_of_range_is_refused_by_name_with_its_range() {
        let mut config = Config::default();
        config.timing.session_ttl = Duration::from_secs(1);
        assert_eq!(refused(&config), "timing.session_ttl is 1s; it must be 10s to 24h");

        let mut config = Config::default();
        config.timing.lock_delay = Duration::from_secs(1);
        assert!(refused(&config).contains("timing.lock_delay is 1s; it must be 2s to 60s"));

        let mut config = Config::default();
        config.timing.clock_drift = f64::NAN;
        assert!(refused(&config).contains("timing.clock_drift is NaN"));

        let mut config = Config::default();
        config.limits.connections = Some(500);
        assert_eq!(refused(&config), "limits.connections is 500; it must be 12 to 190");

        let limits = Limits { connections: Some(12), ..Limits::default() };
        limits.check().unwrap();
        assert_eq!((limits.watches(false), Limits::default().watches(false)), (2, 6));
        assert_eq!(Limits::default().watches(true), 38);

        let config = Config { prefix: Some("a//b".into()), ..Config::default() };
        assert!(refused(&config).contains("prefix contains '//'"));
    }

    #[test]
    fn reads_durations_as_text_and_refuses_unknown_fields() {
        let json = r#"{"timing":{"session_ttl":"1m 30s"},"retention":"keep"}"#;
        let config: Config = serde_json::from_str(json).unwrap();
        assert_eq!(config.timing.session_ttl, Duration::from_secs(90));
        assert_eq!(config.retention, Retention::Keep);
        assert!(serde_json::from_str::<Config>(r#"{"adress":"x"}"#).is_err());
    }

    #[test]
    fn a_bad_token_is_reported_as_a_token_and_a_line_break_at_its_end_is_none_of_it() {
        let with = |token: &str| Config { token: Some(token.into()), ..Config::default() };
        for token in ["8f2c", "8f2c\n", " 8f2c\r\n"] {
            assert_eq!(with(token).token, Some("8f2c".into()));
            with(token).check().unwrap();
        }
        for token in ["hu sh", "hu\nsh", "hush\u{e4}"] {
            let error = refused(&with(token));
            assert!(error.starts_with("token is ") && !error.contains("hu"), "{error}");
        }
    }

    #[test]
    fn a_mistyped_address_shows_no_secret() {
        for address in [
            "http://me:hush@consul:8500",
            "me:hush@consul:8500",
            "http://consul:8500/?token=hush",
            "consul:8500?token=hush",
            "https://consul:8501/v1/hush",
            "http://consul:8500#hush",
        ] {
            let config = Config { address: address.into(), ..Config::default() };
            let shown = format!("{config:?}");
            assert!(!shown.contains("hush") && shown.contains("consul:850"), "{shown}");
            let why = crate::consul::http::Address::parse(address).unwrap_err();
            assert!(!why.contains("hush"), "{why}");
            let builder = crate::Dsync::builder("s").address(address);
            assert!(!format!("{builder:?}").contains("hush"));
            assert!(!builder.start().unwrap_err().to_string().contains("hush"));
        }
        let config = Config { address: "http://consul:8500/".into(), ..Config::default() };
        assert!(format!("{config:?}").contains("\"http://consul:8500\""));
    }

    #[test]
    fn the_token_is_neither_printed_nor_written_out() {
        let config =
            Config { token: Some(Secret::new("hush-hush".to_owned())), ..Config::default() };
        assert!(!format!("{config:?}").contains("hush"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hush"));
    }
}
