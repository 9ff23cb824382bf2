//! The orderly end of leadership, before the end of the process.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use tokio::time::{Instant, timeout};

use crate::{
    dsync::Dsync,
    error::{Error, Step},
    holding::slot::Slot,
    key::Key,
    logs,
    ownership::{LossReason, Released},
};

/// Why a key is not handed over in time. What a person can mend comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Late {
    Working,
    Unconfirmed,
}

/// Whether the key is free after this outcome of its release.
fn is_free(released: Released) -> bool {
    use LossReason::{DeadlinePassed, RuntimeFailed, Shutdown};
    // The session may still have it.
    !matches!(released, Released::AlreadyLost(DeadlinePassed | RuntimeFailed | Shutdown))
}

impl Dsync {
    /// Hands leadership over, so that another process is elected at once.
    ///
    /// Stops every [`Singleton`](crate::jobs::Singleton) and job of this runtime, each within its
    /// time to stop, and resigns every campaign as soon as no work depends on it any more.
    /// Returns when Consul has confirmed the releases, like the reply to
    /// [`Resign`](crate::Resign), including those of earlier resignations.
    ///
    /// It does not wait for a key for which this process only contends, nor for one whose term
    /// was lost before, as during an earlier call that failed: [`shutdown`](Dsync::shutdown), or
    /// the end of the session, frees such a key if it is still locked.
    ///
    /// Call it first when a service ends. Locks stay, since requests in progress may need
    /// them; [`shutdown`](Dsync::shutdown) releases them at the end. From the call on, no
    /// singleton or job starts; a [`Campaign`](crate::Campaign) that is sent later contends
    /// again.
    ///
    /// With an actix-web server, use [`hand_over_on`](Dsync::hand_over_on).
    ///
    /// # Errors
    /// [`Error::Unavailable`] if `limit` passes first. It names one key that was not handed over,
    /// and says whether its work has not stopped or Consul has not confirmed its release.
    /// If Consul was unreachable, the keys become free once it is reachable, or when the
    /// session ends. Work that may still be running keeps only its own key, so that two never
    /// run at the same time: an actor that is busy and has not stopped, or a job whose future
    /// exists and is not polled. When it stops, its campaign ends, unless you started the
    /// campaign yourself. [`Error::Stopped`] if the runtime has failed, or a
    /// [`shutdown`](Dsync::shutdown) has: the end of the session by its TTL frees its keys.
    ///
    /// # Cancel safety
    /// Dropping the future does not cancel the end of singletons and jobs; campaigns that
    /// you started may continue. Call it again to continue with the rest.
    pub async fn hand_over(&self, limit: Duration) -> Result<(), Error> {
        let began = Instant::now();
        let bound = self.ledger().close();
        // After a shutdown, work can still be stopping although no slot is left.
        let mut keys: BTreeMap<Key, Option<Arc<Slot>>> =
            bound.into_iter().map(|key| (key, None)).collect();
        let slots = self.intake().slots.all();
        keys.extend(slots.into_iter().map(|slot| (slot.key.clone(), Some(slot))));
        let late = join_all(keys.iter().map(async |(key, slot)| {
            if timeout(limit, self.ledger().stopped(key)).await.is_err() {
                return Some((Late::Working, key));
            }
            let given_back = slot.as_ref()?.callers.stand_down()?;
            let rest = limit.saturating_sub(began.elapsed());
            let is_free = timeout(rest, given_back).await.is_ok_and(|it| it.is_ok_and(is_free));
            (!is_free).then_some((Late::Unconfirmed, key))
        }));
        let late: BTreeSet<(Late, &Key)> = late.await.into_iter().flatten().collect();
        let Some(&(ref what, key)) = late.first() else {
            let has_failed =
                self.has_died() || self.intake().journal.end().is_some_and(|it| it.is_err());
            return if has_failed { Err(Error::Stopped) } else { Ok(()) };
        };
        let what = match what {
            Late::Working => "its work has not stopped",
            Late::Unconfirmed => "Consul has not confirmed the release",
        };
        let more = late.len() - 1;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let why = format!("leadership was not handed over within {limit:?}: {what}{more}");
        Err(Error::unavailable(Step::Release, why).naming(key))
    }

    /// Waits for `signal`, then [hands leadership over](Dsync::hand_over). Use the future as
    /// the shutdown signal of an actix-web server: when it completes, the server stops
    /// accepting connections and finishes the requests in progress. An error is logged.
    ///
    /// With a shutdown signal, actix-web does not listen to the signals of the operating system:
    /// `signal` must cover each that should end the service, usually SIGTERM and SIGINT.
    ///
    /// A service thus ends in this order: stop singletons and jobs, resign, stop accepting
    /// requests, finish those in progress, release their locks, end the session.
    ///
    /// # Cancel safety
    /// As for [`hand_over`](Dsync::hand_over).
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use actix::{Actor, Context};
    /// use actix_dsync::{Dsync, Key, jobs::Singleton};
    /// use actix_web::{App, HttpServer, web};
    /// use tokio::signal::unix::{SignalKind, signal};
    ///
    /// struct Sweeper;
    ///
    /// impl Actor for Sweeper {
    ///     type Context = Context<Self>;
    /// }
    ///
    /// #[actix_web::main]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     // First: a process that cannot serve must not lead.
    ///     let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
    ///     let dsync = Dsync::from_env("billing")?.prefix("shop").start()?;
    ///     let sweeper =
    ///         Singleton::new(|_| Sweeper).on(Key::new("jobs/sweeper")?).start(&dsync)?;
    ///
    ///     // SIGTERM comes from an orchestrator, SIGINT from Ctrl-C. With a shutdown signal,
    ///     // actix-web handles neither by itself.
    ///     let mut terminate = signal(SignalKind::terminate())?;
    ///     let mut interrupt = signal(SignalKind::interrupt())?;
    ///     let told_to_end = async move {
    ///         tokio::select! {
    ///             _ = terminate.recv() => {}
    ///             _ = interrupt.recv() => {}
    ///         }
    ///     };
    ///     let shared = web::Data::new(dsync.clone());
    ///     HttpServer::new(move || App::new().app_data(shared.clone()))
    ///         .listen(listener)?
    ///         // Stops the sweeper and resigns, then drains.
    ///         .shutdown_signal(dsync.hand_over_on(told_to_end, Duration::from_secs(5)))
    ///         .shutdown_timeout(20)
    ///         .run()
    ///         .await?;
    ///
    ///     drop(sweeper);
    ///     // Releases the remaining locks and ends the session. If Consul is unreachable, the
    ///     // session ends by its TTL, so this is no reason to fail.
    ///     if let Err(error) = dsync.shutdown(Duration::from_secs(5)).await {
    ///         eprintln!("warning: {error}");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn hand_over_on<S>(
        &self,
        signal: S,
        limit: Duration,
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: Future<Output = ()> + Send,
    {
        let dsync = self.clone();
        async move {
            signal.await;
            if let Err(error) = dsync.hand_over(limit).await {
                logs::warn!(%error, "the hand-over failed: nobody may lead until the session has ended");
            }
        }
    }
}
