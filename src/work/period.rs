//! When a periodic job is due.

use std::time::Duration;

use crate::error::Error;

/// How often a job is due, and when its periods begin; see
/// [`Dsync::every`](crate::Dsync::every).
///
/// ```
/// use std::time::Duration;
///
/// use actix_dsync::jobs::Period;
///
/// // At 02:30 UTC each day.
/// let nightly = Period::new(Duration::from_secs(24 * 3_600))
///     .starting_at(Duration::from_secs(2 * 3_600 + 30 * 60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Period {
    length: Duration,
    offset: Duration,
}

impl Period {
    /// The shortest period: 1 s.
    pub const SHORTEST: Duration = Duration::from_secs(1);

    /// Periods of that length, which begin at multiples of it since 1970, UTC: those of
    /// an hour on the hour, those of a day at midnight UTC, those of a week on Thursdays.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        Self { length, offset: Duration::ZERO }
    }

    /// Begins each period later by `offset`, which must be shorter than the period.
    ///
    /// Default: zero.
    #[must_use]
    pub fn starting_at(self, offset: Duration) -> Self {
        Self { offset, ..self }
    }

    /// How long a period is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// # Errors
    /// [`Error::Invalid`] with the field `period`.
    pub(super) fn grid(self) -> Result<Grid, Error> {
        let Self { length, offset } = self;
        let invalid = |why| Error::Invalid { field: "period", why };
        let millis = u64::try_from(length.as_millis()).ok().filter(|_| length >= Self::SHORTEST);
        let Some(millis) = millis else {
            let shortest = Self::SHORTEST;
            return Err(invalid(format!("is {length:?}; it must be {shortest:?} or longer")));
        };
        if offset >= length {
            return Err(invalid(format!(
                "starts at {offset:?}, which must be shorter than the period of {length:?}"
            )));
        }
        // Shorter than the length, which fits.
        let offset = u64::try_from(offset.as_millis()).unwrap_or(0);
        Ok(Grid { millis, offset })
    }
}

impl From<Duration> for Period {
    fn from(length: Duration) -> Self {
        Self::new(length)
    }
}

/// The begins of all periods, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    millis: u64,
    offset: u64,
}

impl Grid {
    /// When the period began that `now` is in, and when the next begins. None begins before
    /// 1970.
    pub(super) fn around(self, now: u64) -> (Option<u64>, Option<u64>) {
        match now.checked_sub(self.offset) {
            None => (None, Some(self.offset)),
            Some(since) => {
                let begin = now - since % self.millis;
                (Some(begin), begin.checked_add(self.millis))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn periods_begin_at_multiples_since_1970_or_later_by_the_offset() {
        let grid = |offset| {
            Period::new(Duration::from_millis(HOUR))
                .starting_at(Duration::from_millis(offset))
                .grid()
                .unwrap()
        };
        let (plain, late) = (grid(0), grid(HOUR / 4));
        let from = |begin| (Some(begin), Some(begin + HOUR));
        for now in [5 * HOUR, 5 * HOUR + 1, 6 * HOUR - 1] {
            assert_eq!(plain.around(now), from(5 * HOUR));
            assert_eq!(late.around(now + HOUR / 4), from(5 * HOUR + HOUR / 4));
        }
        assert_eq!(late.around(5 * HOUR), from(4 * HOUR + HOUR / 4));
        assert_eq!(late.around(1), (None, Some(HOUR / 4)), "the first is still to come");
        let longest = Period::new(Duration::from_millis(u64::MAX)).grid().unwrap();
        assert_eq!(longest.around(5 * HOUR), (Some(0), Some(u64::MAX)));
        assert_eq!(longest.around(u64::MAX), (Some(u64::MAX), None));
        let latest = Period::new(Duration::from_millis(u64::MAX));
        let latest = latest.starting_at(Duration::from_millis(u64::MAX - 1)).grid().unwrap();
        assert_eq!(latest.around(5 * HOUR), (None, Some(u64::MAX - 1)));
    }

    #[test]
    fn a_period_shorter_than_a_second_or_than_its_offset_is_refused_by_name() {
        let shortest = Period::new(Period::SHORTEST).grid().unwrap();
        assert_eq!(shortest.around(1), (Some(0), Some(1_000)));
        let second = Period::new(Duration::from_secs(1));
        for period in [
            Duration::ZERO.into(),
            Duration::from_millis(999).into(),
            Duration::MAX.into(),
            second.starting_at(Duration::from_secs(1)),
            second.starting_at(Duration::MAX),
        ] {
            let refused = period.grid().map(drop);
            assert!(matches!(refused, Err(Error::Invalid { field: "period", .. })), "{period:?}");
        }
    }
}
