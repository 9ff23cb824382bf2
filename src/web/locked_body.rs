//! A response's body that is produced while a lock is held.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    http::Method,
    web::Bytes,
};
use futures::future::{Either, LocalBoxFuture, select};
use tokio::{task::AbortHandle, time::Instant};

use super::refusal::HeldTooLong;
use crate::{holding::lease::Lease, key::Key, ownership::Lost};

/// When a hold is over, and how long it was allowed to be. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    limit: Duration,
    /// None if it is too far away to be represented.
    end: Option<Instant>,
}

impl Hold {
    pub(super) fn from_now(limit: Duration) -> Self {
        Self { limit, end: Instant::now().checked_add(limit) }
    }

    /// Ends when the hold is over.
    pub(super) async fn over(self, key: Key) -> HeldTooLong {
        match self.end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
        tracing::warn!(%key, limit = ?self.limit, "a request held its lock too long; it is given back");
        HeldTooLong { limit: self.limit }
    }
}

/// The body, which keeps the lock until it has been produced. What is there as a
/// whole, or is not sent, keeps none.
pub(super) fn locked(body: BoxBody, lease: Lease, hold: Hold, method: &Method) -> BoxBody {
    if body.size() == BodySize::None {
        return body;
    }
    if method == Method::HEAD {
        return BoxBody::new(Unsent(body.size()));
    }
    match body.try_into_bytes() {
        Ok(bytes) => BoxBody::new(bytes),
        Err(body) => BoxBody::new(LockedBody::new(body, lease, hold)),
    }
}

/// The body of an answer to `HEAD`: its size is told, and it is not produced.
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
    /// None once it is done or broken off.
    body: Option<BoxBody>,
    lease: Shared,
    /// Why the body breaks off; none once that was said.
    over: Option<LocalBoxFuture<'static, Box<dyn std::error::Error>>>,
    /// Gives the lock back in time though nobody polls the body, because the client
    /// reads nothing.
    keeper: AbortHandle,
}

/// The lease, until it is given back.
type Shared = Arc<Mutex<Option<Lease>>>;

fn give_back(lease: &Shared) {
    // Dropped when the mutex is free.
    let _lease = lease.lock().unwrap_or_else(PoisonError::into_inner).take();
}

fn is_valid(lease: &Shared) -> bool {
    lease.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(Lease::is_valid)
}

impl LockedBody {
    fn new(body: BoxBody, lease: Lease, hold: Hold) -> Self {
        let (key, token, lost) = (lease.key().clone(), lease.token(), lease.lost());
        let lost_key = key.clone();
        let lease = Arc::new(Mutex::new(Some(lease)));
        let kept = lease.clone();
        let (told, ended) = tokio::sync::oneshot::channel();
        let keeper = actix_rt::spawn(async move {
            let over = hold.over(key).await;
            give_back(&kept);
            // The body may be gone.
            let _ = told.send(over);
        });
        let over = async move {
            let lost = async {
                Box::<dyn std::error::Error>::from(Lost {
                    key: lost_key,
                    token,
                    reason: lost.await,
                })
            };
            match select(std::pin::pin!(lost), ended).await {
                Either::Left((lost, _)) => lost,
                Either::Right((Ok(over), _)) => Box::new(over),
                // The keeper is gone with its arbiter.
                Either::Right((Err(_), lost)) => lost.await,
            }
        };
        Self {
            size: body.size(),
            body: Some(body),
            lease,
            over: Some(Box::pin(over)),
            keeper: keeper.abort_handle(),
        }
    }

    /// Nothing more is produced.
    fn end(&mut self) {
        self.body = None;
        self.over = None;
        self.keeper.abort();
        give_back(&self.lease);
    }
}

impl Drop for LockedBody {
    fn drop(&mut self) {
        self.end();
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
        // Why it is over may be known a little later.
        let lease = &this.lease;
        this.body.take_if(|_| !is_valid(lease));
        let Some(body) = &mut this.body else { return Poll::Pending };
        let next = Pin::new(body).poll_next(context);
        if matches!(next, Poll::Ready(None)) {
            this.end();
        }
        next
    }
}
