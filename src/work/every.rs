//! A job that runs once per period, in whichever process leads.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix::{Addr, Handler, Message, dev::ToEnvelope};
use humantime_serde::re::humantime;
use tokio::{sync::oneshot, time::Instant};

use super::{
    period::{Grid, Period},
    while_leading::{caught, panicked},
};
use crate::{
    actors::{LastTurn, LockSupervisor, Noted, ReadTurn, WriteTurn},
    clock::{Clock, wall_millis},
    dsync::Dsync,
    error::Error,
    holding::term::Term,
    key::Key,
    status::journal::Journal,
    token::FencingToken,
};

/// One turn of a periodic job; see [`Dsync::every`].
#[derive(Clone, Debug)]
pub struct Turn {
    term: Term,
    period: Period,
    due: u64,
}

impl Turn {
    /// The term in which the turn began. The job is dropped when the term ends.
    #[must_use]
    pub fn term(&self) -> &Term {
        &self.term
    }

    /// The token that fences this turn's writes. Turns of one term share it.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.term.token()
    }

    /// The start of this turn's period.
    #[must_use]
    pub fn due(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.due)
    }

    /// The length of the period.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period.length()
    }
}

impl Dsync {
    /// Campaigns for `key` as [`while_leading`](Dsync::while_leading) does, and runs `work`
    /// once in each period while this process leads. All processes that run a job for the
    /// same key share its turns.
    ///
    /// `period` is a `Duration` or a [`Period`]. Periods begin at multiples of their
    /// length since 1970, later by an offset if one is given, and not when the process
    /// starts: those of an hour begin on the hour, those of a day at midnight UTC.
    /// `work` is called as soon as possible in each period, even late in a period that has
    /// had no turn yet. A turn that takes longer than a period delays the next; missed
    /// periods are not made up.
    ///
    /// # A job that is stuck
    /// A record from the future (written by a process whose clock was set far ahead), a
    /// record that cannot be read, and a missing ACL right stop the job in all
    /// processes until an operator deletes the entry `.dsync/every/<key>` (under the
    /// prefix, if there is one) or grants the right. The leading process reports this in
    /// [`HealthReport::stuck`](crate::report::HealthReport::stuck), on the status page, as an
    /// incident and in the log. It retries at least once a minute.
    ///
    /// # Guarantees
    /// *At most one turn per period, across all processes and fail-overs.* Before a turn
    /// begins, a record in Consul states that the next turn may begin only in the next
    /// period. The write of the record fails unless this process holds the key and nobody
    /// else has recorded a turn. If the outcome of the write is unknown, the record is read,
    /// and the turn begins only if the record is its own.
    ///
    /// The guarantee is at most once, not exactly once: if a turn fails, panics, or is
    /// dropped with its process or term, its period gets no other turn. The next period has
    /// a turn again. A panic is caught, logged as an error and recorded as an incident. Work
    /// that must not be lost needs its own cursor.
    ///
    /// # Assumptions
    /// - The leader's time of day determines the period. If the clocks of two processes
    ///   differ, two turns can be closer than a period by that difference, but they belong
    ///   to different periods. If a clock is set back, the job waits. If a clock is set far
    ///   ahead, the job of all processes then waits until that time: it is stuck.
    /// - The store keeps the record. A store that was restored from a snapshot, or started
    ///   empty, can give a period another turn.
    /// - All processes use the same period and offset for the job. After a change, the next
    ///   turn begins in the first new period after the last old one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a period shorter than 1 s or an offset that is not shorter
    /// than the period, at the first poll; otherwise as for
    /// [`while_leading`](Dsync::while_leading). If a turn cannot be recorded, this is logged
    /// and tried again, also if the ACL right `key:write` on `.dsync/every/<key>`, under the
    /// prefix, is missing.
    ///
    /// # Cancel safety
    /// As for [`while_leading`](Dsync::while_leading). A recorded turn that is dropped before
    /// or while it runs counts as taken.
    ///
    /// ```no_run
    /// # async fn example(dsync: actix_dsync::Dsync) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use actix_dsync::Key;
    ///
    /// # async fn send_reports(of: std::time::SystemTime, fence: actix_dsync::FencingToken) {}
    /// let (key, day) = (Key::new("jobs/reports")?, Duration::from_secs(86_400));
    /// tokio::spawn(dsync.every(key, day, |turn| async move {
    ///     send_reports(turn.due(), turn.token()).await;
    /// }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn every<P, F, W>(
        &self,
        key: Key,
        period: P,
        work: F,
    ) -> impl Future<Output = Result<(), Error>> + use<P, F, W>
    where
        P: Into<Period>,
        F: Fn(Turn) -> W,
        W: Future<Output = ()>,
    {
        let (dsync, period) = (self.clone(), period.into());
        async move {
            let intake = dsync.intake();
            let calendar = Calendar {
                key: key.clone(),
                grid: period.grid()?,
                clock: intake.slots.clock(),
                supervisor: intake.supervisor.clone(),
                journal: intake.journal.clone(),
            };
            let (calendar, work, of) = (&calendar, &work, &dsync);
            let turns = async |term: Term| {
                loop {
                    let due = calendar.next_turn(&term).await;
                    let turn = Turn { term: term.clone(), period, due };
                    if let Err(panic) = caught(async { work(turn).await }).await {
                        panicked(of, &term, "a turn of the periodic job", &panic);
                    }
                }
            };
            dsync.while_leading(key, turns).await
        }
    }
}

