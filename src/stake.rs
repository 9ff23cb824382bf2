//! Which work of this process depends on which campaign.

use std::{collections::HashMap, fmt, mem, pin::pin, sync::Arc};

use futures::future::select;
use tokio::sync::{oneshot, watch};

use crate::{error::Error, key::Key, ownership::Released, tenure::Tenure};

/// All work of one runtime that is bound to leadership.
#[derive(Debug, Default)]
pub(crate) struct Ledger(watch::Sender<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// Leadership is handed over: nothing more is begun.
    closed: bool,
    /// How much work there is.
    stakes: usize,
    /// How much of it each campaign has that was begun for work. Such a campaign
    /// is over with the last of it; one that somebody asked for is not ours to end.
    begun: HashMap<(Key, u64), usize>,
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
                entries.stakes += 1;
                let campaign = (tenure.key().clone(), tenure.number());
                if tenure.began() {
                    entries.begun.insert(campaign, 1);
                } else if let Some(stakes) = entries.begun.get_mut(&campaign) {
                    *stakes += 1;
                }
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

    /// Waits until no work is left.
    pub(crate) async fn emptied(&self) {
        // The sender is here: there is no other end.
        let _ = self.0.subscribe().wait_for(|entries| entries.stakes == 0).await;
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
    /// for it, and waits until Consul has the key back.
    pub(crate) async fn withdraw(mut self) {
        if let Some(given_back) = self.give_up() {
            // Without an answer the runtime is gone, and the session with it.
            let _ = given_back.await;
        }
    }

    fn give_up(&mut self) -> Option<oneshot::Receiver<Released>> {
        if mem::replace(&mut self.given_up, true) {
            return None;
        }
        let mut given_back = None;
        // Under the ledger's lock, so that nobody joins in between.
        self.ledger.0.send_if_modified(|entries| {
            let campaign = (self.tenure.key().clone(), self.tenure.number());
            if let Some(stakes) = entries.begun.get_mut(&campaign) {
                *stakes -= 1;
                if *stakes == 0 {
                    entries.begun.remove(&campaign);
                    let callers = self.tenure.observer().callers();
                    given_back = callers.resign(self.tenure.number(), None);
                }
            }
            false
        });
        given_back
    }
}

impl Drop for Stake {
    fn drop(&mut self) {
        drop(self.give_up());
        self.ledger.0.send_modify(|entries| entries.stakes -= 1);
    }
}

impl fmt::Debug for Stake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stake").field("tenure", &self.tenure).finish_non_exhaustive()
    }
}
