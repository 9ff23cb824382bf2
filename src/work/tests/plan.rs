//! What one history consists of, drawn from its seed.

use std::time::Duration;

use crate::{config::Timing, simulation::random::Random};

/// How the user's work is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Every,
    Singleton,
    WhileLeading,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) kind: Kind,
    pub(super) processes: usize,
    pub(super) timing: Timing,
    /// The period of a job.
    pub(super) period: Duration,
    /// How long a turn may take, if that is limited.
    pub(super) time_limit: Option<Duration>,
    /// How long faults happen.
    pub(super) trouble: Duration,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let seconds = Duration::from_secs;
        Self {
            seed,
            kind: random.pick(&[Kind::Every, Kind::Singleton, Kind::WhileLeading]),
            processes: random.pick(&[2, 2, 3]),
            timing: if random.chance(300) { Timing::patient() } else { Timing::default() },
            period: random.pick(&[seconds(1), seconds(5), seconds(60)]),
            time_limit: random.pick(&[None, None, Some(seconds(3))]),
            trouble: seconds(random.within(60..=300)),
        }
    }

    /// How long it takes after the last fault until a new leader must have begun: what a dead
    /// process locked is free after two TTLs and the lock-delay.
    pub(super) fn settles_within(&self) -> Duration {
        2 * self.timing.session_ttl + self.timing.lock_delay + Duration::from_secs(30)
    }
}
