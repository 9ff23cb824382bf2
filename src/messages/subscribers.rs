//! The subscribers of events.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
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
    fn subscribers(lists: &mut Lists) -> &mut Subscribers<Self>
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

            fn subscribers(lists: &mut Lists) -> &mut Subscribers<Self> {
                &mut lists.$field
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
pub struct Subscribers<E: Event>(Vec<Subscriber<E>>);

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

impl<E: Event> Default for Subscribers<E> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// The subscribers to all kinds of events.
#[derive(Debug, Default)]
pub struct Lists {
    closed: bool,
    acquired: Subscribers<LockAcquired>,
    lost: Subscribers<LockLost>,
    released: Subscribers<LockReleased>,
    elected: Subscribers<Elected>,
    deposed: Subscribers<Deposed>,
    force_released: Subscribers<ForceReleased>,
    stepped_down: Subscribers<SteppedDown>,
    leader_changed: Subscribers<LeaderChanged>,
}

/// All subscriptions of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    ids: AtomicU64,
    /// One mutex for all kinds: what a new subscriber first receives of one kind was read before
    /// any later event of another kind is sent.
    lists: Mutex<Lists>,
}

impl Hub {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the event to the subscribers, in the order of their subscriptions.
    pub(crate) fn publish<E: Event>(&self, event: &E) {
        E::subscribers(&mut self.lists()).0.retain(|subscriber| {
            if subscriber.of.admits(event.key()) { subscriber.sink.send(event) } else { true }
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
        let mut lists = self.lists();
        if lists.closed {
            return id;
        }
        let list = &mut E::subscribers(&mut lists).0;
        // Without this, dead subscribers would stay as long as no event happens.
        list.retain(|subscriber| subscriber.sink.is_open());
        for event in first().iter().filter(|event| of.admits(event.key())) {
            sink.send(event);
        }
        list.push(Subscriber { id, of, sink });
        id
    }

    /// Ends all subscriptions and streams.
    pub(crate) fn close(&self) {
        *self.lists() = Lists { closed: true, ..Lists::default() };
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&self, id: SubscriptionId) {
        let mut lists = self.lists();
        lists.acquired.remove(id);
        lists.lost.remove(id);
        lists.released.remove(id);
        lists.elected.remove(id);
        lists.deposed.remove(id);
        lists.force_released.remove(id);
        lists.stepped_down.remove(id);
        lists.leader_changed.remove(id);
    }
}

impl<E: Event> Subscribers<E> {
    fn remove(&mut self, id: SubscriptionId) {
        self.0.retain(|subscriber| subscriber.id != id);
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

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        sync::mpsc::{self as channel, RecvTimeoutError},
        time::Duration,
    };

    use actix::{Actor, Handler};

    use super::*;
    use crate::ownership::LossReason;

    /// Tells the kind of each event.
    struct Reader(channel::Sender<&'static str>);

    impl Actor for Reader {
        type Context = actix::Context<Self>;
    }

    impl Handler<Elected> for Reader {
        type Result = ();

        fn handle(&mut self, _: Elected, _: &mut Self::Context) {
            self.0.send("elected").unwrap();
        }
    }

    impl Handler<Deposed> for Reader {
        type Result = ();

        fn handle(&mut self, _: Deposed, _: &mut Self::Context) {
            self.0.send("deposed").unwrap();
        }
    }

    #[actix::test]
    async fn what_a_subscriber_first_receives_precedes_its_end_although_another_thread_publishes_it()
     {
        let hub = Arc::new(Hub::default());
        let (kinds, read) = channel::channel();
        let reader = Reader(kinds).start();
        let (key, token) = (Key::new("k").unwrap(), FencingToken::new(7, 0).unwrap());
        hub.subscribe::<Deposed>(&reader.clone().recipient(), Filter::All, Vec::new);
        let (of, deposed) =
            (hub.clone(), Deposed { key: key.clone(), token, reason: LossReason::Resigned });
        let first = move || {
            // The state has been read, and changes now.
            let (done, is_done) = channel::channel();
            std::thread::spawn(move || {
                of.publish(&deposed);
                done.send(()).unwrap();
            });
            let early = is_done.recv_timeout(Duration::from_millis(100));
            assert_eq!(early, Err(RecvTimeoutError::Timeout), "published too early");
            vec![Elected { key, token }]
        };
        hub.subscribe::<Elected>(&reader.clone().recipient(), Filter::All, first);
        let mut order = Vec::new();
        while order.len() < 2 {
            tokio::task::yield_now().await;
            order.extend(read.try_iter());
        }
        assert_eq!(order, ["elected", "deposed"]);
    }
}
