//! A future that runs while this process leads.

use std::pin::pin;

use futures::future::{Either, select};

use crate::{
    dsync::Dsync,
    error::Error,
    holding::{stake::Stake, tenure::Term},
    key::Key,
    messages::Campaign,
};

impl Dsync {
    /// Campaigns for `key`, and runs `work` once in each term that this process
    /// wins: the same job in many processes, of which one does it at a time.
    ///
    /// The job runs in the future that this returns: await it, or spawn it. The
    /// campaign begins at the call. At the end of a term `work`'s future is
    /// dropped at its next await, at the latest at the deadline and before another
    /// process can lead, and at the next election `work` is called again. Work
    /// that returns is done for that term: this process goes on leading, without
    /// doing anything, so loop inside if there is always more to do. What was on
    /// its way when it was dropped is stopped only by [`Term::token`].
    ///
    /// For work that needs time to stop, see [`Singleton`](crate::Singleton).
    ///
    /// The future ends well when the campaign does: after a
    /// [`Resign`](crate::Resign), [`hand_over`](Dsync::hand_over) or
    /// [`shutdown`](Dsync::shutdown). It is a handle of the runtime: that goes on
    /// while the future is kept, also without any other.
    ///
    /// # Errors
    /// As for [`Campaign`], at the first poll. [`Error::Stopped`] also after a
    /// [`hand_over`](Dsync::hand_over), and if the runtime fails.
    ///
    /// # Panics
    /// With `work`. The process then resigns as by dropping the future.
    ///
    /// # Cancel safety
    /// Dropping the future drops the work, and then resigns if it was the last
    /// work bound to the campaign, and that was not begun by a [`Campaign`] of
    /// your own.
    ///
    /// ```no_run
    /// # async fn example(dsync: actix_dsync::Dsync) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use actix_dsync::Key;
    ///
    /// # async fn collect(fence: actix_dsync::FencingToken) {}
    /// let key = Key::new("jobs/collector")?;
    /// tokio::spawn(dsync.singleton(key, |term| async move {
    ///     loop {
    ///         collect(term.token()).await;
    ///         tokio::time::sleep(Duration::from_secs(60)).await;
    ///     }
    /// }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn singleton<F, W>(
        &self,
        key: Key,
        work: F,
    ) -> impl Future<Output = Result<(), Error>> + use<F, W>
    where
        F: Fn(Term) -> W,
        W: Future<Output = ()>,
    {
        let stake = self.stake(Campaign::on(key));
        let dsync = self.clone();
        async move {
            let stake = stake?;
            while let Some(term) = unless_over(&stake, stake.tenure().elected()).await {
                let done = unless_over(&stake, term.run(work(term.clone()))).await;
                if let Some(Ok(())) = done {
                    unless_over(&stake, term.invalid()).await;
                }
            }
            stake.withdraw().await;
            if dsync.has_died() { Err(Error::Stopped) } else { Ok(()) }
        }
    }
}

/// The output of `future`, or `None` if there is no more to do for good. The
/// future is dropped by then.
pub(super) async fn unless_over<T>(stake: &Stake, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(stake.over()), pin!(future)).await {
        Either::Left(_) => None,
        Either::Right((output, _)) => Some(output),
    }
}
