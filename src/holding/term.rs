//! One leadership of this process, and what the handles of a key see of it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    holding::{keep_alive::KeepAlive, lease_state::LeaseState},
    key::Key,
    ownership::{Holder, LossReason, Lost},
    token::FencingToken,
};

/// One uninterrupted leadership, from election to deposition.
///
/// It is to leadership what a [`Lease`](crate::Lease) is to a lock, with the same
/// guarantees, but it belongs to the process: clone it, and drop it without giving
/// anything up. It keeps the runtime running.
#[derive(Clone)]
pub struct Term {
    state: Arc<LeaseState>,
    _keep_alive: Option<Arc<KeepAlive>>,
}

impl Term {
    pub(crate) fn of(state: Arc<LeaseState>, keep_alive: Option<Arc<KeepAlive>>) -> Self {
        Self { state, _keep_alive: keep_alive }
    }

    /// The key that is led.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.state.key()
    }

    /// The number that orders this term among all of its key.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.state.token()
    }

    /// Whether the term still lasts: as for
    /// [`Lease::is_valid`](crate::Lease::is_valid). Once false, false for ever.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.state.is_valid()
    }

    /// As for [`Lease::remaining`](crate::Lease::remaining).
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.state.remaining()
    }

    /// Waits until the term has ended, and says why;
    /// [`LossReason::Resigned`] if this process stood down.
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
        let state = self.state.clone();
        async move { state.lost().await }
    }

    /// Runs `work` while the term lasts, and drops it at its end: as for
    /// [`Lease::run`](crate::Lease::run).
    ///
    /// # Errors
    /// [`Lost`] if the term ended first. `work` may have got anywhere, and what
    /// it sent may still arrive: that is what the token is for.
    ///
    /// # Panics
    /// When it is polled outside a tokio (or actix) runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future drops `work`; the term goes on.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Lost> {
        self.state.run(work).await
    }

    /// As [`LeaseState::invalid`].
    pub(crate) async fn invalid(&self) {
        self.state.invalid().await;
    }

    /// As [`LeaseState::dips_to`].
    pub(crate) async fn dips_to(&self, left: Duration) {
        self.state.dips_to(left).await;
    }

    /// As [`LeaseState::rises_above`].
    pub(crate) async fn rises_above(&self, left: Duration) -> bool {
        self.state.rises_above(left).await
    }

    /// As [`LeaseState::would_be_valid`].
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

/// What all handles of one key look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leading {
    /// How often the leader or the term has changed.
    pub(crate) changes: u64,
    pub(crate) leader: Option<Holder>,
    /// The number of the present campaign.
    pub(crate) campaign: Option<u64>,
    /// The term that this campaign has won.
    pub(crate) term: Option<Arc<LeaseState>>,
}

impl Leading {
    /// The token of the term, while it lasts.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        self.term.as_ref().filter(|term| term.is_valid()).map(|term| term.token())
    }
}
