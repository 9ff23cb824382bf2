//! The lock of one request, which is released in time whatever becomes of the request.

use std::{
    future::{Future, pending},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, future::Shared};
use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::refusal::HeldTooLong;
use crate::{
    error::Error,
    holding::{lease::Lease, lease_state::LeaseState},
    logs::{self, GuardedSpan},
};

/// How long a request may take to drop its work at its time limit.
const GRACE: Duration = Duration::from_millis(100);

/// The lock that a request holds. Dropped, it is released.
///
/// A task of its own waits for the lock and ends the hold at its time limit. The request's own
/// timers are not enough: actix-web stops polling a request, and keeps it, while it flushes the
/// responses of an HTTP/1 connection that is to be closed, to a client that reads nothing.
pub(super) struct Hold {
    state: Arc<LeaseState>,
    over: Shared<oneshot::Receiver<HeldTooLong>>,
    _keeper: Keeper,
}

/// Ends the task and gives back what it was granted when it is dropped.
struct Keeper {
    lease: Arc<Mutex<Option<Lease>>>,
    task: AbortHandle,
}

impl Hold {
    /// Waits for the lock, and holds it for at most `limit`.
    ///
    /// # Errors
    /// Those of `granted`.
    pub(super) async fn begin(
        granted: impl Future<Output = Result<Lease, Error>> + Send + 'static,
        limit: Duration,
    ) -> Result<Self, Error> {
        let lease = Arc::new(Mutex::new(None));
        let kept = lease.clone();
        let (grants, grant) = oneshot::channel();
        let (ends, over) = oneshot::channel();
        let keeps = async move {
            let lease = match granted.await {
                Ok(lease) => lease,
                // The request may be gone.
                Err(error) => return drop(grants.send(Err(error))),
            };
            let state = lease.state().clone();
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
            let _ = grants.send(Ok(state.clone()));
            if timeout(limit, state.over()).await.is_err() {
                let key = state.key();
                logs::warn!(%key, ?limit, "request held its lock too long; releasing the lock");
                let _ = ends.send(HeldTooLong { limit });
                // A request that is polled drops its work first, and then the lock.
                sleep(GRACE).await;
                give_back(&kept);
            }
        };
        // Not a local task: a service's tests may run on any runtime of Tokio.
        let task = tokio::spawn(logs::traced(GuardedSpan::current(), Box::pin(keeps)));
        let keeper = Keeper { lease, task: task.abort_handle() };
        // The task ends early only with its runtime.
        let state = grant.await.unwrap_or(Err(Error::Stopped))?;
        Ok(Self { state, over: over.shared(), _keeper: keeper })
    }

    pub(super) fn state(&self) -> &Arc<LeaseState> {
        &self.state
    }

    /// Completes at the time limit. The lock is released a moment later.
    pub(super) fn over(&self) -> impl Future<Output = HeldTooLong> + use<> {
        let over = self.over.clone();
        async move {
            match over.await {
                Ok(over) => over,
                Err(_) => pending().await,
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
        give_back(&self.lease);
    }
}

fn give_back(lease: &Mutex<Option<Lease>>) {
    // Dropped after the mutex is unlocked.
    let _lease = lease.lock().unwrap_or_else(PoisonError::into_inner).take();
}
