//! The orderly end of leadership, before that of the process.

use std::time::Duration;

use futures::future::join_all;

use crate::{
    dsync::Dsync,
    error::{Error, Step},
};

impl Dsync {
    /// Hands leadership over, so that another process is elected at once: stops
    /// every [`Singleton`](crate::Singleton) and job of this runtime, each within
    /// the time that it may take, and resigns all campaigns, each as soon as
    /// nothing that depends on it works any more. It returns when Consul has their
    /// keys back, as the reply to [`Resign`](crate::Resign) does, also those of which
    /// somebody resigned before.
    ///
    /// It is the first step of a service's end. Locks go on as before, since the
    /// requests that are still served may need them;
    /// [`shutdown`](Dsync::shutdown) gives those back at the end. From the call on
    /// no singleton or job is started; a [`Campaign`](crate::Campaign) that is sent
    /// later contends again.
    ///
    /// With an actix-web server, use [`hand_over_on`](Dsync::hand_over_on).
    ///
    /// # Errors
    /// [`Error::Unavailable`] if `limit` passed first. If Consul could not be
    /// reached, the keys are free when it can, or with the session's end. What may
    /// still work keeps its own key and no other, so that never two work at a time:
    /// an actor that is busy and has not stopped, and a job whose future exists and
    /// is not polled. When it stops, its campaign ends, unless that is one of your
    /// own.
    ///
    /// # Cancel safety
    /// Dropping the future does not call the end of singletons and jobs off;
    /// campaigns of your own may go on. Calling it again goes on with the rest.
    pub async fn hand_over(&self, limit: Duration) -> Result<(), Error> {
        self.ledger().close();
        let slots = self.intake().slots.all();
        let handed_over = join_all(slots.iter().map(async |slot| {
            self.ledger().stopped(&slot.key).await;
            if let Some(given_back) = slot.callers.stand_down() {
                // Without an answer the runtime is gone, and the session with it.
                let _ = given_back.await;
            }
        }));
        tokio::time::timeout(limit, handed_over).await.map(drop).map_err(|_| {
            let why = format!("leadership was not handed over within {limit:?}");
            Error::Unavailable { step: Step::Release, why }
        })
    }

    /// Waits for `signal`, and then [hands leadership over](Dsync::hand_over): a
    /// future for the shutdown signal of an actix-web server. That stops to accept
    /// connections when the future ends, and serves what it has accepted to its
    /// end. An error is logged.
    ///
    /// So the order at the end of a service is: stop singletons and jobs, resign,
    /// accept no more requests, finish those that are served, give their locks
    /// back, end the session.
    ///
    /// # Cancel safety
    /// As for [`hand_over`](Dsync::hand_over).
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use actix::{Actor, Context};
    /// use actix_dsync::{Dsync, Key, Singleton};
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
    ///     let dsync = Dsync::from_env("orders")?.start()?;
    ///     let sweeper =
    ///         Singleton::new(|_| Sweeper).on(Key::new("jobs/sweeper")?).start(&dsync)?;
    ///
    ///     let mut terminate = signal(SignalKind::terminate())?;
    ///     let terminated = async move {
    ///         terminate.recv().await;
    ///     };
    ///     let shared = web::Data::new(dsync.clone());
    ///     HttpServer::new(move || App::new().app_data(shared.clone()))
    ///         .listen(listener)?
    ///         // Stops the sweeper and resigns, then drains.
    ///         .shutdown_signal(dsync.hand_over_on(terminated, Duration::from_secs(5)))
    ///         .shutdown_timeout(20)
    ///         .run()
    ///         .await?;
    ///
    ///     drop(sweeper);
    ///     // Gives back what locks are left, and ends the session. If Consul is gone,
    ///     // the session's TTL does that: no reason to fail.
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
                tracing::warn!(%error, "leadership may be vacant until the session has ended");
            }
        }
    }
}
