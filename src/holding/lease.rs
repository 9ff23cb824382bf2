//! A lease: one caller's exclusive ownership of a key.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use crate::{
    holding::{callers::Grant, keep_alive::KeepAlive, lease_state::LeaseState},
    key::Key,
    ownership::{LossReason, Lost, Released},
    token::FencingToken,
};

/// One caller's exclusive ownership of a key.
///
/// While [`is_valid`](Lease::is_valid) returns true, nobody else has the lock, in
/// this process or another. The method reads a monotonic clock and needs neither the
/// network nor the runtime's thread. It turns false before Consul can give the lock
/// to anybody else, even if the network is silent, Consul is frozen, or this process
/// was stopped and continued. Once false, it stays false.
///
/// A lease cannot stop a write that is already in flight. Pass
/// [`token`](Lease::token) to the protected resource and let it refuse older tokens;
/// without such a check, a lock is advisory.
///
/// A lease keeps the runtime running, even when every [`Dsync`](crate::Dsync) has
/// been dropped.
///
/// Dropping a lease releases the lock without blocking and without a confirmation;
/// send [`Release`](crate::Release) to learn the outcome. A lease is not re-entrant:
/// a second `Acquire` by its owner waits for the first lease to end.
///
/// A lease that is not kept protects nothing. If unused values are denied, this does
/// not compile:
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use actix_dsync::{Acquire, Dsync, Error, Key};
/// # async fn example(dsync: &Dsync, key: Key) -> Result<(), Error> {
/// dsync.send(Acquire::new(key)).await?; // released at once: the next line runs unlocked
/// # Ok(())
/// # }
/// ```
///
/// No lint tells that `let _ = ….await?` and `….await.is_ok()` drop the lease at once, too. Bind
/// it to a name:
/// ```
/// #![deny(unused_must_use)]
/// # use actix_dsync::{Acquire, Dsync, Error, Key};
/// # async fn example(dsync: &Dsync, key: Key) -> Result<(), Error> {
/// let _lease = dsync.send(Acquire::new(key)).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a lease releases the lock at once"]
pub struct Lease {
    grant: Grant,
    _keep_alive: Arc<KeepAlive>,
}

impl Lease {
    /// Wraps a grant and keeps the runtime running.
    pub(crate) fn of(grant: Grant, keep_alive: Arc<KeepAlive>) -> Self {
        Self { grant, _keep_alive: keep_alive }
    }

    /// The lease's state, which may be shared.
    pub(crate) fn state(&self) -> &Arc<LeaseState> {
        self.grant.state()
    }

    /// The owned key.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.state().key()
    }

    /// The fencing token: it orders this ownership among all ownerships of the key.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.state().token()
    }

    /// Whether the lock is still owned, according to the clock at this moment.
    ///
    /// Reads the clock once and sends no message; works from any thread. Call it last
    /// before an operation that the token cannot fence.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.state().is_valid()
    }

    /// The time until the deadline if no further renewal succeeds; zero once the lock
    /// is lost.
    ///
    /// While Consul is reachable, every renewal extends it. The lock can be lost earlier
    /// for other reasons, for instance if somebody deletes the key.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.state().remaining()
    }

    /// Waits until the lease is lost and returns the reason. Never completes if the
    /// lease is released.
    ///
    /// The future has its own timer for the deadline, in the runtime that polls it. It
    /// therefore completes in time even if the lock runtime's thread is stuck.
    ///
    /// # Panics
    /// If it is polled outside a Tokio (or actix) runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let state = self.state().clone();
        async move { state.lost().await }
    }

    /// Runs `work` while the lease is valid, and drops it the moment the lease is lost.
    ///
    /// The lease is checked before every poll of `work`, and a timer ends `work` at the
    /// deadline. If `work` completes during a poll, its result is returned even if the
    /// lease ended in the meantime.
    ///
    /// # Errors
    /// [`Lost`] if the lease was lost first. `work` may have stopped at any await
    /// point, and requests that it sent may still arrive: the token protects against
    /// them.
    ///
    /// # Panics
    /// If it is polled outside a Tokio (or actix) runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future drops `work`; the lease stays with its owner.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Lost> {
        // Boxed: each function that it is passed through would reserve its space again.
        self.state().run(Box::pin(work)).await
    }

    /// Releases the lock with this call. The future completes with the outcome.
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
