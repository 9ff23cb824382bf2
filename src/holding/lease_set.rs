//! A set of leases that were granted together.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use futures::future::{join_all, select_all};

use crate::{
    holding::{
        callers::Grant, keep_alive::KeepAlive, lease_state::LeaseState, user_code::run_until,
    },
    key::Key,
    ownership::{LossReason, Lost, Released},
    token::FencingToken,
};

/// One caller's exclusive ownership of several keys, granted together.
///
/// It is like a [`Lease`](crate::Lease) on each key, with a [token](Self::token) for each,
/// but it is lost as a whole: as soon as one key is lost, the set is no longer valid, and
/// never again. A [`LockLost`](crate::events::LockLost) reports each key that is lost. The keys
/// that are not lost stay locked until the set is dropped or released.
///
/// Dropping the set releases every key without blocking and without a confirmation; send
/// [`ReleaseAll`](crate::ReleaseAll) to learn the outcome.
#[must_use = "dropping a set of leases releases its locks at once"]
pub struct LeaseSet {
    /// In the order of their keys.
    grants: Vec<Grant>,
    _keep_alive: Arc<KeepAlive>,
}

impl LeaseSet {
    /// Wraps the grants of a set's keys and keeps the runtime running.
    pub(crate) fn of(grants: Vec<Grant>, keep_alive: Arc<KeepAlive>) -> Self {
        Self { grants, _keep_alive: keep_alive }
    }

    /// The owned keys, in ascending order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.states().map(|state| state.key())
    }

    /// The fencing token of a key: it orders this ownership among all ownerships of that
    /// key. `None` if the key is not in the set.
    #[must_use]
    pub fn token(&self, key: &Key) -> Option<FencingToken> {
        self.states().find(|state| state.key() == key).map(|state| state.token())
    }

    /// The keys with their tokens, in ascending order of the keys.
    pub fn tokens(&self) -> impl Iterator<Item = (&Key, FencingToken)> {
        self.states().map(|state| (state.key(), state.token()))
    }

    /// Whether every key is still owned, according to the clock at this moment; see
    /// [`Lease::is_valid`](crate::Lease::is_valid).
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.states().all(|state| state.is_valid())
    }

    /// The time until the deadline if no further renewal succeeds; zero once a key is
    /// lost. See [`Lease::remaining`](crate::Lease::remaining).
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.states().map(|state| state.remaining()).min().unwrap_or_default()
    }

    /// Waits until a key is lost and returns what was lost first. Never completes if the
    /// set is released.
    ///
    /// # Panics
    /// If it is polled outside a Tokio (or actix) runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + use<> {
        let states: Vec<_> = self.states().cloned().collect();
        async move {
            let lost = states.iter().map(|state| Box::pin(loss_of(state)));
            select_all(lost).await.0
        }
    }

    /// Runs `work` while the set is valid, and drops it the moment a key is lost, as
    /// [`Lease::run`](crate::Lease::run) does.
    ///
    /// # Errors
    /// [`Lost`] with the key that was lost first. `work` may have stopped at any await
    /// point, and requests that it sent may still arrive: the tokens protect against them.
    ///
    /// # Panics
    /// If it is polled outside a Tokio (or actix) runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future drops `work`; the leases stay with their owner.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Lost> {
        let invalid = self.states().map(|state| {
            Box::pin(async move {
                state.invalid().await;
                state
            })
        });
        // Boxed, as in `Lease::run`.
        let work = Box::pin(work);
        // Nothing of the result lives across the last await: the output need not be `Send`.
        let ended = match run_until(select_all(invalid), work).await {
            Ok(output) => return Ok(output),
            Err((ended, ..)) => ended,
        };
        Err(loss_of(ended).await)
    }

    /// Releases every key with this call. The future completes with the outcome.
    pub(crate) fn give_back(self) -> impl Future<Output = Released> + Send + use<> {
        let confirmed: Vec<_> = self.grants.into_iter().map(Grant::give_back).collect();
        async move {
            let outcomes = join_all(confirmed).await;
            let lost = outcomes.into_iter().find(|outcome| *outcome != Released::Confirmed);
            lost.unwrap_or(Released::Confirmed)
        }
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &Arc<LeaseState>> {
        self.grants.iter().map(Grant::state)
    }
}

/// Completes when the lease is lost.
async fn loss_of(state: &LeaseState) -> Lost {
    let reason: LossReason = state.lost().await;
    Lost { key: state.key().clone(), token: state.token(), reason }
}

impl fmt::Debug for LeaseSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseSet")
            .field("tokens", &self.tokens().collect::<Vec<_>>())
            .field("valid", &self.is_valid())
            .finish_non_exhaustive()
    }
}
