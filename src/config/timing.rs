//! The lifetime of sessions, and what follows from it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// The lifetime of a session, and the times that follow from it.
///
/// An ownership expires at its *deadline*: one [lease time](Timing::lease) after the newest
/// successful renewal was sent. The lease time is shorter than both the TTL and the
/// lock-delay: a session can end before its TTL, and then only the lock-delay keeps
/// others out. With [`fast_failover`](Timing::fast_failover), it may exceed the lock-delay.
/// It is always shorter than 60 s.
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
    /// Leaves the lock-delay out of the lease time, so that a short lock-delay does
    /// not shorten it. The promise that a holder knows first then has one
    /// exception: somebody ends the session early (an operator, an agent that
    /// leaves, a failed check) while this process is cut off or stopped. The same
    /// exception applies to permits of semaphores. The lease time stays below 60 s,
    /// even if the TTL is longer.
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
    /// The longest lock-delay that Consul enforces; it reports longer ones.
    pub(crate) const LONGEST_LOCK_DELAY: Duration = Duration::from_secs(60);
    /// No lease is longer, with any timing.
    pub(crate) const LONGEST_LEASE: Duration = Self::LONGEST_LOCK_DELAY;
    const SHORTEST_LOCK_DELAY: Duration = Duration::from_secs(2);
    /// The shortest TTL that Consul accepts.
    pub(crate) const SHORTEST_TTL: Duration = Duration::from_secs(10);
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

    /// Sets [`clock_drift`](Timing::clock_drift).
    #[must_use]
    pub fn with_clock_drift(self, clock_drift: f64) -> Self {
        Self { clock_drift, ..self }
    }

    /// The lease time: how long a successful renewal proves ownership, counted from when it was
    /// sent: `min(TTL, lock-delay, 60 s) × (1 − drift) − 250 ms`. The lock-delay does not count if
    /// [`fast_failover`](Timing::fast_failover) is set.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease_under(self.session_ttl)
    }

    /// The lease under the shorter of the configured TTL and `ttl`, which Consul reported.
    pub(crate) fn lease_under(&self, ttl: Duration) -> Duration {
        // A key that is taken away from its holder is kept for at most 60 s, whatever the TTL.
        let mut bound = self.session_ttl.min(ttl).min(Self::LONGEST_LEASE);
        if !self.fast_failover {
            bound = bound.min(self.lock_delay);
        }
        // A drift that is no number is refused by `check`, which comes later.
        let most = 0.1;
        let drift =
            if self.clock_drift.is_nan() { most } else { self.clock_drift.clamp(0.0, most) };
        bound.mul_f64(1.0 - drift).saturating_sub(Self::MARGIN)
    }

    /// The time between two renewals of the session: a sixth of the lease time.
    #[must_use]
    pub fn renew_period(&self) -> Duration {
        self.lease() / 6
    }

    /// The time limit of one request: a sixth of the lease time, at most 2 s.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.renew_period().min(Duration::from_secs(2))
    }

    /// The longest time from a dead holder's last renewal until another process can have
    /// the lock: twice the TTL plus the lock-delay.
    #[must_use]
    pub fn failover(&self) -> Duration {
        let lock_delay = self.lock_delay.min(Self::LONGEST_LOCK_DELAY);
        self.session_ttl.saturating_mul(2).saturating_add(lock_delay)
    }

    /// An outage of Consul up to this long costs no lock: the lease time less one renew
    /// period and one request timeout.
    #[must_use]
    pub fn rides_out(&self) -> Duration {
        self.lease().saturating_sub(self.renew_period() + self.request_timeout())
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
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

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TTL {:?}, lock-delay {:?}: fail-over within {:?}, rides out {:.1?}",
            self.session_ttl,
            self.lock_delay,
            self.failover(),
            self.rides_out()
        )
    }
}
