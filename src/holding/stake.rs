//! Which work of this process depends on which campaign.

use std::{collections::HashMap, fmt, mem, pin::pin, sync::Arc};

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
    /// Leadership is handed over: nothing more is begun.
    closed: bool,
    /// What is bound to each campaign.
    bound: HashMap<(Key, u64), Bound>,
}

/// The work that depends on one campaign, as long as there is any.
#[derive(Debug)]
struct Bound {
    stakes: usize,
    /// The campaign was begun for work, and is over with the last of it; one that
    /// somebody asked for is not ours to end.
    begun: bool,
}

impl Ledger {
    /// Notes work under the campaign that `begin` begins or joins.
    ///
    /// # Errors
    /// Those of `begin`; [`Error::Stopped`] once leadership was handed over.
    pub(crate) fn stake(
        self: &Arc<Self>,
        begin: impl FnOnce() -> Result<Tenure, Error>,
    ) -> Result<Stake, Error> {
        let mut result = Err(Error::Stopped);
        self.0.send_if_modified(|entries| {
            if entries.closed {
                return false;
            }
            result = begin();
            if let Ok(tenure) = &result {
                let campaign = (tenure.key().clone(), tenure.number());
                let none = Bound { stakes: 0, begun: tenure.began() };
                entries.bound.entry(campaign).or_insert(none).stakes += 1;
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

    /// Waits until all work has stopped that depends on the leadership of `key`.
    pub(crate) async fn stopped(&self, key: &Key) {
        let stopped = |entries: &Entries| entries.bound.keys().all(|(of, _)| of != key);
        // The sender is here: there is no other end.
        let _ = self.0.subscribe().wait_for(stopped).await;
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

    /// The work has ended. Resigns if it was the last of a campaign that was begun
    /// for it, and waits until Consul has the key back if somebody has resigned.
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
        let campaign = (self.tenure.key().clone(), self.tenure.number());
        // Under the ledger's lock, so that nobody joins in between.
        self.ledger.0.send_modify(|entries| {
            let Some(bound) = entries.bound.get_mut(&campaign) else { return };
            bound.stakes -= 1;
            if bound.stakes > 0 {
                return;
            }
            if bound.begun {
                // Waited for below, whoever it was that resigned.
                drop(callers.resign(self.tenure.number(), None));
            }
            entries.bound.remove(&campaign);
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
