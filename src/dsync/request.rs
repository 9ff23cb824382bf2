//! Which messages can be sent to a handle, and the reply to one.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use actix::{Message, Recipient};

use crate::{
    dsync::intake::{Intake, Pending},
    error::Error,
    messages::{
        Acquire, Campaign, Event, Explain, Inspect, List, Observe, Release, Resign, Subscribe,
        SubscriptionId, TryAcquire, Unsubscribe,
    },
    status::report::{KeyReport, Report},
};
/// The reply to a request.
///
/// Dropping it cancels an acquisition that has not been granted yet.
#[must_use = "dropping a reply cancels the request"]
pub struct Reply<M: Request>(pub(super) Pending<M::Reply>);

impl<M: Request> Future for Reply<M> {
    type Output = Result<M::Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl<M: Request> fmt::Debug for Reply<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// What can be sent to a [`Dsync`]: the messages of this crate.
///
/// This trait is sealed.
pub trait Request: Message<Result: Send> + Send + Sized + 'static {
    /// What a granted request is answered with.
    type Reply: Send + 'static;

    #[doc(hidden)]
    fn submit(self, intake: &Intake) -> Pending<Self::Reply>;

    #[doc(hidden)]
    fn recipient(intake: &Intake) -> Recipient<Self>;
}

macro_rules! request {
    ($($request:ty => $method:ident -> $reply:ty $(where $event:ident)?),* $(,)?) => {$(
        impl$(<$event: Event>)? Request for $request {
            type Reply = $reply;

            fn submit(self, intake: &Intake) -> Pending<$reply> {
                intake.$method(self)
            }

            fn recipient(intake: &Intake) -> Recipient<Self> {
                intake.supervisor.clone().recipient()
            }
        }
    )*};
}

request! {
    Acquire => acquire -> crate::holding::lease::Lease,
    TryAcquire => try_acquire -> crate::holding::lease::Lease,
    Release => release -> crate::ownership::Released,
    Inspect => inspect -> Option<crate::ownership::Holder>,
    Explain => explain -> KeyReport,
    List => list -> Report,
    Campaign => campaign -> crate::holding::tenure::Tenure,
    Resign => resign -> Option<crate::ownership::Released>,
    Observe => observe -> crate::holding::observer::Observer,
    Subscribe<E> => subscribe -> SubscriptionId where E,
    Unsubscribe => unsubscribe -> (),
}
