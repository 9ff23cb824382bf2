//! What callers ask of the runtime.

use std::{fmt, time::Duration};

use actix::{Message, Recipient};

use crate::{
    error::Error,
    holding::lease::Lease,
    key::Key,
    ownership::{Holder, Released},
    value::LockValue,
};

/// Asks for a lock and waits for it. The reply is the [`Lease`].
///
/// Callers of one process get the lock in the order in which they asked; among
/// processes there is no order. It waits for ever unless
/// [`within`](Acquire::within) is given, also while Consul cannot be reached.
///
/// # Errors
/// [`Error::WaitedTooLong`] after the time given, or [`Error::Unavailable`] if
/// Consul could not be had at that time; [`Error::TooManyWaiters`] and
/// [`Error::TooManyKeys`] at once beyond the [`Limits`](crate::Limits);
/// [`Error::FlagConflict`] if the key holds something that is no lock of ours;
/// [`Error::Denied`]; [`Error::Stopped`].
///
/// # Cancel safety
/// Dropping the reply leaves the queue; if the lock had just been granted, it is
/// given back. Nothing stays locked and nothing goes on contending.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Lease, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Acquire {
    pub(crate) key: Key,
    pub(crate) within: Option<Duration>,
    pub(crate) value: Option<LockValue>,
}

impl Acquire {
    /// Asks for the lock on `key`.
    pub fn new(key: Key) -> Self {
        Self { key, within: None, value: None }
    }

    /// Waits at most `limit`, counted from the sending.
    ///
    /// Default: for ever.
    pub fn within(self, limit: Duration) -> Self {
        Self { within: Some(limit), ..self }
    }

    /// What the key says while the lock is held. A caller that gets the lock
    /// from another caller of this process leaves that one's value in place.
    ///
    /// Default: a JSON document that names the service, the host and the process.
    pub fn value(self, value: impl Into<LockValue>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}

/// Asks for a lock without waiting for another holder. The reply is the
/// [`Lease`].
///
/// It takes the time of the requests to Consul, and, before the runtime's first
/// session, of creating that. Nothing goes on contending after the reply.
///
/// # Errors
/// [`Error::Held`] with the holder, in this process or another;
/// [`Error::LockDelay`] if nobody holds the key but Consul keeps it closed;
/// [`Error::Unavailable`] if Consul cannot be had; and those of [`Acquire`].
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
    /// Asks for the lock on `key`.
    pub fn new(key: Key) -> Self {
        Self { key, value: None }
    }

    /// As for [`Acquire::value`].
    pub fn value(self, value: impl Into<LockValue>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}

/// Gives a lock back and waits for the confirmation.
///
/// The lease is over with the sending, whatever the reply. The reply comes when
/// the next caller of this process has the lock, or Consul has confirmed that it
/// is free, or the session has ended: if Consul cannot be reached, at the latest
/// at the lease's deadline.
///
/// Consul can renew the session and yet not take the key back: the token has lost
/// `key:write`, or with [`Retention::Keep`](crate::Retention::Keep) somebody wrote
/// over it what is too large to be left. The release is repeated, a warning is
/// logged and an [`Incident`](crate::report::Incident) noted, at once if a right is missing and
/// otherwise after one [`lease`](crate::Timing::lease). Then the session is
/// replaced, which frees the key after its lock-delay; the reply is
/// [`AlreadyLost`](Released::AlreadyLost). But that waits until this process holds
/// no other key, since it would lose them: until then, however long, the key stays
/// locked.
///
/// # Cancel safety
/// Dropping the reply changes nothing: the lock is given back all the same.
#[derive(Debug, Message)]
#[rtype(result = "Result<Released, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Release(
    /// The lease to give back.
    pub Lease,
);

/// Asks who holds a lock, without contending for it.
///
/// The reply is as the leader of Consul has it at that moment; `None` if nobody
/// holds the key, or there is none.
///
/// # Errors
/// [`Error::Denied`], [`Error::Unavailable`], [`Error::Stopped`].
///
/// # Cancel safety
/// Dropping the reply changes nothing.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Option<Holder>, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Inspect(
    /// The key to ask about.
    pub Key,
);

/// Of which keys a subscriber hears.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Filter {
    /// Of every key.
    #[default]
    All,
    /// Of this one.
    Key(Key),
}

impl Filter {
    pub(crate) fn admits(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Key(only) => only == key,
        }
    }
}

impl From<Key> for Filter {
    fn from(key: Key) -> Self {
        Self::Key(key)
    }
}

/// Asks for events to be sent to an actor.
///
/// `E` is one of the [events](crate::Event), such as
/// [`LockLost`](super::LockLost) or [`Elected`](super::Elected). The recipient is kept weakly: a
/// subscription does not keep its actor alive, and ends with it. Events are
/// delivered whatever the actor's mailbox capacity, in the order in which they
/// happened to a key. Where the present comes first, what happens at the very
/// moment of the subscription may come twice: as the present, and as news.
///
/// Mind that `Addr::recipient` consumes the address, and that an actor stops
/// when its last address is gone. Keep one, in a variable that lives as long as
/// the subscription is to last: `Subscribe::to(pager.clone().recipient())`.
///
/// The reply is what [`Unsubscribe`] takes.
///
/// # Errors
/// [`Error::Stopped`].
#[must_use = "a request does nothing until it is sent"]
pub struct Subscribe<E>
where
    E: Message<Result = ()> + Send + 'static,
{
    pub(crate) to: Recipient<E>,
    pub(crate) of: Filter,
}

impl<E> Subscribe<E>
where
    E: Message<Result = ()> + Send + 'static,
{
    /// Sends events of every key to `recipient`.
    pub fn to(recipient: Recipient<E>) -> Self {
        Self { to: recipient, of: Filter::All }
    }

    /// Only those of `key`.
    pub fn key(self, key: Key) -> Self {
        Self { of: Filter::Key(key), ..self }
    }
}

impl<E> Message for Subscribe<E>
where
    E: Message<Result = ()> + Send + 'static,
{
    type Result = Result<SubscriptionId, Error>;
}

impl<E> fmt::Debug for Subscribe<E>
where
    E: Message<Result = ()> + Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe").field("of", &self.of).finish_non_exhaustive()
    }
}

/// Ends a subscription; one that has ended already is no error.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Unsubscribe(
    /// Which one.
    pub SubscriptionId,
);

/// Names a subscription of one runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId(pub(crate) u64);
