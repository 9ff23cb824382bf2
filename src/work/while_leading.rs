//! A future that runs while this process leads.

use super::{caught::caught, restart_pauses::RestartPauses};
use crate::{
    dsync::Dsync,
    error::Error,
    holding::{ledger::WorkGuard, term::Term, user_code::run_until},
    key::Key,
    logs,
    messages::Campaign,
};

impl Dsync {
    /// Campaigns for `key`, and runs `work` once in each term that this process wins. Many
    /// processes can call it for the same job; only one of them does the work at a time.
    ///
    /// The job runs in the returned future: await it or spawn it. The campaign starts when
    /// that future is first polled. When a term ends, `work`'s future is dropped at its next
    /// await, at the latest at the deadline and before another process can lead. `work` is
    /// called again after the next election. If `work` returns, this process continues to
    /// lead without doing anything until the term ends, so loop inside `work` if there is
    /// always more to do. Only [`Term::token`] stops a write that was sent before the future
    /// was dropped.
    ///
    /// If `work` panics, the panic is caught, logged as an error and recorded as an incident.
    /// `work` is called again in the same term after a pause that doubles from 100 ms to 10 s;
    /// a run of 10 s or more resets the pause. A panic while its future is dropped is caught and
    /// recorded, too.
    ///
    /// For work that needs time to stop, use [`Singleton`](crate::jobs::Singleton).
    ///
    /// The future returns `Ok` when the campaign ends: after a [`Resign`](crate::Resign),
    /// [`hand_over`](Dsync::hand_over) or [`shutdown`](Dsync::shutdown). It keeps the runtime
    /// running, even without any other handle.
    ///
    /// # Errors
    /// As for [`Campaign`], at the first poll. [`Error::AlreadyStarted`] if this runtime
    /// already runs work for `key`. [`Error::Stopped`] also after a
    /// [`hand_over`](Dsync::hand_over), and if the runtime fails. Any error but `Stopped` is also
    /// logged and an [`Incident`](crate::report::Incident).
    ///
    /// # Cancel safety
    /// Dropping the future drops the work, and then resigns, unless you started the campaign
    /// yourself with [`Campaign`]. A future that exists but is no longer polled keeps its key
    /// and does nothing: spawn it if that could happen.
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
            // Start here, at the first poll: a future that nobody polls must not lead.
            let guard = dsync.bind_work(Campaign::on(key.clone()));
            let guard = guard.inspect_err(|error| note_end(&dsync, &key, error))?;
            while let Some(term) = unless_over(&guard, guard.tenure().elected()).await {
                let mut pauses = RestartPauses::new();
                loop {
                    pauses.begun();
                    // Call `work` inside `run`, which reads the clock first.
                    let work = caught(async { work(term.clone()).await }, |panic| {
                        panicked(&dsync, &term, "the work of the leader", panic);
                    });
                    match unless_over(&guard, term.run(work)).await {
                        None | Some(Err(_)) => break,
                        Some(Ok(Some(()))) => {
                            unless_over(&guard, term.invalid()).await;
                            break;
                        }
                        Some(Ok(None)) => {
                            let rest = tokio::time::timeout(pauses.after_failure(), term.invalid());
                            // `Err` means that the pause ended before the term.
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

/// The output of `future`, or `None` if the work must not start again. The future is
/// dropped before this returns.
async fn unless_over<T>(guard: &WorkGuard, future: impl Future<Output = T>) -> Option<T> {
    run_until(guard.over(), future).await.ok()
}

/// Logs and records that work ended, or never began, for this reason: nobody may look at the
/// future's output.
pub(super) fn note_end(dsync: &Dsync, key: &Key, error: &Error) {
    if *error == Error::Stopped {
        return;
    }
    logs::error!(%key, %error, "the leader's work does not run");
    let what = format!("the leader's work does not run: {error}");
    dsync.intake().journal.add_incident(Some(key), what);
}

/// Logs, counts and records a panic of the leader's work.
pub(super) fn panicked(dsync: &Dsync, term: &Term, work: &str, panic: &str) {
    let (key, token) = (term.key(), term.token());
    logs::error!(%key, %token, panic, "{work} has panicked");
    let journal = &dsync.intake().journal;
    journal.telemetry().panicked(key);
    journal.add_incident(Some(key), format!("{work} has panicked: {panic}"));
}
