//! The handle to a lock runtime.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use actix::Recipient;

use super::request::{Reply, Request};
use crate::{
    config::Timing,
    dsync::intake::Intake,
    error::Error,
    holding::ledger::{Ledger, WorkGuard},
    key::Key,
    messages::{Campaign, Event, Events, Filter},
    status::{
        findings::Preflight,
        report::{HealthReport, KeyReport, Report},
    },
};

/// A handle to a lock runtime. All access to its locks goes through a handle.
///
/// Clone it freely and share it with every worker, for instance as `app_data`; it works from
/// any thread and any Tokio runtime. All clones share one Consul session.
///
/// # Ending
/// [`shutdown`](Dsync::shutdown) releases every lock and destroys the session, so that a
/// waiter elsewhere acquires the lock at once. Call it after `HttpServer::run` has returned.
/// Without it, the runtime does the same in the background, for at most 5 s, once everything
/// that keeps it running was dropped: handles, pending replies, [leases](crate::Lease),
/// [terms](crate::Term), [tenures](crate::Tenure), [observers](crate::Observer) and
/// recipients. If the process exits before that is done, the session ends by its TTL.
#[derive(Clone)]
pub struct Dsync(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) intake: Intake,
    pub(super) work: Arc<Ledger>,
}

impl Dsync {
    /// Sends a request. The reply is a future that can be awaited in any Tokio runtime.
    ///
    /// The call starts the request, and requests for one key are received in the order of the
    /// calls. Only [`Inspect`], [`ReadEntry`] and [`Holders`] start when the reply is first
    /// polled: they read Consul, and at most 64 of them do at the same time.
    ///
    /// # Cancel safety
    /// Dropping the reply cancels an acquisition and leaks nothing; see each request.
    ///
    /// [`Holders`]: crate::admin::Holders
    /// [`Inspect`]: crate::Inspect
    /// [`ReadEntry`]: crate::fencing::ReadEntry
    pub fn send<M: Request>(&self, request: M) -> Reply<M> {
        Reply::new(request.submit(&self.0.intake), &self.0.intake)
    }

    /// Returns the runtime as the recipient of one kind of request, for actor-style code and
    /// for mocks.
    ///
    /// Each recipient has a mailbox on the runtime's thread. A request is received when the
    /// runtime reads it from there, not at the call as with [`send`](Dsync::send). After a
    /// shutdown, the reply is [`Error::Stopped`], or
    /// [`MailboxError::Closed`](actix::MailboxError::Closed) once the thread has ended.
    ///
    /// `do_send` and `try_send` send a request that cannot be answered. It is carried out if
    /// it has an effect: [`Release`], [`ReleaseAll`], [`Campaign`], [`Resign`], [`Subscribe`],
    /// [`Unsubscribe`], [`UpdateValue`], [`Write`], [`ForceRelease`] and [`StepDown`]. Any other
    /// request is ignored with a warning in the log, because nobody could receive its reply.
    ///
    /// # Cancel safety
    /// Dropping the future of `Recipient::send` before the runtime has read the mailbox
    /// withdraws any request; use `do_send` for an effect that must happen. After that, it
    /// behaves as with [`send`](Dsync::send): an acquisition is cancelled and leaks nothing.
    ///
    /// [`ForceRelease`]: crate::admin::ForceRelease
    /// [`Release`]: crate::Release
    /// [`ReleaseAll`]: crate::ReleaseAll
    /// [`Resign`]: crate::Resign
    /// [`StepDown`]: crate::admin::StepDown
    /// [`Subscribe`]: crate::events::Subscribe
    /// [`Unsubscribe`]: crate::events::Unsubscribe
    /// [`UpdateValue`]: crate::UpdateValue
    /// [`Write`]: crate::fencing::Write
    #[must_use]
    pub fn recipient<M: Request>(&self) -> Recipient<M> {
        M::recipient(&self.0.intake)
    }

    /// Returns a stream of events from this call on, for code outside actors. The first ones
    /// are the current state, as for an actor that [subscribes](crate::events::Subscribe).
    ///
    /// Unread events wait in memory without a limit. The stream ends with the runtime.
    pub fn events<E: Event>(&self, of: impl Into<Filter>) -> Events<E> {
        self.0.intake.events(of.into())
    }

