//! What a caller holds: its exclusive ownership of a key, while it lasts.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use crate::{
    holding::{callers::Grant, keep_alive::KeepAlive, lease_state::LeaseState},
    key::Key,
    ownership::{LossReason, Lost, Released},
    token::FencingToken,
};

/// One caller's exclusive ownership of a key.
///
/// Nobody else, in this process or another, has the lock while
/// [`is_valid`](Lease::is_valid) says true. It is judged by a monotonic clock at
/// the moment of the question and needs neither the network nor the runtime's
/// thread: it turns false before Consul can give the lock to anybody else, also
/// when the network is silent, Consul is frozen, or this process was stopped and
/// continued. Once false it stays false.
///
/// What it cannot do is stop a write that is already on its way. Hand
/// [`token`](Lease::token) to the protected resource and let that refuse older
/// tokens; without such a check a lock is advisory.
///
/// It keeps the runtime running, also when every [`Dsync`](crate::Dsync) has been
/// dropped.
///
/// Dropping a lease gives the lock back, without blocking and without a
/// confirmation; send [`Release`](crate::Release) to know. A lease is not
/// re-entrant: a second `Acquire` by its owner waits for the first to end.
///
/// A lease that is not kept protects nothing. This does not compile where unused
/// values are denied:
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use actix_dsync::{Acquire, Dsync, Error, Key};
/// # async fn example(dsync: &Dsync, key: Key) -> Result<(), Error> {
/// dsync.send(Acquire::new(key)).await?; // given back at once: what follows runs unlocked
/// # Ok(())
/// # }
/// ```
/// Give it a name:
/// ```
/// #![deny(unused_must_use)]
/// # use actix_dsync::{Acquire, Dsync, Error, Key};
/// # async fn example(dsync: &Dsync, key: Key) -> Result<(), Error> {
/// let _lease = dsync.send(Acquire::new(key)).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a lease gives the lock back at once"]
pub struct Lease {
    grant: Grant,
    _keep_alive: Arc<KeepAlive>,
}

impl Lease {
    /// The lease of a grant; it keeps the runtime running.
    pub(crate) fn of(grant: Grant, keep_alive: Arc<KeepAlive>) -> Self {
        Self { grant, _keep_alive: keep_alive }
    }

    /// The part of it that may be looked at elsewhere.
    pub(crate) fn state(&self) -> &Arc<LeaseState> {
        self.grant.state()
    }

    /// The key that is owned.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.state().key()
    }

    /// The number that orders this ownership among all of its key.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.state().token()
    }

    /// Whether the lock is still owned, judged by the clock at this moment.
    ///
    /// It costs one reading of the clock, sends no message and may be asked from
    /// any thread. Ask it last before an act that cannot be fenced by the token.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.state().is_valid()
    }

    /// For how long the lock stays owned at least as far as the clock goes, if
    /// no further renewal is answered; zero once it is lost. While Consul can be
    /// reached this grows again with every renewal.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.state().remaining()
    }

    /// Waits until the lease is lost, and says why. It never ends for a lease
    /// that is given back.
    ///
    /// It holds a timer of its own for the deadline in the runtime that polls
    /// it, so it ends in time even if the lock runtime's thread is stuck.
    ///
    /// # Panics
    /// When it is polled outside a tokio (or actix) runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let state = self.state().clone();
        async move { state.lost().await }
    }

    /// Runs `work` while the lease lasts, and drops it at the moment of loss.
    ///
    /// The lease is looked at before each time that `work` is polled, and a
    /// timer ends it at the deadline. A result that was ready is returned even
    /// if the lease ended while it was being made.
    ///
    /// # Errors
    /// [`Lost`] if the lease was lost first. `work` may have got anywhere, and
    /// what it sent may still arrive: that is what the token is for.
    ///
    /// # Panics
    /// When it is polled outside a tokio (or actix) runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future drops `work`; the lease stays with its owner.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Lost> {
        self.state().run(work).await
    }

    /// Gives the lock back with this call; the future is how that went.
    pub(crate) fn give_back(self) -> impl Future<Output = Released> + Send + use<> {
        self.grant.give_back()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", self.key())
            .field("token", &self.token())
            .field("valid", &self.is_valid())
            .finish_non_exhaustive()
    }
}
