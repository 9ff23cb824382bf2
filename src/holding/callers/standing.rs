//! How a process stands for election among the callers of a key, and is followed.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio::sync::{oneshot, watch};

use crate::holding::callers::{Callers, GivenBack, News};
#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    error::Error,
    holding::{observer::Observer, tenure::Tenure},
    ownership::{Holder, LossReason},
    protocol::{election::Stood, queue::Effect},
    token::FencingToken,
};

impl Callers {
    /// Joins the campaign for the key, or begins it; then the key says `value`
    /// while it is led.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) fn campaign(self: &Arc<Self>, value: Arc<[u8]>) -> Result<Tenure, Error> {
        let now = self.clock.now();
        let observer = self.observe()?;
        let (number, began) = self.work(|inner, effects| {
            let began = inner.election.campaign().is_none();
            if began {
                inner.campaign_value = value;
            }
            (inner.elect(effects, |election, then| election.campaign_for(now, then)), began)
        });
        Ok(Tenure::new(observer, number, began))
    }

    /// Follows who has the key, until the observer is dropped.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) fn observe(self: &Arc<Self>) -> Result<Observer, Error> {
        let leading = self.work(|inner, effects| {
            if inner.stopped {
                return Err(Error::Stopped);
            }
            inner.election.observe();
            let holder = inner.queue.holder().cloned();
            if holder.is_some() {
                inner.elect(effects, |election, then| election.seen(holder.as_ref(), then));
            }
            effects.push(Effect::Poke);
            Ok(inner.leading.get_or_insert_with(watch::Sender::default).subscribe())
        })?;
        Ok(Observer::new(self.clone(), leading))
    }

    /// An observer is gone.
    pub(crate) fn unobserve(self: &Arc<Self>) {
        self.work(|inner, effects| {
            inner.election.unobserve();
            effects.push(Effect::Poke);
        });
    }

    /// That campaign stands down, for so long or for good. If it led, that is over
    /// with this call, and the answer is how the key was given back. A term that had
    /// ended by itself, though nobody has noticed or it is not known why, is lost:
    /// that is told first, and nothing is given back.
    pub(crate) fn resign(
        self: &Arc<Self>,
        campaign: u64,
        cool_down: Option<Duration>,
    ) -> Option<GivenBack> {
        let now = self.clock.now();
        self.work(|inner, effects| {
            let leads =
                inner.election.campaign() == Some(campaign) && inner.election.token().is_some();
            if leads && let Some(reason) = inner.queue.overdue(now) {
                inner.surrender(reason, effects);
            }
            let stood = inner
                .elect(effects, |election, then| election.resign(now, campaign, cool_down, then));
            // Whatever it did, when to go on has changed.
            effects.push(Effect::Poke);
            match stood {
                Stood::Idle => None,
                Stood::Waiting(call) => {
                    inner.queue.leave(call, effects);
                    None
                }
                Stood::Leading(call) => {
                    let (sender, receiver) = oneshot::channel();
                    inner.end(call, |state| {
                        #[cfg(test)]
                        if Mutation::TermOutlivesResignation.is_chosen() {
                            return;
                        }
                        state.lose(LossReason::Resigned);
                    });
                    let given_back = receiver.shared();
                    inner.releasing.insert(call, sender);
                    inner.resigning = Some((call, given_back.clone()));
                    inner.queue.end(now, call, true, effects);
                    Some(given_back)
                }
            }
        })
    }

    /// Whatever campaign there is stands down for good. The answer is how the key is
    /// given back, by whatever resignation.
    pub(crate) fn stand_down(self: &Arc<Self>) -> Option<GivenBack> {
        let campaign = self.lock().election.campaign();
        campaign.and_then(|campaign| self.resign(campaign, None)).or_else(|| self.giving_back())
    }

    /// The release of a term that was resigned, while it is under way.
    pub(crate) fn giving_back(&self) -> Option<GivenBack> {
        self.lock().resigning.as_ref().map(|(_, given_back)| given_back.clone())
    }

    /// The token of this process's term, if it leads and that is no news any more.
    pub(crate) fn term(&self) -> Option<FencingToken> {
        let inner = self.lock();
        let told = !inner.news.iter().any(|news| matches!(news, News::Elected { .. }));
        inner.election.token().filter(|_| told)
    }

    /// Whether a campaign wants the key at present.
    #[cfg(test)]
    pub(crate) fn campaigns(&self) -> bool {
        let election = &self.lock().election;
        election.campaign().is_some() && election.next_wakeup().is_none()
    }

    /// Who leads, as far as is known, if that is no news any more.
    pub(crate) fn leader(&self) -> Option<Holder> {
        let inner = self.lock();
        let told = !inner.news.iter().any(|news| matches!(news, News::LeaderChanged { .. }));
        inner.election.leader().filter(|_| told).cloned()
    }
}
