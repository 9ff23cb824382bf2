//! Which turns of a job this process takes.

use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use actix::{Addr, Handler, Message, dev::ToEnvelope};
use humantime_serde::re::humantime;
use tokio::{sync::oneshot, time::Instant};

use super::schedule::{Around, Fires, Look};
#[cfg(test)]
use crate::mutation::Mutation;
use crate::{
    actors::{LockSupervisor, Noted, ReadTurn, WriteTurn},
    clock::{Clock, wall_millis},
    consul::turn_record::LastTurn,
    dsync::Dsync,
    error::Error,
    holding::term::Term,
    key::Key,
    logs,
    status::journal::Journal,
    token::FencingToken,
};

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

/// The turns of a job: their schedule, and their record in Consul.
pub(super) struct Calendar {
    key: Key,
    /// The full key of the record.
    entry: String,
    fires: Mutex<Fires>,
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
        if journal.set_stuck(key, Some(&why)) {
            logs::error!(%key, why, "the periodic job is stuck");
        }
    }

    fn resolved(&self) {
        self.0.journal.set_stuck(&self.0.key, None);
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
    /// The turn that is due is free.
    Free { due: u64 },
    /// Our own attempt has taken the turn.
    Taken { due: u64 },
    /// Nothing is due before that.
    Later { at: u64 },
    /// Nothing will be due any more.
    Over,
}

/// An attempt to record a turn: the turn's due time and the attempt's number.
type Attempted = (u64, u64);

/// At most one attempt takes each turn: the record only moves forward, and names the
/// attempt that wrote it.
fn judge(around: Around, last: Option<&LastTurn>, attempted: Option<Attempted>) -> Verdict {
    if let (Some(last), Some((due, attempt))) = (last, attempted)
        && last.own == Some(attempt)
        && due >= around.missed_before
    {
        return Verdict::Taken { due };
    }
    let is_free = |due: &u64| last.is_none_or(|last| last.next <= *due);
    #[cfg(test)]
    let is_free = |due: &u64| is_free(due) || Mutation::TurnRepeated.is_chosen();
    match (around.due.filter(is_free), around.next) {
        (Some(due), _) => Verdict::Free { due },
        (None, Some(at)) => Verdict::Later { at },
        (None, None) => Verdict::Over,
    }
}

/// When the next turn may begin, in RFC 3339, which has no year after 9999.
fn beginning(millis: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    let mut text = "the next may begin at ".to_owned();
    let written = time.map(|time| write!(text, "{}", humantime::format_rfc3339_seconds(time)));
    if matches!(written, Some(Ok(()))) { text } else { "no other may ever begin".into() }
}

impl Calendar {
    pub(super) fn new(key: Key, fires: Fires, dsync: &Dsync) -> Self {
        let intake = dsync.intake();
        Self {
            entry: intake.record_of(&key),
            key,
            fires: Mutex::new(fires),
            clock: intake.slots.clock(),
            supervisor: intake.supervisor.clone(),
            journal: intake.journal.clone(),
        }
    }

    /// A turn was dropped at its time limit.
    pub(super) fn too_long(&self, term: &Term, limit: Option<Duration>) {
        let (key, token, limit) = (&self.key, term.token(), limit.unwrap_or_default());
        logs::warn!(%key, %token, ?limit, "job turn dropped at its time limit");
        let what = format!("a turn of the periodic job was dropped at its time limit of {limit:?}");
        self.journal.add_incident(Some(key), what);
    }

