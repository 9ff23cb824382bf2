//! Leases and terms without a lock, for tests of code that receives them.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    holding::{
        callers::Grant, keep_alive::KeepAlive, lease::Lease, lease_state::LeaseState, term::Term,
    },
    key::Key,
    ownership::LossReason,
    protocol::{cell::DeadlineCell, queue::CallId},
    token::FencingToken,
};

/// How long a mock lease lasts unless it is ended: a hundred years.
const LASTING: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The control of a [`Lease`] without a lock. A mock in the place of
/// [`Dsync::recipient`](crate::Dsync::recipient) keeps it to end the lease that it replied
/// with.
///
/// ```
/// use actix_dsync::{FencingToken, Key, LossReason, embedded::MockLease};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (lease, mock) = MockLease::new(Key::new("orders/7")?, FencingToken::try_from(7_u64)?);
/// assert!(lease.is_valid());
/// mock.lose(LossReason::SessionGone);
/// assert!(!lease.is_valid());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MockLease(Arc<LeaseState>);

impl MockLease {
    /// Creates a lease that lasts until it is released or [lost](MockLease::lose). A real
    /// [`Dsync`](crate::Dsync) confirms its release, unless it was lost.
    pub fn new(key: Key, token: FencingToken) -> (Lease, Self) {
        let clock = Clock::Boot;
        let cell = Arc::new(DeadlineCell::new(clock.now() + LASTING));
        let state = Arc::new(LeaseState::new(key, token, CallId(0), cell, clock));
        // There is no runtime to keep alive. Dropped with the lease, this ends the lease.
        let ended = state.clone();
        let keep_alive = Arc::new(KeepAlive::new(move || ended.returned()));
        (Lease::of(Grant::without_lock(state.clone()), keep_alive), Self(state))
    }

    /// A term with the lease's key, token and end, for tests of code that works while it leads.
    ///
    /// ```
    /// use actix_dsync::{FencingToken, Key, LossReason, Term, embedded::MockLease};
    ///
    /// async fn sweep(term: &Term) -> Result<(), actix_dsync::Lost> {
    ///     term.run(async { /* fenced by term.token() */ }).await
    /// }
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let key = Key::new("sweeper")?;
    /// let (_lease, mock) = MockLease::new(key, FencingToken::try_from(7_u64)?);
    /// let term = mock.term();
    /// sweep(&term).await?;
    /// mock.lose(LossReason::SessionGone);
    /// assert!(sweep(&term).await.is_err());
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
    /// ```
    #[must_use]
    pub fn term(&self) -> Term {
        Term::of(self.0.clone(), None)
    }

    /// Loses the lease, as a runtime would.
    pub fn lose(&self, reason: LossReason) {
        self.0.lose(reason);
    }

    /// Whether the lease is neither released nor lost.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.0.is_valid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::Released;

    fn mock() -> (Lease, MockLease) {
        MockLease::new(Key::new("k").unwrap(), FencingToken::new(7, 0).unwrap())
    }

    #[tokio::test]
    async fn a_lease_without_a_lock_lasts_until_it_is_released_or_lost() {
        let (lease, far) = mock();
        assert!(lease.is_valid() && far.is_valid() && lease.remaining() > LASTING / 2);
        assert_eq!(lease.run(async { 7 }).await, Ok(7));
        assert_eq!(lease.give_back().await, Released::Confirmed);
        assert!(!far.is_valid());

        let (lease, far) = mock();
        far.lose(LossReason::SessionGone);
        assert_eq!(lease.lost().await, LossReason::SessionGone);
        assert_eq!(lease.give_back().await, Released::AlreadyLost(LossReason::SessionGone));

        let (lease, far) = mock();
        drop(lease);
        assert!(!far.is_valid());
    }

    #[test]
    fn the_space_of_work_under_a_lease_is_reserved_once() {
        let (lease, far) = mock();
        let term = far.term();
        let work = || async {
            let space = [0_u8; 4096];
            tokio::task::yield_now().await;
            space.len()
        };
        let most = size_of_val(&work()) * 3 / 2;
        assert!(size_of_val(&lease.run(work())) < most);
        assert!(size_of_val(&term.run(work())) < most);
    }
}
