//! The subscribers of events.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use actix::{Message, Recipient, WeakRecipient};
use futures::{Stream, channel::mpsc};

use crate::{
    key::Key,
    messages::{
        Deposed, Elected, Filter, ForceReleased, LeaderChanged, LockAcquired, LockLost,
        LockReleased, SteppedDown, SubscriptionId,
    },
    ownership::Holder,
    status::journal::Journal,
    token::FencingToken,
};

mod sealed {
    pub trait Sealed {}
}

/// An event of the runtime: [`LockAcquired`], [`LockLost`] or
/// [`LockReleased`] of locks; [`ForceReleased`] and [`SteppedDown`]; [`Elected`], [`Deposed`]
/// or [`LeaderChanged`] of leadership.
///
/// This trait is sealed.
pub trait Event: Message<Result = ()> + Clone + Send + Unpin + fmt::Debug + sealed::Sealed {
    /// The key of the event.
    fn key(&self) -> &Key;

    #[doc(hidden)]
    fn subscribers(hub: &Hub) -> &Subscribers<Self>
    where
        Self: Sized;

    /// The event that a new subscriber first receives for a key.
    #[doc(hidden)]
    fn current(known: Known) -> Option<Self>
    where
        Self: Sized;
}

/// The state of a key at one moment.
#[derive(Debug)]
pub struct Known {
    pub(crate) key: Key,
    pub(crate) owned: Option<FencingToken>,
    pub(crate) led: Option<FencingToken>,
    pub(crate) leader: Option<Holder>,
}

macro_rules! event {
    ($event:ty, $field:ident, $current:expr) => {
        impl sealed::Sealed for $event {}

        impl Event for $event {
            fn key(&self) -> &Key {
                &self.key
            }

            fn subscribers(hub: &Hub) -> &Subscribers<Self> {
                &hub.$field
            }

            fn current(known: Known) -> Option<Self> {
                let current: fn(Known) -> Option<Self> = $current;
                current(known)
            }
        }
    };
}

event!(LockAcquired, acquired, |known| { Some(Self { key: known.key, token: known.owned? }) });
event!(LockLost, lost, |_| None);
event!(LockReleased, released, |_| None);
event!(Elected, elected, |known| Some(Self { key: known.key, token: known.led? }));
event!(Deposed, deposed, |_| None);
event!(ForceReleased, force_released, |_| None);
event!(SteppedDown, stepped_down, |_| None);
event!(LeaderChanged, leader_changed, |known| {
    Some(Self { key: known.key, leader: Some(known.leader?) })
});

/// The subscribers to one kind of event.
#[derive(Debug)]
pub struct Subscribers<E: Event>(Mutex<Vec<Subscriber<E>>>);

struct Subscriber<E: Event> {
    id: SubscriptionId,
    of: Filter,
    sink: Sink<E>,
}

enum Sink<E: Event> {
    /// Weak: a subscription does not keep its actor alive.
    Actor(WeakRecipient<E>),
    Stream(mpsc::UnboundedSender<E>),
}

impl<E: Event> fmt::Debug for Subscriber<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("id", &self.id).field("of", &self.of).finish()
    }
}

impl<E: Event> Sink<E> {
    fn is_open(&self) -> bool {
        match self {
            Self::Actor(weak) => weak.upgrade().is_some_and(|to| to.connected()),
            Self::Stream(sender) => !sender.is_closed(),
        }
    }

    /// Sends the event; returns whether the subscriber still exists.
    fn send(&self, event: &E) -> bool {
        match self {
            // The recipient of a stopped actor can still be upgraded.
            Self::Actor(weak) => match weak.upgrade().filter(Recipient::connected) {
                Some(recipient) => {
                    recipient.do_send(event.clone());
                    true
                }
                None => false,
            },
            Self::Stream(sender) => sender.unbounded_send(event.clone()).is_ok(),
        }
    }
}

