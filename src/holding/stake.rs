//! Which work of this process depends on which campaign.

use std::{collections::HashSet, fmt, mem, pin::pin, sync::Arc};

use futures::future::select;
use tokio::sync::watch;

use crate::{
    error::Error,
    holding::{callers::GivenBack, tenure::Tenure},
    key::Key,
};

/// All work of one runtime that is bound to leadership.
#[derive(Debug, Default)]
pub(crate) struct Ledger(watch::Sender<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// Leadership is handed over: no more work begins.
    closed: bool,
    /// The keys for which work runs, or is stopping.
    bound: HashSet<Key>,
}

impl Ledger {
    /// Binds work to the campaign for `key` that `begin` begins or joins. A key has
    /// at most one piece of work, so that never two run at a time.
    ///
    /// # Errors
    /// Those of `begin`; [`Error::AlreadyStarted`]; [`Error::Stopped`] once
    /// leadership was handed over.
    pub(crate) fn stake(
        self: &Arc<Self>,
        key: &Key,
        begin: impl FnOnce() -> Result<Tenure, Error>,
    ) -> Result<Stake, Error> {
        let mut result = Err(Error::Stopped);
        self.0.send_if_modified(|entries| {
            if entries.closed {
                return false;
            }
            if entries.bound.contains(key) {
                result = Err(Error::AlreadyStarted { key: key.clone() });
                return false;
            }
            result = begin();
            if result.is_ok() {
                entries.bound.insert(key.clone());
            }
            // Nobody waits for there to be more.
            false
        });
        Ok(Stake { ledger: self.clone(), tenure: result?, given_up: false })
    }

    /// Calls all work off, and takes no more.
    pub(crate) fn close(&self) {
        self.0.send_modify(|entries| entries.closed = true);
    }

    /// Waits until the work that depends on the leadership of `key` has stopped.
    pub(crate) async fn stopped(&self, key: &Key) {
        // The sender is here: there is no other end.
        let _ = self.0.subscribe().wait_for(|entries| !entries.bound.contains(key)).await;
    }

    async fn closed(&self) {
        let _ = self.0.subscribe().wait_for(|entries| entries.closed).await;
    }
}

/// One piece of work that depends on a campaign. Dropped when that has ended.
pub(crate) struct Stake {
    ledger: Arc<Ledger>,
    tenure: Tenure,
    given_up: bool,
}

impl Stake {
    pub(crate) fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// Waits until there is no more to do for good: leadership is handed over, or
    /// the campaign has ended. It borrows nothing.
    pub(crate) fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let (ledger, tenure) = (self.ledger.clone(), self.tenure.clone());
        async move {
            select(pin!(ledger.closed()), pin!(tenure.ended())).await;
        }
    }

    /// The work has ended. Resigns if the campaign was begun for it, and waits until
    /// Consul has the key back if anybody has resigned.
    pub(crate) async fn withdraw(mut self) {
        if let Some(given_back) = self.give_up() {
            // Without an answer the runtime is gone, and the session with it.
            let _ = given_back.await;
        }
    }

    fn give_up(&mut self) -> Option<GivenBack> {
        if mem::replace(&mut self.given_up, true) {
            return None;
        }
        let callers = self.tenure.observer().callers();
        // Under the ledger's lock, so that no work begins for the key in between.
        self.ledger.0.send_modify(|entries| {
            // A campaign that the user asked for is not ours to end.
            if self.tenure.began() {
                // The answer is waited for below, whoever resigned.
                drop(callers.resign(self.tenure.number(), None));
            }
            entries.bound.remove(self.tenure.key());
        });
        callers.giving_back()
    }
}

impl Drop for Stake {
    fn drop(&mut self) {
        drop(self.give_up());
    }
}

impl fmt::Debug for Stake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stake").field("tenure", &self.tenure).finish_non_exhaustive()
    }
}
