//! The pause before an actor that fails again and again is restarted.

use std::{collections::HashMap, time::Duration};

use crate::{clock::Moment, key::Key, protocol::backoff};

/// The restarts of the actors of one runtime.
#[derive(Debug, Default)]
pub(super) struct Restarted {
    pub(super) session: Restarts,
    pub(super) watch: Restarts,
    /// Those of the keys whose actor has died.
    pub(super) locks: HashMap<Key, Restarts>,
}

/// The restarts of one actor. The first is at once.
#[derive(Debug)]
pub(super) struct Restarts {
    pauses: backoff::Restarts,
    began: Moment,
}

/// A lock's next actor releases the key within the 5 s in which nothing may leak.
const LONGEST: Duration = Duration::from_secs(4);

impl Default for Restarts {
    fn default() -> Self {
        Self { pauses: backoff::Restarts::new(1, LONGEST), began: Moment::default() }
    }
}

impl Restarts {
    /// The actor has died. Returns the pause before its successor begins.
    pub(super) fn pause(&mut self, now: Moment) -> Duration {
        let pause = self.pauses.after(now.since(self.began));
        self.began = now + pause;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_counts_from_the_end_of_the_pause_before_it() {
        let (mut restarts, now) = (Restarts::default(), Moment::from_nanos(0));
        assert_eq!(restarts.pause(now), Duration::ZERO);
        let pause = restarts.pause(now);
        assert!(!pause.is_zero());
        let short = now + Duration::from_secs(10);
        assert_eq!(restarts.pause(short), 2 * pause);
        let long = short + 2 * pause + Duration::from_secs(10);
        assert_eq!(restarts.pause(long), Duration::ZERO);
    }
}
