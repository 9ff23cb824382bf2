//! The pause before an actor that fails again and again is restarted.

use std::{collections::HashMap, time::Duration};

use crate::{clock::Moment, key::Key, protocol::backoff::backoff};

/// The restarts of the actors of one runtime.
#[derive(Debug, Default)]
pub(super) struct Restarted {
    pub(super) session: Restarts,
    pub(super) watch: Restarts,
    /// Those of the keys whose actor has died.
    pub(super) locks: HashMap<Key, Restarts>,
}

/// The restarts of one actor. The first is at once. Each one that follows a short life has a
/// pause, which doubles from [`SHORTEST`](Self::SHORTEST) to [`LONGEST`](Self::LONGEST).
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// Restarts since the last long life.
    count: u32,
    began: Moment,
}

impl Restarts {
    const SHORTEST: Duration = Duration::from_millis(100);
    /// A lock's next actor releases the key within the 5 s in which nothing may leak.
    const LONGEST: Duration = Duration::from_secs(4);
    /// After a life of this length, the next restart is at once again.
    const LONG_LIFE: Duration = Duration::from_secs(10);

    /// The actor has died. Returns the pause before its successor begins.
    pub(super) fn pause(&mut self, now: Moment) -> Duration {
        if now.since(self.began) >= Self::LONG_LIFE {
            self.count = 0;
        }
        let pause = match self.count.checked_sub(1) {
            None => Duration::ZERO,
            Some(earlier) => backoff(Self::SHORTEST, earlier, Self::LONGEST),
        };
        self.count = self.count.saturating_add(1);
        self.began = now + pause;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_the_pauses_of_the_next_double_up_to_four_seconds() {
        let (mut restarts, mut now) = (Restarts::default(), Moment::from_nanos(0));
        for expected in [0, 100, 200, 400, 800, 1_600, 3_200, 4_000, 4_000] {
            let pause = restarts.pause(now);
            assert_eq!(pause, Duration::from_millis(expected));
            now = now + pause + Duration::from_secs(9);
        }
        now = now + Duration::from_secs(1);
        assert_eq!(restarts.pause(now), Duration::ZERO);
        assert_eq!(restarts.pause(now), Restarts::SHORTEST);
    }
}
