//! What a write relies on: a lease or a term.

use std::sync::Arc;

use crate::holding::{lease::Lease, lease_state::LeaseState, term::Term};

/// The ownership that a write relies on: a [`Lease`], a [`Term`], or an extractor of the feature
/// `web` that derefs to a term.
///
/// It does not keep the lease: the lock is still released when the lease is dropped, and a
/// later write is refused.
#[derive(Clone, Debug)]
pub struct Claim(pub(crate) Arc<LeaseState>);

impl From<&Lease> for Claim {
    fn from(lease: &Lease) -> Self {
        Self(lease.state().clone())
    }
}

impl From<&Term> for Claim {
    fn from(term: &Term) -> Self {
        Self(term.state().clone())
    }
}