/// The pause after a failure: the shortest and the longest.
const SHORTEST_REST: Duration = Duration::from_millis(250);
const LONGEST_REST: Duration = Duration::from_secs(10);
/// How often to read the time of day: it can be set, and timers can be late after a
/// suspend.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How often a record from the future is read again, in milliseconds: it may have been
/// deleted.
const FUTURE_PERIOD: u64 = 60_000;

/// Numbers the attempts of this process.
static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

/// The schedule of a job's turns.
struct Calendar {
    key: Key,
    grid: Grid,
    clock: Clock,
    supervisor: Addr<LockSupervisor>,
    journal: Arc<Journal>,
}

/// Whether the job is stuck, while this process leads.
struct Stuck<'a>(&'a Calendar);

impl Stuck<'_> {
    /// The job is blocked until an operator acts.
    fn because(&self, why: String) {
        let Calendar { key, journal, .. } = self.0;
        if journal.stuck(key, Some(&why)) {
            tracing::error!(%key, why, "the periodic job is stuck");
        }
    }

    fn resolved(&self) {
        self.0.journal.stuck(&self.0.key, None);
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.resolved();
    }
}

/// The consequence of the last turn.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The turn of the period that begins then is free.
    Free { due: u64 },
    /// Our own attempt has taken the turn.
    Taken { due: u64 },
    /// The next turn may begin only then.
    Later { at: u64 },
}

/// An attempt to record a turn: the turn's due time and the attempt's number.
type Attempted = (u64, u64);

/// At most one attempt takes each period's turn: the record only moves forward, and
/// names the attempt that wrote it.
fn judge(now: u64, grid: Grid, last: Option<&LastTurn>, attempted: Option<Attempted>) -> Verdict {
    if let (Some(last), Some((due, attempt))) = (last, attempted)
        && last.own == Some(attempt)
    {
        return Verdict::Taken { due };
    }
    let due = grid.begin(now);
    match last {
        Some(last) if last.next > due => Verdict::Later { at: grid.next_begin(last.next) },
        _ => Verdict::Free { due },
    }
}

/// The time in RFC 3339, which has no year after 9999.
fn date_of(millis: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    let mut text = "at ".to_owned();
    let written = time.map(|time| write!(text, "{}", humantime::format_rfc3339_seconds(time)));
    if matches!(written, Some(Ok(()))) { text } else { "never".into() }
}

impl Calendar {
    /// Waits until this process has taken the next turn, and returns its period. Does not
    /// stop when the term ends: the caller must.
    async fn next_turn(&self, term: &Term) -> u64 {
        let (key, token) = (&self.key, term.token());
        let mut rest = SHORTEST_REST;
        let mut attempted = None;
        let stuck = Stuck(self);
        loop {
            match self.try_turn(token, &mut attempted).await {
                Ok(Verdict::Taken { due }) => {
                    tracing::debug!(%key, %token, due, "job turn taken");
                    return due;
                }
                // Another process has the turn, or it is not settled yet: read again.
                Ok(Verdict::Free { .. }) => {
                    stuck.resolved();
                    tokio::time::sleep(SHORTEST_REST).await;
                }
                Ok(Verdict::Later { at }) => {
                    rest = SHORTEST_REST;
                    self.wait(at, &stuck).await;
                }
                Err(
                    error @ (Error::Invalid { .. }
                    | Error::Denied { .. }
                    | Error::NameRefused { .. }),
                ) => {
                    stuck.because(error.to_string());
                    tokio::time::sleep(rest).await;
                    rest = (rest * 2).min(LONGEST_REST);
                }
                Err(error) => {
                    tracing::warn!(%key, %token, %error, "job turn not recorded; retrying");
                    tokio::time::sleep(rest).await;
                    rest = (rest * 2).min(LONGEST_REST);
                }
            }
        }
    }

    /// Waits until the time of day reaches that time, or until the record must be read again.
    async fn wait(&self, at: u64, stuck: &Stuck<'_>) {
        let (now, millis) = (wall_millis(self.clock), self.grid.millis);
        let ahead = at.saturating_sub(now.saturating_add(millis));
        if ahead == 0 {
            stuck.resolved();
            return sleep_until(self.clock, millis, at).await;
        }
        let next = date_of(at);
        stuck.because(format!(
            "its last turn is from the future: the next may begin {next}; delete the entry \
             .dsync/every/{} if no clock is wrong any more",
            self.key
        ));
        sleep_until(self.clock, millis.min(FUTURE_PERIOD), at).await;
    }

