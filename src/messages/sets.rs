//! Requests for several keys at once.

use std::{collections::BTreeSet, time::Duration};

use actix::Message;

use crate::{
    error::Error, holding::lease_set::LeaseSet, key::Key, ownership::Released, value::LockValue,
};

/// Requests the locks on several keys at once and waits for all of them. The reply is the
/// [`LeaseSet`].
///
/// Consul locks all keys in one transaction, or none. While the request waits, it holds
/// none of them, neither in Consul nor in this process: other callers use the free ones
/// meanwhile. Requests whose keys overlap, in whatever order, therefore cannot block each
/// other for ever, and neither can a request for several keys and requests for single
/// ones.
///
/// In this process, later callers may pass a waiting request for several keys, but not in
/// the last second of every four that it waits. It is thus served soon if the leases of
/// this process are short. Among processes there is no order, as for [`Acquire`]: if other
/// processes use the keys so much that they are never free at the same moment, the request
/// waits on. Limit the wait with [`within`](Self::within), and prefer few keys.
///
/// The request waits without a limit unless `within` sets one, even while Consul is
/// unreachable.
///
/// # Errors
/// [`Error::Invalid`] if there is no key, if there are more than
/// [`MOST_KEYS`](Self::MOST_KEYS), or if the transaction would exceed Consul's limit of
/// 512 KiB; otherwise the errors of [`Acquire`], for the first key concerned.
///
/// # Cancel safety
/// As for [`Acquire`].
///
/// [`Acquire`]: crate::Acquire
///
/// ```
/// # use actix_dsync::{AcquireAll, Dsync, Key, ReleaseAll};
/// # async fn transfer(dsync: &Dsync, from: Key, to: Key) -> Result<(), actix_dsync::Error> {
/// let accounts = dsync.send(AcquireAll::new([from.clone(), to.clone()])).await?;
/// let (debit, credit) = (accounts.token(&from), accounts.token(&to));
/// // Write to both accounts, each write with the token of its key.
/// let _ = dsync.send(ReleaseAll(accounts)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<LeaseSet, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct AcquireAll {
    pub(crate) keys: BTreeSet<Key>,
    pub(crate) within: Option<Duration>,
    pub(crate) value: Option<LockValue>,
}

impl AcquireAll {
    /// The most keys of a request: 31. Consul 1.8 accepts 64 operations in a transaction;
    /// each key needs two.
    pub const MOST_KEYS: usize = 31;

    /// Requests the locks on `keys`. A key that is named twice counts once.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        Self { keys: keys.into_iter().collect(), within: None, value: None }
    }

    /// The requested keys, in ascending order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Limits the wait to `limit`, counted from when the request is sent.
    ///
    /// Default: no limit.
    pub fn within(self, limit: Duration) -> Self {
        Self { within: Some(limit), ..self }
    }

    /// Sets the value of every key while its lock is held.
    ///
    /// Default: as for [`Acquire::value`](crate::Acquire::value).
    pub fn value(self, value: impl Into<LockValue>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}

/// Releases the locks of a set and waits for the confirmation.
///
/// The leases end when the request is sent, whatever the reply. The reply comes when all
/// keys are released, as described for [`Release`](crate::Release); it is
/// [`AlreadyLost`](Released::AlreadyLost) if any of them was lost before.
///
/// # Errors
/// None: every reply is an outcome.
///
/// # Cancel safety
/// Dropping the reply changes nothing: the locks are still released.
#[derive(Debug, Message)]
#[rtype(result = "Result<Released, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct ReleaseAll(
    /// The set to release.
    pub LeaseSet,
);
