//! One caller's grant of the key.

use std::{ops::Deref, sync::Arc};

use super::Callers;
use crate::{
    holding::lease_state::LeaseState,
    ownership::{LossReason, Released},
};

/// One caller's grant of the key. Dropping it releases the key.
#[derive(Debug)]
pub(crate) struct Grant {
    state: Arc<LeaseState>,
    /// Where to release the grant; `None` once it was released.
    callers: Option<Arc<Callers>>,
}

impl Grant {
    pub(super) fn new(state: Arc<LeaseState>, callers: Arc<Callers>) -> Self {
        Self { state, callers: Some(callers) }
    }

    /// For mocks: it belongs to no key's callers.
    #[cfg(feature = "embedded")]
    pub(crate) fn without_lock(state: Arc<LeaseState>) -> Self {
        Self { state, callers: None }
    }

    pub(crate) fn state(&self) -> &Arc<LeaseState> {
        &self.state
    }

    /// Releases the key with this call. The future completes with the outcome.
    pub(crate) fn give_back(mut self) -> impl Future<Output = Released> + Send + use<> {
        let confirmed = self.callers.take().map(|callers| callers.release(self.state.call()));
        // Only a mock's grant has no callers here.
        let mock_is_valid = confirmed.is_none() && self.state.is_valid();
        let state = self.state.clone();
        async move {
            if let Some(confirmed) = confirmed
                && let Ok(released) = confirmed.await
            {
                return released;
            }
            if mock_is_valid {
                return Released::Confirmed;
            }
            Released::AlreadyLost(state.reason().unwrap_or(LossReason::RuntimeFailed))
        }
    }
}

impl Deref for Grant {
    type Target = LeaseState;

    fn deref(&self) -> &LeaseState {
        &self.state
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(callers) = self.callers.take() {
            callers.end(self.state.call());
        }
    }
}
