//! A response body that holds a lock while it is produced.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    http::Method,
    web::Bytes,
};
use futures::future::{Either, LocalBoxFuture, select};

use super::hold::Hold;
use crate::ownership::Lost;

/// Returns a body that holds the lock until it has been produced. A body that is complete
/// or is not sent holds no lock.
pub(super) fn locked(body: BoxBody, hold: Hold, method: &Method) -> BoxBody {
    if body.size() == BodySize::None {
        return body;
    }
    if method == Method::HEAD {
        return BoxBody::new(Unsent(body.size()));
    }
    match body.try_into_bytes() {
        Ok(bytes) => BoxBody::new(bytes),
        Err(body) => BoxBody::new(LockedBody::new(body, hold)),
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

struct LockedBody {
    size: BodySize,
    /// `None` once it is complete or aborted.
    body: Option<BoxBody>,
    hold: Hold,
    /// Completes with the error that aborts the body; `None` once the body has ended.
    over: Option<LocalBoxFuture<'static, Box<dyn std::error::Error>>>,
}

impl LockedBody {
    fn new(body: BoxBody, hold: Hold) -> Self {
        let (state, too_long) = (hold.state().clone(), hold.over());
        let over = async move {
            let why: Box<dyn std::error::Error> =
                match select(pin!(state.lost()), pin!(too_long)).await {
                    Either::Left((reason, _)) => {
                        Lost { key: state.key().clone(), token: state.token(), reason }.into()
                    }
                    Either::Right((too_long, _)) => too_long.into(),
                };
            why
        };
        Self { size: body.size(), body: Some(body), hold, over: Some(Box::pin(over)) }
    }

    /// Drops the body and releases the lock.
    fn end(&mut self) {
        self.body = None;
        self.over = None;
        self.hold.end();
    }
}

impl MessageBody for LockedBody {
    type Error = Box<dyn std::error::Error>;

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
        let lease = this.hold.state();
        this.body.take_if(|_| !lease.is_valid());
        let Some(body) = &mut this.body else { return Poll::Pending };
        let next = Pin::new(body).poll_next(context);
        if matches!(next, Poll::Ready(None)) {
            this.end();
        }
        next
    }
}
