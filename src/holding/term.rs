//! A term: one leadership of this process, and the view of it that handles share.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    holding::{keep_alive::KeepAlive, lease_state::LeaseState},
    key::Key,
    ownership::{Holder, LossReason, Lost},
    token::FencingToken,
};

/// One uninterrupted leadership, from election to deposition.
///
/// A term is to leadership what a [`Lease`](crate::Lease) is to a lock, with the same
/// guarantees. It belongs to the process: it can be cloned, and dropping it does not
/// end the leadership. It keeps the runtime running.
#[derive(Clone)]
pub struct Term {
    state: Arc<LeaseState>,
    _keep_alive: Option<Arc<KeepAlive>>,
}

impl Term {
    pub(crate) fn of(state: Arc<LeaseState>, keep_alive: Option<Arc<KeepAlive>>) -> Self {
        Self { state, _keep_alive: keep_alive }
    }

    /// The term's state, which is shared.
    pub(crate) fn state(&self) -> &Arc<LeaseState> {
        &self.state
    }

    /// The key of the election.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.state.key()
    }

    /// The fencing token: it orders this term among all ownerships of the key.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.state.token()
    }

    /// Whether the term still lasts, as for
    /// [`Lease::is_valid`](crate::Lease::is_valid). Once false, it stays false.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.state.is_valid()
    }

    /// The time until the deadline, as for
    /// [`Lease::remaining`](crate::Lease::remaining).
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.state.remaining()
    }

    /// Waits until the term has ended and returns the reason;
    /// [`LossReason::Resigned`] if this process resigned.
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
        let state = self.state.clone();
        async move { state.over().await }
    }

    /// Runs `work` while the term lasts, and drops it the moment the term ends, as for
    /// [`Lease::run`](crate::Lease::run).
    ///
    /// # Errors
    /// [`Lost`] if the term ended first. `work` may have stopped at any await point,
    /// and requests that it sent may still arrive: the token protects against them.
    ///
    /// # Panics
    /// If it is polled outside a Tokio (or actix) runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future drops `work`; the term continues.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Lost> {
        // Boxed, as in `Lease::run`.
        self.state.run(Box::pin(work)).await
    }

    /// See [`LeaseState::invalid`].
    pub(crate) async fn invalid(&self) {
        self.state.invalid().await;
    }

    /// See [`LeaseState::dips_to`].
    pub(crate) async fn dips_to(&self, left: Duration) {
        self.state.dips_to(left).await;
    }

    /// See [`LeaseState::rises_above`].
    pub(crate) async fn rises_above(&self, left: Duration) -> bool {
        self.state.rises_above(left).await
    }

    /// See [`LeaseState::would_be_valid`].
    #[cfg(test)]
    pub(crate) fn would_be_valid(&self) -> bool {
        self.state.would_be_valid()
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term")
            .field("key", self.key())
            .field("token", &self.token())
            .field("valid", &self.is_valid())
            .finish_non_exhaustive()
    }
}

/// The election for a key, as its observers and campaigns see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leading {
    /// The number of changes of the leader or the term.
    pub(crate) changes: u64,
    pub(crate) leader: Option<Holder>,
    /// The number of the current campaign.
    pub(crate) campaign: Option<u64>,
    /// The term of that campaign, if it leads.
    pub(crate) term: Option<Arc<LeaseState>>,
}

impl Leading {
    /// The token of the term, while it lasts.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        self.term.as_ref().filter(|term| term.is_valid()).map(|term| term.token())
    }
}
