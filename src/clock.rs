//! Which clock ownership is judged by, and the instants it yields.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An instant of a [`Clock`], in nanoseconds since that clock's origin.
///
/// It is the only notion of time that sessions, locks and leases know. Moments
/// of different clocks do not compare.
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

    /// The time from `earlier` to `self`; zero if `earlier` is the later one.
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

/// The monotonic clock by which a runtime and all its leases judge ownership.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// Counts the time during which the machine was suspended, which
    /// `std::time::Instant` does not on Linux.
    Boot,
    /// Tokio's clock: stands still and jumps with `tokio::time::pause` in tests.
    Tokio(tokio::time::Instant),
    /// Nanoseconds that a simulation sets.
    #[cfg(test)]
    Simulated(&'static std::sync::atomic::AtomicU64),
}

impl Clock {
    /// Tokio's clock, with its origin one hour ago: a moment near the origin
    /// would make subtractions saturate.
    pub(crate) fn tokio() -> Self {
        Self::Tokio(tokio::time::Instant::now())
    }

    /// Whether it is the machine's own clock.
    pub(crate) fn is_boot(self) -> bool {
        matches!(self, Self::Boot)
    }

    /// The present instant.
    pub(crate) fn now(self) -> Moment {
        match self {
            Self::Boot => boot_time(),
            Self::Tokio(origin) => Moment::default() + ORIGIN_AGE + origin.elapsed(),
            #[cfg(test)]
            Self::Simulated(nanos) => Moment(nanos.load(std::sync::atomic::Ordering::Relaxed)),
        }
    }
}

/// What a wall clock shows, in milliseconds since 1970; it may be set at any time.
pub(crate) fn wall_millis(clock: Clock) -> u64 {
    let unix = match clock {
        Clock::Boot => unix_time(),
        // The same for all runtimes of a test, whenever they were started.
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

/// Zero for a clock that is set to before 1970.
fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How long before its creation a Tokio clock's origin lies.
const ORIGIN_AGE: Duration = Duration::from_secs(3600);

fn boot_time() -> Moment {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    // Elsewhere the monotonic clock is the nearest; on macOS it counts sleep.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "fuchsia")))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_saturate_instead_of_wrapping() {
        let second = Duration::from_secs(1);
        assert_eq!(Moment::default() - second, Moment::default());
        assert_eq!(Moment::from_nanos(u64::MAX) + second, Moment::from_nanos(u64::MAX));
        assert_eq!(Moment::default().since(Moment::from_nanos(5)), Duration::ZERO);
    }

    #[test]
    fn the_boot_clock_advances() {
        let before = Clock::Boot.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(Clock::Boot.now().since(before) >= Duration::from_millis(2));
    }
}
