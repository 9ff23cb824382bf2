//! The requests that a handle or a recipient accepts, and their reply.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    task::{self, Poll},
};

use actix::{
    dev::{MessageResponse, OneshotSender},
    prelude::*,
};
use futures::future::{Either, select};

use super::intake::{Intake, Pending};
use crate::{
    error::Error,
    holding::{
        keep_alive::KeepAlive, lease::Lease, lease_set::LeaseSet, observer::Observer,
        tenure::Tenure,
    },
    logs,
    messages::{
        Acquire, AcquireAll, AcquirePermit, Campaign, Event, Explain, ForceRelease, ForceReleased,
        HeldKey, Holders, Inspect, List, Observe, ReadEntry, Release, ReleaseAll, Resign, StepDown,
        SteppedDown, StoredEntry, Subscribe, SubscriptionId, TryAcquire, TryAcquirePermit,
        Unsubscribe, UpdateValue, Write,
    },
    ownership::{Holder, Released},
    status::report::{KeyReport, Report},
};

/// The reply to a request.
///
/// Dropping it cancels an acquisition that is not granted yet. A request with another effect is
/// carried out all the same.
#[must_use = "dropping a reply cancels an acquisition, and discards the outcome of other requests"]
pub struct Reply<M: Request> {
    pending: Pending<M::Reply>,
    _keep_alive: Arc<KeepAlive>,
}

impl<M: Request> Reply<M> {
    pub(super) fn new(pending: Pending<M::Reply>, intake: &Intake) -> Self {
        Self { pending, _keep_alive: intake.keep_alive.clone() }
    }
}

impl<M: Request> Future for Reply<M> {
    type Output = Result<M::Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.pending.as_mut().poll(context)
    }
}

impl<M: Request> fmt::Debug for Reply<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// A request to a [`Dsync`](crate::Dsync): one of this crate's messages.
///
/// This trait is sealed.
pub trait Request: Message<Result: Send> + Send + Sized + 'static {
    /// The reply to a successful request.
    type Reply: Send + 'static;

    /// Whether the request has no effect besides its reply.
    #[doc(hidden)]
    const FOR_ITS_ANSWER: bool;

    #[doc(hidden)]
    fn submit(self, intake: &Intake) -> Pending<Self::Reply>;

    #[doc(hidden)]
    fn recipient(intake: &Intake) -> Recipient<Self>;
}

macro_rules! request {
    ($for_its_answer:literal: $($request:ty => $method:ident -> $reply:ty $(where $event:ident)?),* $(,)?) => {$(
        impl$(<$event: Event>)? Request for $request {
            type Reply = $reply;

            const FOR_ITS_ANSWER: bool = $for_its_answer;

            fn submit(self, intake: &Intake) -> Pending<$reply> {
                intake.$method(self)
            }

            fn recipient(intake: &Intake) -> Recipient<Self> {
                IntakeActor::open(intake).recipient()
            }
        }
    )*};
}

request! { true:
    Acquire => acquire -> Lease,
    AcquireAll => acquire_all -> LeaseSet,
    AcquirePermit => acquire_permit -> Lease,
    TryAcquirePermit => try_acquire_permit -> Lease,
    TryAcquire => try_acquire -> Lease,
    Inspect => inspect -> Option<Holder>,
    Explain => explain -> KeyReport,
    List => list -> Report,
    Observe => observe -> Observer,
    Holders => holders -> Vec<HeldKey>,
    ReadEntry => read_entry -> Option<StoredEntry>,
}

request! { false:
    Release => release -> Released,
    ReleaseAll => release_all -> Released,
    Campaign => campaign -> Tenure,
    Resign => resign -> Option<Released>,
    Subscribe<E> => subscribe -> SubscriptionId where E,
    Unsubscribe => unsubscribe -> (),
    UpdateValue => update_value -> (),
    Write => write -> (),
    ForceRelease => force_release -> ForceReleased,
    StepDown => step_down -> SteppedDown,
}

/// Receives the requests of one recipient. It lives on the runtime's thread as long as the
/// recipient exists, and keeps the runtime running.
pub(super) struct IntakeActor(Intake);

impl IntakeActor {
    pub(super) fn open(intake: &Intake) -> Addr<Self> {
        let taken_in = intake.clone();
        Self::start_in_arbiter(&intake.arbiter, move |_| Self(taken_in))
    }
}

impl Actor for IntakeActor {
    type Context = Context<Self>;
}

impl<M> Handler<M> for IntakeActor
where
    M: Request + Message<Result = Result<<M as Request>::Reply, Error>>,
{
    type Result = Asked<M>;

    fn handle(&mut self, request: M, _: &mut Context<Self>) -> Asked<M> {
        Asked { request, intake: self.0.clone() }
    }
}

/// A request from the mailbox. Whether somebody waits for its reply is known only when it
/// becomes a response.
pub(super) struct Asked<M> {
    request: M,
    intake: Intake,
}

impl<M> MessageResponse<IntakeActor, M> for Asked<M>
where
    M: Request + Message<Result = Result<<M as Request>::Reply, Error>>,
{
    fn handle(self, _: &mut Context<IntakeActor>, asker: Option<OneshotSender<M::Result>>) {
        let Self { request, intake } = self;
        if asker.is_none() && M::FOR_ITS_ANSWER {
            let request = std::any::type_name::<M>();
            logs::warn!(request, "request ignored: nobody can receive its reply");
            return;
        }
        let answer = request.submit(&intake);
        let Some(mut asker) = asker else { return };
        actix_rt::spawn(async move {
            // Keeps the runtime running until the reply was sent.
            let _intake = intake;
            let answer = match select(pin!(asker.closed()), answer).await {
                Either::Left(_) => return,
                Either::Right((answer, _)) => answer,
            };
            // If the caller goes away at this moment, its lease is dropped and thereby released.
            let _ = asker.send(answer);
        });
    }
}
