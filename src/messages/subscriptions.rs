//! Requests about subscriptions to events.

use std::fmt;

use actix::{Message, Recipient};

use crate::{error::Error, key::Key};

/// The keys whose events a subscriber receives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Filter {
    /// Every key.
    #[default]
    All,
    /// Only this key.
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

/// Subscribes an actor to events. The reply is the id for [`Unsubscribe`].
///
/// `E` is one of the [events](crate::events::Event), such as [`LockLost`](crate::events::LockLost) or
/// [`Elected`](crate::events::Elected). The subscription holds a weak address: it does not keep
/// its actor alive, and ends with it. Events are delivered even if the actor's mailbox is
/// full, and in order for each key. If a new subscriber first receives the current state,
/// an event at the moment of the subscription may arrive twice: as the current state, and
/// as an event.
///
/// `Addr::recipient` consumes the address, and an actor stops when its last address is
/// dropped. So keep an address for as long as the subscription should last:
/// `Subscribe::to(pager.clone().recipient())`.
///
/// # Errors
/// [`Error::Stopped`].
///
/// # Cancel safety
/// The subscription begins when the request is sent; dropping the reply does not end it, but
/// loses its id.
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
    /// Subscribes `recipient` to the events of every key.
    pub fn to(recipient: Recipient<E>) -> Self {
        Self { to: recipient, of: Filter::All }
    }

    /// Restricts the subscription to the events of `key`.
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

/// Ends a subscription.
///
/// # Errors
/// None, also if the subscription has already ended.
///
/// # Cancel safety
/// The subscription ends when the request is sent, whatever happens to the reply.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Unsubscribe(
    /// The subscription to end.
    pub SubscriptionId,
);

/// Identifies a subscription of one runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId(pub(crate) u64);
