//! The ledger of work that depends on this process's leadership.

use std::{collections::HashSet, fmt, mem, pin::pin, sync::Arc};

use futures::future::select;
use tokio::sync::watch;

use crate::{
    error::Error,
    holding::{callers::SharedRelease, tenure::Tenure},
    key::Key,
};

/// All work of one runtime that depends on leadership.
#[derive(Debug, Default)]
pub(crate) struct Ledger(watch::Sender<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// Leadership was handed over: no more work may start.
    closed: bool,
    /// The keys whose work is running or stopping.
    bound: HashSet<Key>,
}

impl Ledger {
    /// Binds work to the campaign for `key` that `campaign` starts or joins. A key has
    /// at most one piece of work at a time.
    ///
    /// # Errors
    /// The errors of `campaign`; [`Error::AlreadyStarted`] if the key has work;
    /// [`Error::Stopped`] once leadership was handed over.
    pub(crate) fn bind(
        self: &Arc<Self>,
        key: &Key,
        campaign: impl FnOnce() -> Result<Tenure, Error>,
    ) -> Result<WorkGuard, Error> {
        let mut result = Err(Error::Stopped);
        self.0.send_if_modified(|entries| {
            if entries.closed {
                return false;
            }
            if entries.bound.contains(key) {
                result = Err(Error::AlreadyStarted { key: key.clone() });
                return false;
            }
            result = campaign();
            if result.is_ok() {
                entries.bound.insert(key.clone());
            }
            // Nobody waits for an added entry.
            false
        });
        Ok(WorkGuard { ledger: self.clone(), tenure: result?, unbound: false })
    }

    /// Calls off all work and accepts no more. Returns the keys whose work is running or
    /// stopping.
    pub(crate) fn close(&self) -> HashSet<Key> {
        self.0.send_modify(|entries| entries.closed = true);
        self.0.borrow().bound.clone()
    }

    /// Waits until the work of `key` has stopped.
    pub(crate) async fn stopped(&self, key: &Key) {
        // Cannot fail: `self` is the sender.
        let _ = self.0.subscribe().wait_for(|entries| !entries.bound.contains(key)).await;
    }

    async fn closed(&self) {
        let _ = self.0.subscribe().wait_for(|entries| entries.closed).await;
    }
}

/// Binds one piece of work to its campaign; drop it when the work has ended.
pub(crate) struct WorkGuard {
    ledger: Arc<Ledger>,
    tenure: Tenure,
    unbound: bool,
}

impl WorkGuard {
    pub(crate) fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// Waits until the work must not start again: leadership was handed over, or the
    /// campaign has ended.
    pub(crate) fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let (ledger, tenure) = (self.ledger.clone(), self.tenure.clone());
        async move {
            select(pin!(ledger.closed()), pin!(tenure.ended())).await;
        }
    }

    /// Unbinds the ended work. Resigns if the campaign was started for it. If anybody
    /// has resigned, waits until Consul has confirmed the release.
    pub(crate) async fn withdraw(mut self) {
        if let Some(released) = self.unbind() {
            // An error means that the runtime is gone, and its session with it.
            let _ = released.await;
        }
    }

    fn unbind(&mut self) -> Option<SharedRelease> {
        if mem::replace(&mut self.unbound, true) {
            return None;
        }
        let callers = self.tenure.observer().callers();
        // Under the ledger's lock, so that no work for the key starts in between.
        self.ledger.0.send_modify(|entries| {
            // Do not end a campaign that the user started.
            if self.tenure.began() {
                // `pending_release` returns the outcome below, whoever resigned.
                drop(callers.resign(self.tenure.number(), None));
            }
            entries.bound.remove(self.tenure.key());
        });
        callers.pending_release()
    }
}

impl Drop for WorkGuard {
    fn drop(&mut self) {
        drop(self.unbind());
    }
}

impl fmt::Debug for WorkGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkGuard").field("tenure", &self.tenure).finish_non_exhaustive()
    }
}
