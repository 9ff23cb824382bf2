//! When a waiter stands aside, because it is one of many.
//!
//! ```text
//!   holder seen ─► rest ─────────────────► watch ─► race ─► race ─► … ─► won
//!                  most of the last wait            │ many in vain
//!                  ▲                                ▼
//!                  └─────────────────────────────── a shorter one
//! ```
//!
//! A hand-over wakes every waiter that watches, and all but one have watched and
//! tried in vain. A waiter cannot know how many others there are, but what it
//! lived through tells: so many hand-overs went by, each after such a time, until
//! the key was its own. It comes back to the end of the same line, so it rests
//! for most of that time and watches only when its turn is near. Those who have
//! waited longest are then the ones who watch, about a tenth of all.
//!
//! With few others there is nothing to spare and nobody rests. A rest is broken
//! by a look at the key once a second, so that a herd that has gone is noticed.

use std::time::Duration;

use crate::clock::Moment;

/// The hand-overs before its turn at which a waiter watches, at least: with no
/// more rivals than that it never rests.
const NEAR: u32 = 4;
/// The races in a row after which a waiter that cannot win rests again.
const IN_VAIN: u32 = 8;
/// The longest time for which the key is not looked at.
const UNSEEN: Duration = Duration::from_secs(1);
/// The longest rest altogether: a wait may have been long for other reasons than
/// a herd.
const LONGEST: Duration = Duration::from_secs(5);

/// What one waiter knows of the herd.
#[derive(Debug, Default)]
pub(super) struct Herd {
    wait: Option<Wait>,
    /// How long the first rest of a wait is, and when that was learned.
    rest: Duration,
    learned_at: Moment,
}

/// The wait under way.
#[derive(Debug)]
struct Wait {
    since: Moment,
    /// The index at which the last seen holder has the key.
    holder: u64,
    /// Until when it rests; from then on a hand-over is a race.
    rests_until: Moment,
    races: u32,
}

impl Wait {
    /// The time between two hand-overs, as far as it was watched.
    fn turn(&self, now: Moment) -> Duration {
        now.since(self.rests_until) / (self.races + 1)
    }
}

impl Herd {
    /// Somebody else holds the key, since the index `holder`. Returns when to
    /// look again, or nothing if it is time to watch. `share`, from 0 to 1, is
    /// chance's part.
    pub(super) fn look_again(&mut self, now: Moment, holder: u64, share: f64) -> Option<Moment> {
        let rest = if now.since(self.learned_at) < self.rest { self.rest } else { Duration::ZERO };
        let wait = self.wait.get_or_insert_with(|| {
            let rests_until = now + rest.mul_f64(0.75 + share / 4.0);
            Wait { since: now, holder, rests_until, races: 0 }
        });
        if wait.holder != holder && wait.rests_until <= now {
            wait.races += 1;
            if wait.races == IN_VAIN {
                let watched = now.since(wait.rests_until).min(LONGEST);
                wait.rests_until = now + watched.mul_f64(2.0 * share);
                wait.races = 0;
            }
        }
        wait.holder = holder;
        (now < wait.rests_until).then(|| wait.rests_until.min(now + UNSEEN))
    }

    /// The key is ours.
    pub(super) fn won(&mut self, now: Moment) {
        let spared = self.wait.take().map_or(Duration::ZERO, |wait| {
            now.since(wait.since).saturating_sub(wait.turn(now) * NEAR)
        });
        // Less than the whole: so a wait that grew too long shrinks again.
        self.rest = spared.mul_f64(0.85).min(LONGEST);
        self.learned_at = now;
    }

    /// Nobody here waits any more.
    pub(super) fn left(&mut self) {
        self.wait = None;
    }
}

#[cfg(test)]
mod tests;
