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
    pub(super) millis: u64,
    offset: u64,
}

impl Grid {
    /// When the period began that `now` is in.
    pub(super) fn begin(self, now: u64) -> u64 {
        let (since, offset) = (now % self.millis, self.offset);
        let past = if since >= offset { since - offset } else { since + (self.millis - offset) };
        now.saturating_sub(past)
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
        for now in [5 * HOUR, 5 * HOUR + 1, 6 * HOUR - 1] {
            assert_eq!(plain.begin(now), 5 * HOUR);
            assert_eq!(late.begin(now + HOUR / 4), 5 * HOUR + HOUR / 4);
        }
        assert_eq!(late.begin(5 * HOUR), 4 * HOUR + HOUR / 4);
        assert_eq!(late.begin(1), 0, "before the first");
        let longest = Period::new(Duration::from_millis(u64::MAX));
        let longest = longest.starting_at(Duration::from_millis(u64::MAX - 1)).grid().unwrap();
        assert_eq!(longest.begin(5 * HOUR), 0);
    }

    #[test]
    fn a_period_shorter_than_a_second_or_than_its_offset_is_refused_by_name() {
        assert_eq!(Period::new(Period::SHORTEST).grid().unwrap().millis, 1_000);
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
