//! A future that runs while this process leads.

use std::{any::Any, panic::AssertUnwindSafe, pin::pin};

use futures::{
    FutureExt as _,
    future::{Either, select},
};

use super::rest::Rest;
use crate::{
    dsync::Dsync,
    error::Error,
    holding::{ledger::WorkGuard, term::Term},
    key::Key,
    messages::Campaign,
};

impl Dsync {
    /// Campaigns for `key`, and runs `work` once in each term that this process
    /// wins: the same job in many processes, of which one does it at a time.
    ///
    /// The job runs in the future that this returns: await it, or spawn it. The
    /// campaign begins when that future is first polled. At the end of a term
    /// `work`'s future is dropped at its next await, at the latest at the deadline
    /// and before another process can lead, and at the next election `work` is
    /// called again. When `work` returns, the term's work is done: this process
    /// goes on leading without doing anything, so loop inside if there is always
    /// more to do. A write that was sent before the future was dropped is stopped
    /// only by [`Term::token`].
    ///
    /// If `work` panics, the panic is caught, logged as an error and recorded as an
    /// incident, and `work` is called again in the same term after a pause that
    /// doubles from 100 ms to 10 s; a run of 10 s or more resets it.
    ///
    /// For work that needs time to stop, see [`Singleton`](crate::Singleton).
    ///
    /// The future returns `Ok` when the campaign ends: after a
    /// [`Resign`](crate::Resign), [`hand_over`](Dsync::hand_over) or
    /// [`shutdown`](Dsync::shutdown). It is a handle of the runtime, which runs
    /// while the future is kept, even without any other handle.
    ///
    /// # Errors
    /// As for [`Campaign`], at the first poll. [`Error::AlreadyStarted`] if other
    /// work of this runtime runs for `key`. [`Error::Stopped`] also after a
    /// [`hand_over`](Dsync::hand_over), and if the runtime fails.
    ///
    /// # Cancel safety
    /// Dropping the future drops the work, and then resigns, unless the campaign
    /// was begun by a [`Campaign`] of your own. A future that is kept but no longer
    /// polled keeps its key and does nothing: spawn it where that could happen.
    ///
    /// ```no_run
    /// # async fn example(dsync: actix_dsync::Dsync) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use actix_dsync::Key;
    ///
    /// # async fn collect(fence: actix_dsync::FencingToken) {}
    /// let key = Key::new("jobs/collector")?;
    /// tokio::spawn(dsync.while_leading(key, |term| async move {
    ///     loop {
    ///         collect(term.token()).await;
    ///         tokio::time::sleep(Duration::from_secs(60)).await;
    ///     }
    /// }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn while_leading<F, W>(
        &self,
        key: Key,
        work: F,
    ) -> impl Future<Output = Result<(), Error>> + use<F, W>
    where
        F: Fn(Term) -> W,
        W: Future<Output = ()>,
    {
        let dsync = self.clone();
        async move {
            // At the first poll: a future that nobody polls does not lead.
            let guard = dsync.bind_work(Campaign::on(key))?;
            while let Some(term) = unless_over(&guard, guard.tenure().elected()).await {
                let mut rest = Rest::new();
                loop {
                    rest.begun();
                    // `work` is called inside of `run`, which looks at the clock first.
                    let run = term.run(caught(async { work(term.clone()).await }));
                    match unless_over(&guard, run).await {
                        None | Some(Err(_)) => break,
                        Some(Ok(Ok(()))) => {
                            unless_over(&guard, term.invalid()).await;
                            break;
                        }
                        Some(Ok(Err(panic))) => {
                            panicked(&dsync, &term, "the work of the leader", &panic);
                            let rest = tokio::time::timeout(rest.after_failure(), term.invalid());
                            // An error: the term has outlasted the rest.
                            if !matches!(unless_over(&guard, rest).await, Some(Err(_))) {
                                break;
                            }
                        }
                    }
                }
            }
            guard.withdraw().await;
            if dsync.has_died() { Err(Error::Stopped) } else { Ok(()) }
        }
    }
}

/// The output of `future`, or `None` if there is no more to do for good. The
/// future is dropped by then.
async fn unless_over<T>(guard: &WorkGuard, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(guard.over()), pin!(future)).await {
        Either::Left(_) => None,
        Either::Right((output, _)) => Some(output),
    }
}

/// The output of `work`, or the text of its panic.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    // Nothing that a panic left half done is used again: the future is dropped.
    let output = AssertUnwindSafe(work).catch_unwind().await;
    output.map_err(|panic| panic_text(&*panic))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text").to_owned()
}

/// Logs, counts and records that work of the leader has panicked.
pub(super) fn panicked(dsync: &Dsync, term: &Term, work: &str, panic: &str) {
    let (key, token) = (term.key(), term.token());
    tracing::error!(%key, %token, panic, "{work} has panicked");
    let journal = &dsync.intake().journal;
    journal.telemetry().panicked(key);
    journal.incident(Some(key), format!("{work} has panicked: {panic}"));
}