/// All subscriptions of one runtime.
#[derive(Debug)]
pub struct Hub {
    journal: Arc<Journal>,
    ids: AtomicU64,
    closed: AtomicBool,
    acquired: Subscribers<LockAcquired>,
    lost: Subscribers<LockLost>,
    released: Subscribers<LockReleased>,
    elected: Subscribers<Elected>,
    deposed: Subscribers<Deposed>,
    force_released: Subscribers<ForceReleased>,
    stepped_down: Subscribers<SteppedDown>,
    leader_changed: Subscribers<LeaderChanged>,
}

impl<E: Event> Default for Subscribers<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E: Event> Subscribers<E> {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<Subscriber<E>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn remove(&self, id: SubscriptionId) {
        self.with(|list| list.retain(|subscriber| subscriber.id != id));
    }
}

impl Hub {
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        Self {
            journal,
            ids: AtomicU64::default(),
            closed: AtomicBool::default(),
            acquired: Subscribers::default(),
            lost: Subscribers::default(),
            released: Subscribers::default(),
            elected: Subscribers::default(),
            deposed: Subscribers::default(),
            force_released: Subscribers::default(),
            stepped_down: Subscribers::default(),
            leader_changed: Subscribers::default(),
        }
    }

    /// The journal that published events are also written to.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Sends the event to the subscribers, in the order of their subscriptions.
    pub(crate) fn publish<E: Event>(&self, event: &E) {
        E::subscribers(self).with(|list| {
            list.retain(|subscriber| {
                if subscriber.of.admits(event.key()) { subscriber.sink.send(event) } else { true }
            });
        });
    }

    /// Subscribes an actor; the events of `first` are sent before any other.
    pub(crate) fn subscribe<E: Event>(
        &self,
        to: &Recipient<E>,
        of: Filter,
        first: impl FnOnce() -> Vec<E>,
    ) -> SubscriptionId {
        self.add(of, Sink::Actor(to.downgrade()), first)
    }

    /// Subscribes a stream; the events of `first` come before any other.
    pub(crate) fn stream<E: Event>(&self, of: Filter, first: impl FnOnce() -> Vec<E>) -> Events<E> {
        let (sender, receiver) = mpsc::unbounded();
        self.add(of, Sink::Stream(sender), first);
        Events(receiver)
    }

    fn add<E: Event>(
        &self,
        of: Filter,
        sink: Sink<E>,
        first: impl FnOnce() -> Vec<E>,
    ) -> SubscriptionId {
        let id = SubscriptionId(self.ids.fetch_add(1, Ordering::Relaxed));
        E::subscribers(self).with(|list| {
            // Without this, dead subscribers would stay as long as no event happens.
            list.retain(|subscriber| subscriber.sink.is_open());
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            for event in first().iter().filter(|event| of.admits(event.key())) {
                sink.send(event);
            }
            list.push(Subscriber { id, of, sink });
        });
        id
    }

    /// Ends all subscriptions and streams.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.acquired.with(Vec::clear);
        self.lost.with(Vec::clear);
        self.released.with(Vec::clear);
        self.elected.with(Vec::clear);
        self.deposed.with(Vec::clear);
        self.force_released.with(Vec::clear);
        self.stepped_down.with(Vec::clear);
        self.leader_changed.with(Vec::clear);
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&self, id: SubscriptionId) {
        self.acquired.remove(id);
        self.lost.remove(id);
        self.released.remove(id);
        self.elected.remove(id);
        self.deposed.remove(id);
        self.force_released.remove(id);
        self.stepped_down.remove(id);
        self.leader_changed.remove(id);
    }
}

/// A stream of events, for code outside actors.
///
/// It loses no event: unread events wait in memory without a limit, so keep polling it.
/// It ends when the runtime ends.
#[must_use = "a stream does nothing until it is polled"]
pub struct Events<E: Event>(mpsc::UnboundedReceiver<E>);

impl<E: Event> Stream for Events<E> {
    type Item = E;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<E>> {
        Pin::new(&mut self.0).poll_next(context)
    }
}

impl<E: Event> fmt::Debug for Events<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
