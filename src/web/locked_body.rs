//! A response body that holds a lock while it is produced.

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
use crate::{holding::lease::Lease, key::Key, logs, ownership::Lost};

/// The end of a hold and its time limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    limit: Duration,
    /// `None` if it is too far away to be represented.
    end: Option<Instant>,
}

impl Hold {
    pub(super) fn from_now(limit: Duration) -> Self {
        Self { limit, end: Instant::now().checked_add(limit) }
    }

    /// Completes at the end of the hold.
    pub(super) async fn over(self, key: Key) -> HeldTooLong {
        match self.end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
        logs::warn!(%key, limit = ?self.limit, "request held its lock too long; lock released");
        HeldTooLong { limit: self.limit }
    }
}

/// Returns a body that holds the lock until it has been produced. A body that is complete
/// or is not sent holds no lock.
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
    lease: Shared,
    /// Completes with the error that aborts the body; `None` once the body has ended.
    over: Option<LocalBoxFuture<'static, Box<dyn std::error::Error>>>,
    /// Releases the lock in time even if the client reads nothing, so that the body is not
    /// polled.
    keeper: AbortHandle,
}

/// The lease, until it is released.
type Shared = Arc<Mutex<Option<Lease>>>;

fn give_back(lease: &Shared) {
    // Dropped after the mutex is unlocked.
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
                // The keeper ended with its arbiter.
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

    /// Drops the body and releases the lock.
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
        // The lease can be invalid shortly before `over` completes.
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
