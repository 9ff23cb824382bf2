//! When one of many waiters rests instead of watching.
//!
//! ```text
//!   holder seen ─► rest ─────────────────► watch ─► race ─► race ─► … ─► won
//!                  most of the last wait            │ many in vain
//!                  ▲                                ▼
//!                  └─────────────────────────────── a shorter one
//! ```
//!
//! Each hand-over wakes every watching waiter, and all but one of them try in vain.
//! A waiter does not know how many others there are, but it learns from its last
//! wait: how many hand-overs passed before it won, and how long each took. It
//! rejoins at the end of the line, so it rests for most of that time and watches
//! only when its turn is near. The watchers are then the longest waiters, about a
//! tenth of all.
//!
//! With few rivals nobody rests. A resting waiter reads the key once a second, so
//! it notices when the herd has gone.

use std::time::Duration;

use crate::clock::Moment;

/// The number of hand-overs before its turn at which a waiter starts watching. With
/// no more rivals than this, it never rests.
const NEAR: u32 = 4;
/// Consecutive lost races after which a waiter rests again.
const IN_VAIN: u32 = 8;
/// The longest time between two reads of the key.
const UNSEEN: Duration = Duration::from_secs(1);
/// The longest rest: a long wait can have other causes than a herd.
const LONGEST: Duration = Duration::from_secs(5);

/// One waiter's knowledge of the herd.
#[derive(Debug, Default)]
pub(super) struct Herd {
    wait: Option<Wait>,
    /// The length of a wait's first rest; valid for that long after `learned_at`.
    rest: Duration,
    learned_at: Moment,
}

/// The current wait.
#[derive(Debug)]
struct Wait {
    since: Moment,
    /// The index at which the last seen holder locked the key.
    holder: u64,
    /// The end of the rest; each later hand-over is a race.
    rests_until: Moment,
    races: u32,
}

impl Wait {
    /// The mean time between two hand-overs, measured while watching.
    fn turn(&self, now: Moment) -> Duration {
        now.since(self.rests_until) / (self.races + 1)
    }
}

impl Herd {
    /// Notes that another session holds the key since the index `holder`. Returns when
    /// to read again, or `None` if it is time to watch. `share` is a random number
    /// between 0 and 1.
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

    /// Notes that the key was won.
    pub(super) fn won(&mut self, now: Moment) {
        let spared = self.wait.take().map_or(Duration::ZERO, |wait| {
            now.since(wait.since).saturating_sub(wait.turn(now) * NEAR)
        });
        // Less than the whole, so that an overlong rest shrinks again.
        self.rest = spared.mul_f64(0.85).min(LONGEST);
        self.learned_at = now;
    }

    /// Notes that nobody here waits any more.
    pub(super) fn left(&mut self) {
        self.wait = None;
    }
}

#[cfg(test)]
mod tests;