    /// Waits until a session exists, so that locks can be acquired.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Denied`] if the current attempt to create a session
    /// fails, [`Error::Invalid`] if the servers refuse the session's TTL. The runtime keeps trying;
    /// call again to keep waiting. [`Error::Stopped`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ready(&self) -> Result<(), Error> {
        self.0.intake.ready().await
    }

    /// Checks what locks need: the agent, its limits, the token's rights, and what the timing
    /// means. The result says what is missing, with the ACL policy to paste. Without rights,
    /// Consul answers as if keys were free and sessions gone, so run it at the start of a
    /// service, and log its result. The status page shows the last result.
    ///
    /// It checks the keys below [`Config::prefix`](crate::Config::prefix), and of the keys in use
    /// the first 20 by name; without a prefix and a key in use, all keys. It changes no key. It
    /// creates a session for a moment.
    ///
    /// # Errors
    /// [`Error::Stopped`]. An agent that does not answer is a finding. The checks end within
    /// 20 s. They wait while 64 other preflights and readings of Consul are under way.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the checks.
    pub async fn preflight(&self) -> Result<Preflight, Error> {
        self.0.intake.preflight(BTreeSet::new()).await
    }

    /// Like [`preflight`](Dsync::preflight), and also checks `keys`, with two requests each.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the checks.
    pub async fn preflight_for(
        &self,
        keys: impl IntoIterator<Item = Key>,
    ) -> Result<Preflight, Error> {
        self.0.intake.preflight(keys.into_iter().collect()).await
    }

    /// Returns the runtime's health. Sends no message: the report comes from memory, even
    /// while the runtime's thread is stuck.
    #[must_use]
    pub fn health(&self) -> HealthReport {
        self.0.intake.health()
    }

    /// Returns the state of `key` in this process, like [`Explain`](crate::Explain). Sends no
    /// message and is as quick as [`health`](Dsync::health).
    #[must_use]
    pub fn explain(&self, key: &Key) -> KeyReport {
        self.0.intake.report_on(key)
    }

    /// Returns the state of this process, like [`List`](crate::List): its session, every key
    /// in use, and recent incidents. Sends no message; its cost is proportional to the number
    /// of keys.
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

    /// Whether the runtime ended without a [`shutdown`](Self::shutdown).
    pub(crate) fn has_died(&self) -> bool {
        self.0.intake.journal.has_died()
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.work
    }

    /// The runtime's timing.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.0.intake.timing.clone()
    }

    /// Ends the runtime in good order. Waiting callers get [`Error::Stopped`], current leases
    /// are lost with [`LossReason::Shutdown`](crate::LossReason::Shutdown), every key is
    /// released, the session is destroyed, and then the runtime logs out. A second call waits
    /// for the same end, and a later one returns what the first did.
    ///
    /// Work that depends on leadership is stopped without time to stop; call
    /// [`hand_over`](Dsync::hand_over) first.
    ///
    /// A [`ForceRelease`](crate::admin::ForceRelease) or [`StepDown`](crate::admin::StepDown) that
    /// is under way is cut off: its reply is [`Error::Stopped`], and the session that it made keeps
    /// the key until it expires.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if `limit` passes first, or if the runtime has failed;
    /// [`Error::Denied`], or `Unavailable` if the token is not known any more, if Consul refuses to
    /// destroy the session. A logout that fails is logged, and is no error. The runtime
    /// has ended even then; the end of the session by its TTL frees what it held, and the token of
    /// a login stays until it expires. The end of a login's token is waited for beyond `limit`, for
    /// up to twice the [request timeout](crate::Timing::request_timeout). The runtime's thread
    /// measures `limit`: while something blocks that thread, a subscriber of the log for instance,
    /// this future waits.
    ///
    /// # Cancel safety
    /// Dropping the future does not cancel the shutdown.
    pub async fn shutdown(&self, limit: Duration) -> Result<(), Error> {
        self.0.intake.shutdown(limit).await
    }
}

impl fmt::Debug for Dsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dsync").field("timing", &self.0.intake.timing).finish_non_exhaustive()
    }
}
