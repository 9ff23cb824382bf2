//! A job that runs once at each due time, in whichever process leads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{Either, pending, select};
use tokio::sync::mpsc;

use super::{
    calendar::Calendar,
    caught::caught,
    schedule::{Schedule, since_1970},
    while_leading::{note_end, panicked},
};
use crate::{
    dsync::Dsync,
    error::Error,
    holding::{term::Term, user_code::run_until},
    key::Key,
    token::FencingToken,
};

/// One turn of a periodic job; see [`Dsync::every`].
#[derive(Clone, Debug)]
pub struct Turn {
    term: Term,
    due: u64,
}

impl Turn {
    /// A turn that no runtime started, for tests of what a job does. `embedded::MockLease::term`
    /// makes its term. `due` is rounded up to whole milliseconds, and is 1970 if it lies before that.
    #[must_use]
    pub fn mock(term: Term, due: SystemTime) -> Self {
        Self { term, due: since_1970(due) }
    }

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

    /// When this turn was due: the beginning of its period, or an instant of the schedule.
    #[must_use]
    pub fn due(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.due)
    }
}

impl Dsync {
    /// Campaigns for `key` as [`while_leading`](Dsync::while_leading) does, and runs `work`
    /// once at each due time while this process leads. All processes that run a job for the
    /// same key share its turns.
    ///
    /// `schedule` is a `Duration`, a [`Period`](crate::jobs::Period), or a [`Schedule`]: of
    /// any iterator of instants, with an offset, a policy for missed turns, and a time limit
    /// for a turn. Periods begin at multiples of their length since 1970, and not when the
    /// process starts: those of an hour begin on the hour, those of a day at midnight UTC.
    ///
    /// `work` is called as soon as possible at or after each due time. A turn that takes
    /// longer than until the next due time delays the next turn. Of several missed due times,
    /// only the latest gets a turn, or none: [`Missed`](crate::jobs::Missed).
    ///
    /// The future returns `Ok` also when the schedule's iterator has ended and its last turn
    /// is over. It then resigns, so that the other processes learn the same.
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
    /// *At most one turn per due time, across all processes and fail-overs; due times only
    /// move forward.* Before a turn begins, a record in Consul states that the next turn may
    /// only be one that is due later. The write of the record fails unless this process holds
    /// the key and nobody else has recorded a turn. If the outcome of the write is unknown,
    /// the record is read, and the turn begins only if the record is its own.
    ///
    /// The guarantee is at most once, not exactly once: if a turn fails, panics, exceeds its
    /// time limit, or is dropped with its process or term, its due time gets no other turn.
    /// The next due time has a turn again. A panic is caught, logged as an error and recorded
    /// as an incident. Work that must not be lost needs its own cursor.
    ///
    /// # Assumptions
    /// - The leader's time of day determines what is due. If the clocks of two processes
    ///   differ, two turns can be closer than their due times by that difference. If a clock
    ///   is set back, the job waits. If a clock is set far ahead, the job of all processes
    ///   then waits until that time: it is stuck.
    /// - The store keeps the record. A store that was restored from a snapshot, or started
    ///   empty, can give a due time another turn.
    /// - All processes use the same schedule for the job. After a change, the next turn is
    ///   the first of the new schedule that is due later than the last turn of the old one.
    ///
    /// # Errors
    /// [`Error::Invalid`] at the first poll for a period shorter than 1 s, an offset that is
    /// not shorter than the period, or an invalid [`Schedule`]; later if the schedule's
    /// iterator no longer moves forward. Otherwise as for
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
    pub fn every<S, F, W>(
        &self,
        key: Key,
        schedule: S,
        work: F,
    ) -> impl Future<Output = Result<(), Error>> + use<S, F, W>
    where
        S: Into<Schedule>,
        F: Fn(Turn) -> W,
        W: Future<Output = ()>,
    {
        let (dsync, schedule) = (self.clone(), schedule.into());
        async move {
            let checked = schedule.check().inspect_err(|error| note_end(&dsync, &key, error));
            let (fires, time_limit) = checked?;
            let calendar = Calendar::new(key.clone(), fires, &dsync);
            let (over, mut is_over) = mpsc::channel(1);
            let (calendar, work, of, over) = (&calendar, &work, &dsync, &over);
            let turns = async |term: Term| {
                let ended = loop {
                    let due = match calendar.next_turn(&term).await {
                        Ok(Some(due)) => due,
                        Ok(None) => break Ok(()),
                        Err(error) => {
                            note_end(of, term.key(), &error);
                            break Err(error);
                        }
                    };
                    let turn = Turn { term: term.clone(), due };
                    let turn = caught(async { work(turn).await }, |panic| {
                        panicked(of, &term, "a turn of the periodic job", panic);
                    });
                    if within(time_limit, turn).await.is_none() {
                        calendar.too_long(&term, time_limit);
                    }
                };
                // Full only if the job is over already.
                let _ = over.try_send(ended);
                // Lead until the job is dropped, which resigns.
                pending::<()>().await;
            };
            let leading = std::pin::pin!(dsync.while_leading(key, turns));
            match select(leading, std::pin::pin!(is_over.recv())).await {
                Either::Left((ended, _)) => ended,
                // Never `None`: the sender is alive.
                Either::Right((ended, _)) => ended.unwrap_or(Ok(())),
            }
        }
    }
}

/// The output of `turn`, or `None` if the limit passes first.
async fn within<T>(limit: Option<Duration>, turn: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => run_until(tokio::time::sleep(limit), turn).await.ok(),
        None => Some(turn.await),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_wakes_after_its_time_limit_is_not_polled_again() {
        let second = Duration::from_secs(1);
        let mut polls = 0;
        let turn = poll_fn(|_| {
            polls += 1;
            if polls == 1 { Poll::Pending } else { Poll::Ready(()) }
        });
        let mut limited = Box::pin(within(Some(second), turn));
        assert!(futures::poll!(&mut limited).is_pending());
        tokio::time::advance(second * 2).await;
        assert_eq!(limited.await, None);
        assert_eq!(polls, 1);
        assert_eq!(within(Some(Duration::MAX), async { 7 }).await, Some(7));
    }
}
