//! When the turns of a job are due.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::period::{Grid, Period};
use crate::error::Error;

/// When a job is due, and how its turns run; see [`Dsync::every`](crate::Dsync::every).
///
/// A `Duration` and a [`Period`] are schedules, too.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use actix_dsync::jobs::{Missed, Schedule};
///
/// // Any iterator of instants: those of a cron expression, for instance.
/// let now = SystemTime::now();
/// let times = [1, 2, 4, 8].map(|hours| now + Duration::from_secs(hours * 3_600));
/// let schedule = Schedule::at(times)
///     .missed(Missed::SkipAfter(Duration::from_secs(60)))
///     .time_limit(Duration::from_secs(600));
/// ```
pub struct Schedule {
    due: Due,
    offset: Duration,
    missed: Missed,
    time_limit: Option<Duration>,
}

enum Due {
    Periods(Period),
    At(Box<dyn Iterator<Item = SystemTime> + Send>),
}

/// What happens to a due time that passes without a turn, because no process led, for
/// instance, or because the turn before took too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Missed {
    /// One turn makes up for all due times missed: that of the latest of them.
    #[default]
    RunOnce,
    /// A turn that could not begin within this time of its due time is skipped. At least
    /// 1 s: the first turn after a fail-over begins some time after its election.
    SkipAfter(Duration),
}

impl Schedule {
    /// A turn in each period.
    #[must_use]
    pub fn new(period: impl Into<Period>) -> Self {
        Self::of(Due::Periods(period.into()))
    }

    /// A turn at each of these instants: `SystemTime`s, or what converts to them, as the
    /// times of the crates `chrono` and `jiff` do.
    ///
    /// Each process has an iterator of its own; all of them must agree on the instants. The
    /// iterator is called while this process leads, when the turn before is over. Instants
    /// are rounded up to whole milliseconds. One that does not lie after the one before is
    /// ignored. An iterator that ends ends the job. One that never ends, but yields no later
    /// instant in 10,000 calls, is an error.
    ///
    /// If the clock is set back, those of the last 10,000 instants that lie after the last turn
    /// are due again at their times. An instant before the iterator's first was never due. To
    /// make up for turns missed while all processes were down, let the iterator begin in the
    /// past.
    #[must_use]
    pub fn at<I>(times: I) -> Self
    where
        I: IntoIterator<Item: Into<SystemTime> + 'static, IntoIter: Send + 'static>,
    {
        Self::of(Due::At(Box::new(times.into_iter().map(Into::into))))
    }

    fn of(due: Due) -> Self {
        Self { due, offset: Duration::ZERO, missed: Missed::default(), time_limit: None }
    }

    /// Makes each turn due later, by `offset`.
    ///
    /// Default: zero.
    #[must_use]
    pub fn later_by(self, offset: Duration) -> Self {
        Self { offset, ..self }
    }

    /// Sets what happens to missed turns.
    ///
    /// Default: [`Missed::RunOnce`].
    #[must_use]
    pub fn missed(self, missed: Missed) -> Self {
        Self { missed, ..self }
    }

    /// Drops a turn's future when it has run for this long. This is logged, and recorded as
    /// an incident. Work that never awaits cannot be dropped.
    ///
    /// Default: none; only the end of the term ends a turn. At least 1 ms.
    #[must_use]
    pub fn time_limit(self, limit: Duration) -> Self {
        Self { time_limit: Some(limit), ..self }
    }

    /// # Errors
    /// [`Error::Invalid`] with the field `period` or `schedule`.
    pub(super) fn check(self) -> Result<(Fires, Option<Duration>), Error> {
        let invalid = |why| Err(Error::Invalid { field: "schedule", why });
        if let Some(limit) = self.time_limit.filter(|limit| limit.as_millis() == 0) {
            return invalid(format!("has a time limit of {limit:?}; it must be 1 ms or longer"));
        }
        let grace = match self.missed {
            Missed::RunOnce => u64::MAX,
            Missed::SkipAfter(grace) if grace < Period::SHORTEST => {
                let shortest = Period::SHORTEST;
                return invalid(format!(
                    "skips turns after {grace:?}; it must be {shortest:?} or longer"
                ));
            }
            Missed::SkipAfter(grace) => millis(grace),
        };
        let source = match self.due {
            Due::Periods(period) => Source::Grid(period.grid()?),
            Due::At(times) => Source::Times(Times::new(times)),
        };
        Ok((Fires { source, offset: millis(self.offset), grace }, self.time_limit))
    }
}

