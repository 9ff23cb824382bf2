//! Response bodies that are produced only while a lock or a term lasts.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    http::Method,
    web::Bytes,
};
use futures::future::{Either, LocalBoxFuture, select};

use super::hold::Hold;
use crate::{
    holding::{lease_state::LeaseState, term::Term},
    ownership::{LossReason, Lost},
};

/// The error that aborts a body.
type Why = Box<dyn std::error::Error>;

/// Returns a body that holds the lock until it has been produced. A body that is complete
/// or is not sent holds no lock.
pub(super) fn locked(body: BoxBody, hold: Hold, method: &Method) -> BoxBody {
    if method == Method::HEAD {
        return BoxBody::new(Unsent(body.size()));
    }
    let state = hold.state().clone();
    let (lease, too_long) = (state.clone(), hold.over());
    let over = async move {
        match select(pin!(lease.lost()), pin!(too_long)).await {
            Either::Left((reason, _)) => lost(&lease, reason),
            Either::Right((too_long, _)) => too_long.into(),
        }
    };
    until(over, body, state, hold)
}

/// Returns a body that is produced within the term.
pub(super) fn led(body: BoxBody, term: Term) -> BoxBody {
    let state = term.state().clone();
    let (lease, reason) = (state.clone(), term.lost());
    let over = async move { lost(&lease, reason.await) };
    until(over, body, state, term)
}

fn lost(state: &LeaseState, reason: LossReason) -> Why {
    Lost { key: state.key().clone(), token: state.token(), reason }.into()
}

/// Returns the body, which keeps `guard` until it ends, and is aborted once the lease is `over`. A
/// body that is complete, or is none, keeps nothing.
fn until(
    over: impl Future<Output = Why> + 'static,
    body: BoxBody,
    state: Arc<LeaseState>,
    guard: impl Unpin + 'static,
) -> BoxBody {
    if body.size() == BodySize::None {
        return body;
    }
    match body.try_into_bytes() {
        Ok(bytes) => BoxBody::new(bytes),
        Err(body) => BoxBody::new(BodyInTime {
            size: body.size(),
            body: Some(body),
            state,
            guard: Some(guard),
            over: Some(Box::pin(over)),
        }),
    }
}

/// The body of a response to `HEAD`: it has a size and is not produced.
struct Unsent(BodySize);

impl MessageBody for Unsent {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

struct BodyInTime<G> {
    size: BodySize,
    /// `None` once it is complete or aborted.
    body: Option<BoxBody>,
    state: Arc<LeaseState>,
    guard: Option<G>,
    /// Completes with the error that aborts the body; `None` once the body has ended.
    over: Option<LocalBoxFuture<'static, Why>>,
}

impl<G> BodyInTime<G> {
    /// Drops the body, and then what it kept.
    fn end(&mut self) {
        self.body = None;
        self.over = None;
        self.guard = None;
    }
}

impl<G: Unpin> MessageBody for BodyInTime<G> {
    type Error = Why;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = &mut *self;
        let Some(over) = &mut this.over else { return Poll::Ready(None) };
        if let Poll::Ready(why) = over.as_mut().poll(context) {
            this.end();
            return Poll::Ready(Some(Err(why)));
        }
        // The lease can be invalid shortly before `over` completes.
        this.body.take_if(|_| !this.state.is_valid());
        let Some(body) = &mut this.body else { return Poll::Pending };
        let next = Pin::new(body).poll_next(context);
        if matches!(next, Poll::Ready(None)) {
            this.end();
        }
        next
    }
}
