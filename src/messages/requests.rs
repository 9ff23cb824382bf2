//! Requests of callers.

use std::time::Duration;

use actix::Message;

use crate::{
    error::Error,
    holding::{claim::Claim, lease::Lease},
    key::Key,
    ownership::{Holder, Released},
    token::FencingToken,
    value::LockValue,
};

/// Requests a lock and waits for it. The reply is the [`Lease`].
///
/// Callers of one process get the lock in the order of their requests; among processes
/// there is no order. The request waits without a limit unless
/// [`within`](Acquire::within) sets one, even while Consul is unreachable.
///
/// # Errors
/// [`Error::WaitedTooLong`] after the time limit, or [`Error::Unavailable`] if Consul
/// was unavailable at that time; [`Error::TooManyWaiters`] and [`Error::TooManyKeys`] at
/// once beyond the [`Limits`](crate::config::Limits); [`Error::FlagConflict`] if the key holds
/// something that is not one of our locks; [`Error::NameRefused`] if the servers refuse to read
/// the key; [`Error::Invalid`] if the value is too long, or the servers refuse the session's TTL;
/// [`Error::Denied`]; [`Error::Stopped`].
///
/// # Cancel safety
/// Dropping the reply leaves the queue; if the lock had just been granted, it is
/// released. Nothing stays locked and nothing keeps contending.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Lease, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Acquire {
    pub(crate) key: Key,
    pub(crate) within: Option<Duration>,
    pub(crate) value: Option<LockValue>,
    pub(crate) holding: Vec<(Key, FencingToken)>,
}

impl Acquire {
    /// Requests the lock on `key`.
    pub fn new(key: Key) -> Self {
        Self { key, within: None, value: None, holding: Vec::new() }
    }

    /// The requested key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Says that the caller keeps `held`, a `&Lease` or a `&Term`, while it waits.
    ///
    /// If callers of this process that say so wait for each other in a circle, the circle
    /// is logged as a warning, and recorded as an
    /// [`Incident`](crate::report::Incident) of each of its keys: within two seconds, and a
    /// second more for every 1,000 keys in use, up to 16 seconds. Nobody is refused: limit
    /// the wait with [`within`](Acquire::within). Who holds what is not known otherwise,
    /// because a lease may be passed between tasks. To lock several keys without such
    /// circles, use [`AcquireAll`](crate::AcquireAll).
    ///
    /// Default: nothing.
    pub fn holding(mut self, held: impl Into<Claim>) -> Self {
        let Claim(state) = held.into();
        self.holding.push((state.key().clone(), state.token()));
        self
    }

    /// Limits the wait to `limit`, counted from when the request is sent.
    ///
    /// Default: no limit.
    pub fn within(self, limit: Duration) -> Self {
        Self { within: Some(limit), ..self }
    }

    /// Sets the key's value while the lock is held. A caller that gets the lock from
    /// another caller of this process keeps that caller's value.
    ///
    /// Default: [`Builder::value`](crate::Builder::value), which by default is a JSON document
    /// that names the service, the host and the process.
    pub fn value(self, value: impl Into<LockValue>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}

/// Requests a lock without waiting for another holder. The reply is the [`Lease`].
///
/// It takes as long as the requests to Consul, including the creation of the runtime's
/// first session. Nothing keeps contending after the reply.
///
/// # Errors
/// [`Error::Held`] with the holder, in this process or another;
/// [`Error::LockDelay`] if nobody holds the key but its lock-delay is running;
/// [`Error::Unavailable`] if Consul is unavailable; and the errors of [`Acquire`].
///
/// # Cancel safety
/// As for [`Acquire`].
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Lease, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct TryAcquire {
    pub(crate) key: Key,
    pub(crate) value: Option<LockValue>,
}

impl TryAcquire {
    /// Requests the lock on `key`.
    pub fn new(key: Key) -> Self {
        Self { key, value: None }
    }

    /// The requested key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Sets the key's value, as [`Acquire::value`] does.
    pub fn value(self, value: impl Into<LockValue>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}

/// Releases a lock and waits for the confirmation.
///
/// The lease ends when the request is sent, whatever the reply. The reply comes when the
/// next caller of this process has the lock, when Consul has confirmed that it is free, or
/// when the session has ended: if Consul is unreachable, at the lease's deadline at the
/// latest.
///
/// Consul can renew the session and still refuse the release: the token has lost
/// `key:write`, or with [`Retention::Keep`](crate::config::Retention::Keep) somebody overwrote the
/// key with a value that is too large to keep. The release is then repeated. A warning is
/// logged and an [`Incident`](crate::report::Incident) recorded, at once if a right is
/// missing and otherwise after one [`lease`](crate::Timing::lease). Then the session is
/// replaced, which frees the key after its lock-delay; the reply is
/// [`AlreadyLost`](Released::AlreadyLost). Replacing the session would lose every other
/// key, so it waits until none is held; until then, however long, the key stays locked.
///
/// # Errors
/// None: every reply is an outcome.
///
/// # Cancel safety
/// Dropping the reply changes nothing: the lock is still released.
#[derive(Debug, Message)]
#[rtype(result = "Result<Released, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Release(
    /// The lease to release.
    pub Lease,
);

/// Reads the holder of a lock without contending for it.
///
/// The reply is the state at Consul's leader at that moment; `None` if nobody holds the
/// key, or if the key does not exist.
///
/// # Errors
/// [`Error::Denied`], [`Error::NameRefused`], [`Error::Unavailable`], [`Error::Stopped`].
///
/// # Cancel safety
/// Dropping the reply changes nothing.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Option<Holder>, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Inspect(
    /// The key to read.
    pub Key,
);