impl From<Period> for Schedule {
    fn from(period: Period) -> Self {
        Self::new(period)
    }
}

impl From<Duration> for Schedule {
    fn from(period: Duration) -> Self {
        Self::new(period)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let due: &dyn fmt::Debug = match &self.due {
            Due::Periods(period) => period,
            Due::At(_) => &"at the times of an iterator",
        };
        f.debug_struct("Schedule")
            .field("due", due)
            .field("offset", &self.offset)
            .field("missed", &self.missed)
            .field("time_limit", &self.time_limit)
            .finish()
    }
}

/// The due times of a schedule, in milliseconds since 1970.
pub(super) struct Fires {
    source: Source,
    offset: u64,
    grace: u64,
}

enum Source {
    Grid(Grid),
    Times(Times),
}

/// The due times around a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Around {
    /// The latest that has come, unless it is missed.
    pub(super) due: Option<u64>,
    /// The first to come; `None` if there is none.
    pub(super) next: Option<u64>,
    /// Due times before this one are missed.
    pub(super) missed_before: u64,
}

/// The state of [`Fires`] at a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    At(Around),
    /// The iterator has more instants until now: look again.
    More,
    /// The iterator no longer moves forward.
    Stalled,
}

impl Fires {
    /// The due times around `now`.
    pub(super) fn look(&mut self, now: u64) -> Look {
        let at = now.saturating_sub(self.offset);
        let (latest, next) = match &mut self.source {
            Source::Grid(grid) => grid.around(at),
            Source::Times(times) => match times.advance(at) {
                Advance::Done => (times.latest(), times.next()),
                Advance::More => return Look::More,
                Advance::Stalled => return Look::Stalled,
            },
        };
        let later = |time: u64| time.checked_add(self.offset);
        let (latest, next) = (latest.and_then(later), next.and_then(later));
        let missed_before = now.saturating_sub(self.grace);
        Look::At(match latest {
            // This is before the first period.
            Some(latest) if latest > now => Around { due: None, next: Some(latest), missed_before },
            _ => Around { due: latest.filter(|due| *due >= missed_before), next, missed_before },
        })
    }
}

/// An iterator's instants. Those that have passed are kept, because the clock can be set back
/// and an iterator cannot.
struct Times {
    times: Box<dyn Iterator<Item = SystemTime> + Send>,
    /// The last [`MOST_PASSED`] that have come, in their order.
    passed: VecDeque<u64>,
    /// Those to come that were taken from the iterator, in their order.
    ahead: VecDeque<u64>,
    /// It has ended, and is not called again.
    over: bool,
}

enum Advance {
    Done,
    More,
    Stalled,
}

/// How many instants are taken from an iterator at once.
const AT_ONCE: usize = 10_000;
/// How many instants that have passed are kept: those of a day, if one comes every ten seconds.
const MOST_PASSED: usize = 10_000;

impl Times {
    fn new(times: Box<dyn Iterator<Item = SystemTime> + Send>) -> Self {
        Self { times, passed: VecDeque::new(), ahead: VecDeque::new(), over: false }
    }

    /// The latest that has come.
    fn latest(&self) -> Option<u64> {
        self.passed.back().copied()
    }

    /// The first to come.
    fn next(&self) -> Option<u64> {
        self.ahead.front().copied()
    }

    /// Goes back to `now` if the clock was set back, and takes instants until one lies after it.
    fn advance(&mut self, now: u64) -> Advance {
        while let Some(passed) = self.latest().filter(|passed| *passed > now) {
            self.passed.pop_back();
            self.ahead.push_front(passed);
        }
        let mut moved = false;
        for _ in 0..AT_ONCE {
            match self.next() {
                Some(next) if next > now => return Advance::Done,
                Some(next) => {
                    self.ahead.pop_front();
                    self.passed.push_back(next);
                    if self.passed.len() > MOST_PASSED {
                        self.passed.pop_front();
                    }
                    moved = true;
                }
                None if self.over => return Advance::Done,
                None => {}
            }
            if self.ahead.is_empty() && !self.over {
                let time = self.times.next();
                self.over = time.is_none();
                let time = time.map(since_1970).filter(|time| Some(*time) > self.latest());
                self.ahead.extend(time);
            }
        }
        let goes_on = moved || !self.ahead.is_empty() || self.over;
        if goes_on { Advance::More } else { Advance::Stalled }
    }
}

/// Rounded up to whole milliseconds; at least 0.
pub(super) fn since_1970(time: SystemTime) -> u64 {
    let nanos = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