    /// Waits until this process has taken the next turn, and returns when it was due; `None`
    /// if there is no next turn. Does not stop when the term ends: the caller must.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the schedule's iterator no longer moves forward.
    pub(super) async fn next_turn(&self, term: &Term) -> Result<Option<u64>, Error> {
        let (key, token) = (&self.key, term.token());
        let mut rest = SHORTEST_REST;
        let mut attempted = None;
        let stuck = Stuck(self);
        loop {
            let around = self.look().await?;
            match self.try_turn(around, token, &mut attempted).await {
                Ok((Verdict::Taken { due }, _)) => {
                    // Recording it may have taken long.
                    if due < self.look().await?.missed_before {
                        logs::debug!(%key, %token, due, "job turn skipped: too late");
                        continue;
                    }
                    logs::debug!(%key, %token, due, "job turn taken");
                    return Ok(Some(due));
                }
                Ok((Verdict::Over, last)) => {
                    let now = wall_millis(self.clock);
                    // A record from the future hides the last turn.
                    let hides = |last: &LastTurn| last.next > now.saturating_add(1);
                    match last.filter(|last| around.due.is_some() && hides(last)) {
                        None => return Ok(None),
                        last => self.wait(now, last.as_ref(), &stuck).await,
                    }
                }
                // Another process has the turn, or it is not settled yet: read again.
                Ok((Verdict::Free { .. }, _)) => {
                    stuck.resolved();
                    tokio::time::sleep(SHORTEST_REST).await;
                }
                Ok((Verdict::Later { at }, last)) => {
                    rest = SHORTEST_REST;
                    self.wait(at, last.as_ref(), &stuck).await;
                }
                Err(
                    error @ (Error::Invalid { .. }
                    | Error::Denied { .. }
                    | Error::NameRefused { .. }),
                ) => {
                    stuck.because(format!("{error} (the entry {})", self.entry));
                    tokio::time::sleep(rest).await;
                    rest = (rest * 2).min(LONGEST_REST);
                }
                Err(error) => {
                    logs::warn!(%key, %token, %error, "job turn not recorded; retrying");
                    tokio::time::sleep(rest).await;
                    rest = (rest * 2).min(LONGEST_REST);
                }
            }
        }
    }

    /// The due times around this moment.
    async fn look(&self) -> Result<Around, Error> {
        loop {
            let now = wall_millis(self.clock);
            match self.fires.lock().unwrap_or_else(PoisonError::into_inner).look(now) {
                Look::At(around) => return Ok(around),
                Look::More => {}
                Look::Stalled => {
                    let why = "no longer moves forward: its iterator repeats instants".into();
                    return Err(Error::Invalid { field: "schedule", why });
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the time of day reaches that time, or until the record must be read again.
    async fn wait(&self, at: u64, last: Option<&LastTurn>, stuck: &Stuck<'_>) {
        // The last turn may be the one that we wait for: a clock can be a little ahead.
        let Some(last) = last.filter(|last| last.next > at.saturating_add(1)) else {
            stuck.resolved();
            return sleep_until(self.clock, u64::MAX, at).await;
        };
        let (next, entry) = (beginning(last.next), &self.entry);
        stuck.because(format!(
            "its last turn is from the future: {next}; delete the entry {entry} if no clock is \
             wrong any more"
        ));
        sleep_until(self.clock, FUTURE_PERIOD, last.next).await;
    }

    /// Reads the last turn, and takes the next if it is free.
    async fn try_turn(
        &self,
        around: Around,
        token: FencingToken,
        attempted: &mut Option<Attempted>,
    ) -> Result<(Verdict, Option<LastTurn>), Error> {
        let last = self.ask(|reply| ReadTurn { key: self.key.clone(), reply }).await?;
        let due = match judge(around, last.as_ref(), *attempted) {
            Verdict::Free { due } => due,
            decided => return Ok((decided, last)),
        };
        // Repeating the same write has one effect, even if the earlier one arrives late.
        let attempt = match *attempted {
            Some((same, attempt)) if same == due => attempt,
            _ => ATTEMPTS.fetch_add(1, Ordering::Relaxed),
        };
        *attempted = Some((due, attempt));
        let after = last.as_ref().map(|last| last.index);
        let next = due.saturating_add(1);
        let write = |reply| WriteTurn { key: self.key.clone(), after, next, token, attempt, reply };
        let verdict = match self.ask(write).await? {
            Noted::Done => Verdict::Taken { due },
            Noted::Stale | Noted::NotHeld => Verdict::Free { due },
        };
        Ok((verdict, last))
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
/// most `longest` milliseconds of real time, and no longer than it would without the clock
/// being set.
async fn sleep_until(clock: Clock, longest: u64, at: u64) {
    let mut left = at.saturating_sub(wall_millis(clock));
    let longest = Duration::from_millis(left.min(longest));
    let began = Instant::now();
    while left > 0 && began.elapsed() < longest {
        let rest = longest.saturating_sub(began.elapsed());
        tokio::time::sleep(Duration::from_millis(left).min(LOOK_PERIOD).min(rest)).await;
        left = at.saturating_sub(wall_millis(clock));
    }
}

#[cfg(test)]
mod tests;
