//! The clock that decides whether an ownership is valid, and its instants.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An instant of a [`Clock`], in nanoseconds since that clock's origin.
///
/// Sessions, locks and leases know no other notion of time. Moments of different
/// clocks are not comparable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(u64);

impl Moment {
    /// The instant `nanos` nanoseconds after the clock's origin.
    #[must_use]
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    /// Saturates at the end of the clock's range (584 years).
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Moment {
    type Output = Self;

    /// Saturates at the clock's origin.
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The monotonic clock of a runtime and all its leases.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// The machine's clock. On Linux it counts the time during which the machine
    /// was suspended, unlike `std::time::Instant`.
    Boot,
    /// Tokio's clock, which tests stop and advance with `tokio::time::pause`.
    Tokio(tokio::time::Instant),
    /// A clock that a simulation sets, in nanoseconds.
    #[cfg(test)]
    Simulated(&'static std::sync::atomic::AtomicU64),
}

impl Clock {
    /// Tokio's clock, with its origin one hour ago: subtractions from a moment near
    /// the origin would saturate.
    pub(crate) fn tokio() -> Self {
        Self::Tokio(tokio::time::Instant::now())
    }

    /// Whether this is the machine's clock.
    pub(crate) fn is_boot(self) -> bool {
        matches!(self, Self::Boot)
    }

    /// Reads the clock.
    pub(crate) fn now(self) -> Moment {
        match self {
            Self::Boot => boot_time(),
            Self::Tokio(origin) => Moment::default() + ORIGIN_AGE + origin.elapsed(),
            #[cfg(test)]
            Self::Simulated(nanos) => Moment(nanos.load(std::sync::atomic::Ordering::Relaxed)),
        }
    }
}

/// The time of day, in milliseconds since 1970. Anybody may set it at any time, so
/// it must not decide ownership.
pub(crate) fn wall_millis(clock: Clock) -> u64 {
    let unix = match clock {
        Clock::Boot => unix_time(),
        // One origin for all runtimes of a test, whenever they start.
        Clock::Tokio(_) => {
            static ORIGIN: OnceLock<(tokio::time::Instant, Duration)> = OnceLock::new();
            let now = tokio::time::Instant::now();
            let (origin, unix) = *ORIGIN.get_or_init(|| (now, unix_time()));
            let before = origin.saturating_duration_since(now);
            (unix + now.saturating_duration_since(origin)).saturating_sub(before)
        }
        #[cfg(test)]
        Clock::Simulated(_) => Duration::from_nanos(clock.now().as_nanos()),
    };
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
}

/// The time since 1970; zero if the machine's clock is set to an earlier time.
fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How far a Tokio clock's origin lies before its creation.
const ORIGIN_AGE: Duration = Duration::from_secs(3600);

fn boot_time() -> Moment {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    // The closest clock on other systems; on macOS it also counts sleep.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "fuchsia")))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests;
