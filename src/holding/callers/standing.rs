//! How a process stands for election among the callers of a key, and is followed.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio::sync::{oneshot, watch};

use super::{Callers, GivenBack};
use crate::{error::Error, holding::term::Leading, ownership::Holder, token::FencingToken};

impl Callers {
    /// Joins the campaign for the key, or begins it; then the key says `value`
    /// while it is led. Returns the campaign's number, and whether it began.
    pub(crate) fn campaign(self: &Arc<Self>, value: Arc<[u8]>) -> (u64, bool) {
        self.work(|inner, now, effects| {
            let (number, began) = inner.contest.campaign_for(now, effects);
            if began {
                inner.campaign_value = value;
            }
            (number, began)
        })
    }

    /// Follows who has the key, until [`unobserve`](Self::unobserve).
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) fn observe(self: &Arc<Self>) -> Result<watch::Receiver<Leading>, Error> {
        self.work(|inner, now, effects| {
            if inner.contest.is_stopped() {
                return Err(Error::Stopped);
            }
            inner.contest.observe(now, effects);
            Ok(inner.leading.get_or_insert_with(watch::Sender::default).subscribe())
        })
    }

    /// An observer is gone.
    pub(crate) fn unobserve(self: &Arc<Self>) {
        self.work(|inner, _, effects| inner.contest.unobserve(effects));
    }

    /// That campaign stands down, for `cool_down` or for good. If it led, that is over
    /// with this call, and the answer is how the key was given back.
    pub(crate) fn resign(
        self: &Arc<Self>,
        campaign: u64,
        cool_down: Option<Duration>,
    ) -> Option<GivenBack> {
        self.work(|inner, now, effects| {
            let call = inner.contest.resign(now, campaign, cool_down, effects)?;
            let (sender, receiver) = oneshot::channel();
            let given_back = receiver.shared();
            inner.releasing.insert(call, sender);
            inner.resigning = Some((call, given_back.clone()));
            Some(given_back)
        })
    }

    /// Whatever campaign there is stands down for good. The answer is how the key is
    /// given back, by whatever resignation.
    pub(crate) fn stand_down(self: &Arc<Self>) -> Option<GivenBack> {
        let campaign = self.lock().contest.election().campaign();
        campaign.and_then(|campaign| self.resign(campaign, None)).or_else(|| self.giving_back())
    }

    /// The release of a term that was resigned, while it is under way.
    pub(crate) fn giving_back(&self) -> Option<GivenBack> {
        self.lock().resigning.as_ref().map(|(_, given_back)| given_back.clone())
    }

    /// The token of this process's term, if it leads and that was reported.
    pub(crate) fn term(&self) -> Option<FencingToken> {
        self.lock().contest.reported_term()
    }

    /// Whether a campaign wants the key at present.
    #[cfg(test)]
    pub(crate) fn campaigns(&self) -> bool {
        let inner = self.lock();
        let election = inner.contest.election();
        election.campaign().is_some() && election.next_wakeup().is_none()
    }

    /// Who leads, as far as is known, if that was reported.
    pub(crate) fn leader(&self) -> Option<Holder> {
        self.lock().contest.reported_leader().cloned()
    }
}
