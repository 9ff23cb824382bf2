//! The handle to a lock runtime.

use std::{fmt, sync::Arc, time::Duration};

use actix::Recipient;

use super::request::{Reply, Request};
use crate::{
    config::Timing,
    dsync::intake::Intake,
    error::Error,
    holding::ledger::{Ledger, WorkGuard},
    key::Key,
    messages::{Campaign, Event, Events, Filter},
    status::report::{HealthReport, KeyReport, Report},
};

/// A handle to a lock runtime: the one way to its locks.
///
/// Clone it freely and share it with every worker, as `app_data` for instance;
/// it may be used from any thread and any tokio runtime. There is one Consul
/// session behind all clones.
///
/// # Ending
/// [`shutdown`](Dsync::shutdown) gives every lock back and destroys the session,
/// so that a waiter elsewhere has the lock at once: call it when
/// `HttpServer::run` has returned. Without it, the runtime does the same in the
/// background, for at most 5 s, when all that is held of it has been dropped:
/// handles, unanswered replies, [leases](crate::Lease), [terms](crate::Term),
/// [tenures](crate::Tenure), [observers](crate::Observer) and recipients. A process
/// that exits before that is done leaves the session to its TTL.
#[derive(Clone)]
pub struct Dsync(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) intake: Intake,
    pub(super) timing: Timing,
    pub(super) work: Arc<Ledger>,
}

impl Dsync {
    /// Sends a request. It is taken in at this call, in the order of calls; the
    /// reply is a future that may be awaited in any tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the reply cancels an acquisition and leaks nothing; see each
    /// request.
    pub fn send<M: Request>(&self, request: M) -> Reply<M> {
        Reply::new(request.submit(&self.0.intake), &self.0.intake)
    }

    /// The runtime as the recipient of one kind of request, for code in the
    /// style of actors and for mocks.
    ///
    /// Each recipient has a mailbox on the runtime's thread, and a request is taken
    /// in when it is read there, not at the call as by [`send`](Dsync::send). After
    /// a shutdown a request is answered [`Error::Stopped`], or
    /// [`MailboxError::Closed`](actix::MailboxError::Closed) once the thread has
    /// ended.
    ///
    /// A request that is sent without a way to be answered, by `do_send` or
    /// `try_send`, is carried out if it is for an effect: [`Release`], [`Campaign`],
    /// [`Resign`], [`Subscribe`] and [`Unsubscribe`]. One that is for its answer is
    /// ignored, with a warning in the log: nobody could have the lease.
    ///
    /// # Cancel safety
    /// Dropping the future of `Recipient::send` before the runtime has read the
    /// mailbox withdraws the request, whatever it is; use `do_send` for an effect that
    /// must come about. After that it is as for [`send`](Dsync::send): an acquisition
    /// is cancelled and leaks nothing.
    ///
    /// [`Release`]: crate::Release
    /// [`Resign`]: crate::Resign
    /// [`Subscribe`]: crate::Subscribe
    /// [`Unsubscribe`]: crate::Unsubscribe
    #[must_use]
    pub fn recipient<M: Request>(&self) -> Recipient<M> {
        M::recipient(&self.0.intake)
    }

    /// Events as a stream, from this call on, for code that is no actor.
    pub fn events<E: Event>(&self, of: impl Into<Filter>) -> Events<E> {
        self.0.intake.events(of.into())
    }

    /// Waits until there is a session with which locks can be had.
    ///
    /// # Errors
    /// If the attempt to create a session that is under way fails, why:
    /// [`Error::Unavailable`] or [`Error::Denied`]. The runtime goes on trying;
    /// call again to go on waiting. [`Error::Stopped`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ready(&self) -> Result<(), Error> {
        self.0.intake.ready().await
    }

    /// Whether the runtime works, without a message: it is answered from memory,
    /// also while the runtime's thread is stuck.
    #[must_use]
    pub fn health(&self) -> HealthReport {
        self.0.intake.health()
    }

    /// What this process knows of `key` and does about it, without a message: as
    /// [`Explain`](crate::Explain), and as quickly as [`health`](Dsync::health).
    #[must_use]
    pub fn explain(&self, key: &Key) -> KeyReport {
        self.0.intake.report_on(key)
    }

    /// What this process knows and does: its session, every key that is in use, and
    /// what went wrong lately. No message: as [`List`](crate::List). It takes time in
    /// proportion to the number of keys.
    #[must_use]
    pub fn list(&self) -> Report {
        self.0.intake.report()
    }

    pub(crate) fn intake(&self) -> &Intake {
        &self.0.intake
    }

    /// Binds work to a campaign, which is started unless it is running.
    pub(crate) fn bind_work(&self, campaign: Campaign) -> Result<WorkGuard, Error> {
        let key = self.0.intake.key_of(&campaign)?;
        self.0.work.bind(&key, || self.0.intake.begin_campaign(campaign))
    }

    /// Whether it has ended otherwise than by a [`shutdown`](Self::shutdown).
    pub(crate) fn has_died(&self) -> bool {
        self.0.intake.journal.has_died()
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.work
    }

    /// The timing in force.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.0.timing.clone()
    }

    /// Ends the runtime in good order: callers that wait are answered
    /// [`Error::Stopped`], leases that are out are lost with
    /// [`LossReason::Shutdown`](crate::LossReason::Shutdown), every key is given
    /// back, and the session destroyed. Calling it again waits for the same end.
    ///
    /// Work that is bound to leadership is stopped without being given time; call
    /// [`hand_over`](Dsync::hand_over) before.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if `limit` passed first; the runtime has ended all
    /// the same, and what it held is freed by the session's TTL.
    ///
    /// # Cancel safety
    /// Dropping the future does not call the end off.
    pub async fn shutdown(&self, limit: Duration) -> Result<(), Error> {
        self.0.intake.shutdown(limit).await
    }
}

impl fmt::Debug for Dsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dsync").field("timing", &self.0.timing).finish_non_exhaustive()
    }
}
