//! Requests that write under a lock, and the read of what they wrote.

use std::{fmt, sync::Arc};

use actix::Message;

use crate::{
    consul::ask::EntryOp,
    error::Error,
    holding::{claim::Claim, lease_set::LeaseSet, lease_state::LeaseState},
    key::Key,
    token::FencingToken,
    value::LockValue,
};

/// Replaces the value of a held key: a job's progress, a leader's changed address.
///
/// The lock and its token stay as they are. The value is written only while this process
/// holds the key under this ownership. Whoever observes the key sees the new value, as does
/// a refused caller in [`Error::Held`]. With [`Retention::Keep`](crate::config::Retention::Keep) it
/// outlives the lock.
///
/// Writes under one key are sent one after another, in the order of the requests. After the
/// first, the ownership is not handed over to another caller within the process: the key is
/// released in Consul first.
///
/// # Errors
/// [`Error::NotHeld`] if the lease or term has ended; [`Error::Unknown`] if no complete
/// answer arrived, and the value may or may not be written; [`Error::Unavailable`] if it was
/// not written; [`Error::TooManyWaiters`] if as many writes are in line for the key as
/// [`Limits::waiters_per_key`](crate::config::Limits::waiters_per_key) allows;
/// [`Error::Invalid`] if the value is too long, or the lease is a permit; [`Error::Denied`];
/// [`Error::Stopped`].
///
/// # Cancel safety
/// Dropping the reply changes nothing: the value is still written. A write that is not yet
/// sent when its lease ends is dropped.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct UpdateValue {
    pub(crate) claim: Claim,
    pub(crate) value: LockValue,
}

impl UpdateValue {
    /// Replaces the value of the key that `of`, a `&Lease` or a `&Term`, owns.
    pub fn of(of: impl Into<Claim>, value: impl Into<LockValue>) -> Self {
        Self { claim: of.into(), value: value.into() }
    }

    /// The key whose value is replaced.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.claim.0.key()
    }
}

/// Writes entries of Consul's store under a lock: all of them, or none if the lock was lost.
///
/// The transaction checks that the session holds the lock *and* that the ownership is still
/// this one. So a holder that was paused or cut off cannot write after another process, or a
/// later owner in this one, has the lock; not even by a request that is already on its way.
/// Each entry that is put carries the [token](FencingToken) in its flags;
/// [`ReadEntry`] returns it.
///
/// Under a [`LeaseSet`](crate::LeaseSet), the transaction checks the ownership of every key of
/// the set.
///
/// Keys are below the runtime's [prefix](crate::Builder::prefix), as those of locks are, and
/// must not be keys that this process locks or observes. At most 62 operations with 360 KiB of
/// keys and values fit in one write; under a set, one operation less for each key after the
/// first, whose name counts as well.
///
/// ```
/// # use actix_dsync::{Dsync, Error, Key, Lease, fencing::Write};
/// # async fn example(dsync: &Dsync, lease: &Lease) -> Result<(), Error> {
/// let (report, draft) = (Key::new("reports/latest")?, Key::new("reports/draft")?);
/// dsync.send(Write::under(lease).put(report, "done").delete(draft)).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::NotHeld`] if the lease or term has ended, or Consul reports that the lock is no
/// longer this ownership's: nothing was written. Under a set, this is also the error if
/// somebody has overwritten the value of one of its keys. [`Error::Conflict`] if an entry is
/// not as [required](Write::require): nothing was written. [`Error::Unknown`] if no complete
/// answer arrived: the entries may be written, or may still be, as long as the ownership
/// lasts, and then even after later writes under it. Read them, or release the lock, which
/// ends that. The other errors are those of [`UpdateValue`].
///
/// # Cancel safety
/// As for [`UpdateValue`].
#[derive(Clone, Message)]
#[rtype(result = "Result<(), Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Write {
    pub(crate) claim: Claim,
    /// The other ownerships that the write relies on.
    pub(crate) others: Vec<Arc<LeaseState>>,
    pub(crate) ops: Vec<EntryOp>,
}

impl Write {
    /// Writes under `claim`, a `&Lease` or a `&Term`.
    pub fn under(claim: impl Into<Claim>) -> Self {
        Self { claim: claim.into(), others: Vec::new(), ops: Vec::new() }
    }

    /// Writes under all keys of a set. Entries carry the token of its first key.
    pub fn under_all(set: &LeaseSet) -> Self {
        let mut states = set.states().cloned();
        let first = states.next().expect("a set is never empty");
        Self { claim: Claim(first), others: states.collect(), ops: Vec::new() }
    }

    /// The key of the lock that the write relies on; the first one of a set.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.claim.0.key()
    }

    /// The checks of the other ownerships. An index changes with each ownership, whoever
    /// has it.
    pub(crate) fn guards(&self) -> impl Iterator<Item = EntryOp> {
        self.others.iter().map(|lease| {
            let index = Some(lease.token().index());
            EntryOp::Require { key: lease.key().clone(), index }
        })
    }

    /// Creates or replaces an entry.
    pub fn put(self, key: Key, value: impl Into<Vec<u8>>) -> Self {
        let (value, flags) = (value.into(), self.claim.0.token().as_u64());
        self.with(EntryOp::Put { key, value, flags })
    }

    /// Deletes an entry, if it exists.
    pub fn delete(self, key: Key) -> Self {
        self.with(EntryOp::Delete { key })
    }

    /// Requires that an entry has this [index](StoredEntry::index), or with `None` that it
    /// does not exist. Operations take effect in their order, so require before you put.
    pub fn require(self, key: Key, index: Option<u64>) -> Self {
        self.with(EntryOp::Require { key, index })
    }

    fn with(mut self, op: EntryOp) -> Self {
        self.ops.push(op);
        self
    }
}

/// Shows no values: they may be secret.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&Key> = self.ops.iter().map(EntryOp::key).collect();
        f.debug_struct("Write").field("claim", &self.claim).field("keys", &keys).finish()
    }
}

/// Reads an entry from Consul's leader: the reply is its state at that moment; `None` if it
/// does not exist.
///
/// # Errors
/// [`Error::Denied`], [`Error::NameRefused`], [`Error::Unavailable`], [`Error::Stopped`].
///
/// # Cancel safety
/// Dropping the reply changes nothing.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Option<StoredEntry>, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct ReadEntry(
    /// The entry to read.
    pub Key,
);

/// An entry of Consul's store: the reply to [`ReadEntry`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEntry {
    /// The value.
    pub value: Arc<[u8]>,
    /// The token that [`Write`] wrote it with. `None` if the entry's flags are 0, no token, or
    /// those of this runtime's locks or of semaphores: something else wrote it. Flags that
    /// another program chose can look like a token.
    pub token: Option<FencingToken>,
    /// The Consul index of the last change, for [`Write::require`].
    pub index: u64,
}
