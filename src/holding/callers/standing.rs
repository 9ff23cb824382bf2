//! Campaigns and observers among the callers of a key.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio::sync::{oneshot, watch};

use super::{Callers, SharedRelease};
use crate::{error::Error, holding::term::Leading, ownership::Holder, token::FencingToken};

impl Callers {
    /// Joins the campaign for the key, or starts one whose term gives the key
    /// `value`. Returns the campaign's number, and whether it started.
    pub(crate) fn campaign(self: &Arc<Self>, value: Arc<[u8]>) -> (u64, bool) {
        self.step(|inner, now, effects| {
            let (number, began) = inner.contest.campaign_for(now, effects);
            if began {
                inner.campaign_value = value;
                // Shown as 0 until the first election is reported.
                self.telemetry.leads(&self.key, false);
            }
            (number, began)
        })
    }

    /// Follows the key's holder until [`unobserve`](Self::unobserve).
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) fn observe(self: &Arc<Self>) -> Result<watch::Receiver<Leading>, Error> {
        self.step(|inner, now, effects| {
            if inner.contest.is_stopped() {
                return Err(Error::Stopped);
            }
            inner.contest.observe(now, effects);
            Ok(inner.leading.get_or_insert_with(watch::Sender::default).subscribe())
        })
    }

    /// An observer was dropped.
    pub(crate) fn unobserve(self: &Arc<Self>) {
        self.step(|inner, _, effects| inner.contest.unobserve(effects));
    }

    /// Ends the campaign with that number, or pauses it for `cool_down`. If it led, its
    /// term ends with this call, and the result is the outcome of the release.
    pub(crate) fn resign(
        self: &Arc<Self>,
        campaign: u64,
        cool_down: Option<Duration>,
    ) -> Option<SharedRelease> {
        self.step(|inner, now, effects| {
            let call = inner.contest.resign(now, campaign, cool_down, effects)?;
            let (sender, receiver) = oneshot::channel();
            let outcome = receiver.shared();
            inner.releasing.insert(call, sender);
            inner.resigning = Some((call, outcome.clone()));
            Some(outcome)
        })
    }

    /// Ends the campaign, if there is one. Returns the outcome of a resigned term's
    /// release, whoever resigned.
    pub(crate) fn stand_down(self: &Arc<Self>) -> Option<SharedRelease> {
        let campaign = self.lock().contest.election().campaign();
        campaign.and_then(|campaign| self.resign(campaign, None)).or_else(|| self.pending_release())
    }

    /// The unconfirmed release of a resigned term.
    pub(crate) fn pending_release(&self) -> Option<SharedRelease> {
        self.lock().resigning.as_ref().map(|(_, outcome)| outcome.clone())
    }

    /// The token of this process's term, once its election was reported.
    pub(crate) fn term(&self) -> Option<FencingToken> {
        self.lock().contest.reported_term()
    }

    /// Whether a campaign is running and not resting.
    #[cfg(test)]
    pub(crate) fn campaigns(&self) -> bool {
        let inner = self.lock();
        let election = inner.contest.election();
        election.campaign().is_some() && election.next_wakeup().is_none()
    }

    /// The leader, once it was reported.
    pub(crate) fn leader(&self) -> Option<Holder> {
        self.lock().contest.reported_leader().cloned()
    }
}