    /// Reads the last turn, and takes the next if it is free.
    async fn try_turn(
        &self,
        token: FencingToken,
        attempted: &mut Option<Attempted>,
    ) -> Result<Verdict, Error> {
        let last = self.ask(|reply| ReadTurn { key: self.key.clone(), reply }).await?;
        let now = wall_millis(self.clock);
        let due = match judge(now, self.grid, last.as_ref(), *attempted) {
            Verdict::Free { due } => due,
            decided => return Ok(decided),
        };
        // Repeating the same write has one effect, even if the earlier one arrives late.
        let attempt = match *attempted {
            Some((same, attempt)) if same == due => attempt,
            _ => ATTEMPTS.fetch_add(1, Ordering::Relaxed),
        };
        *attempted = Some((due, attempt));
        let after = last.map(|last| last.index);
        let next = due.saturating_add(self.grid.millis);
        let write = |reply| WriteTurn { key: self.key.clone(), after, next, token, attempt, reply };
        match self.ask(write).await? {
            Noted::Done => Ok(Verdict::Taken { due }),
            Noted::Stale | Noted::NotHeld => Ok(Verdict::Free { due }),
        }
    }

    async fn ask<M, T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> M,
    ) -> Result<T, Error>
    where
        M: Message<Result = ()> + Send + 'static,
        LockSupervisor: Handler<M>,
        actix::Context<LockSupervisor>: ToEnvelope<LockSupervisor, M>,
    {
        let (reply, answer) = oneshot::channel();
        self.supervisor.do_send(message(reply));
        answer.await.unwrap_or(Err(Error::Stopped))
    }
}

/// Waits until the time of day reaches that time, even if it is set meanwhile. Waits for at
/// most `longest` milliseconds of real time, since the clock may be set back.
async fn sleep_until(clock: Clock, longest: u64, at: u64) {
    let now = wall_millis(clock);
    let at = at.min(now.saturating_add(longest));
    let (began, longest) = (Instant::now(), Duration::from_millis(longest));
    let mut left = at.saturating_sub(now);
    while left > 0 && began.elapsed() < longest {
        tokio::time::sleep(Duration::from_millis(left).min(LOOK_PERIOD)).await;
        left = at.saturating_sub(wall_millis(clock));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn an_operator_reads_a_date_even_of_a_corrupt_record() {
        assert_eq!(date_of(0), "at 1970-01-01T00:00:00Z");
        assert_eq!(date_of(253_402_300_800_000), "never");
        assert_eq!(date_of(u64::MAX), "never");
    }

    fn hourly() -> Grid {
        Period::new(Duration::from_millis(HOUR)).grid().unwrap()
    }

    fn last(next: u64, own: Option<u64>) -> LastTurn {
        LastTurn { index: 7, next, own }
    }

    #[test]
    fn a_turn_is_free_once_a_period_and_periods_only_move_on() {
        let free = |due| Verdict::Free { due };
        assert_eq!(judge(5 * HOUR + 1, hourly(), None, None), free(5 * HOUR));
        assert_eq!(judge(5 * HOUR, hourly(), Some(&last(5 * HOUR, None)), None), free(5 * HOUR));
        assert_eq!(judge(9 * HOUR, hourly(), Some(&last(5 * HOUR, None)), None), free(9 * HOUR));
        let later = |at| Verdict::Later { at };
        for now in [0, 5 * HOUR, 5 * HOUR + 1, 6 * HOUR - 1] {
            assert_eq!(judge(now, hourly(), Some(&last(6 * HOUR, None)), None), later(6 * HOUR));
        }
        // Recorded by a process with another period.
        assert_eq!(
            judge(5 * HOUR, hourly(), Some(&last(6 * HOUR - 1, None)), None),
            later(6 * HOUR)
        );
        assert_eq!(judge(5 * HOUR, hourly(), Some(&last(u64::MAX, None)), None), later(u64::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_delays_the_next_look_at_the_record_by_a_period_at_most() {
        let year = 365 * 24 * HOUR;
        let nanos: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(2 * year * 1_000_000)));
        let mut sleeping = pin!(sleep_until(Clock::Simulated(nanos), HOUR, 2 * year + HOUR));
        assert!(futures::poll!(sleeping.as_mut()).is_pending());
        nanos.store(year * 1_000_000, Ordering::Relaxed);
        let most = Duration::from_millis(HOUR) + 2 * LOOK_PERIOD;
        tokio::time::timeout(most, sleeping).await.unwrap();
    }

    #[test]
    fn a_record_of_unknown_outcome_is_settled_by_reading_who_wrote_it() {
        let now = 5 * HOUR;
        let attempted = Some((now, 3));
        let taken = Verdict::Taken { due: now };
        assert_eq!(judge(now, hourly(), Some(&last(6 * HOUR, Some(3))), attempted), taken);
        // Also if the period is over by then.
        assert_eq!(judge(now + HOUR, hourly(), Some(&last(6 * HOUR, Some(3))), attempted), taken);
        let later = Verdict::Later { at: 6 * HOUR };
        for another in [last(6 * HOUR, Some(2)), last(6 * HOUR, None)] {
            assert_eq!(judge(now, hourly(), Some(&another), attempted), later);
        }
        let before = last(5 * HOUR, Some(2));
        assert_eq!(judge(now, hourly(), Some(&before), attempted), Verdict::Free { due: now });
    }
}
