//! The intake of requests about leadership.

use super::intake::{Intake, Pending};
use crate::{
    error::Error,
    holding::{observer::Observer, slots::Opened, tenure::Tenure},
    key::Key,
    messages::{Campaign, Observe, Resign},
    ownership::{LossReason, Released},
};

impl Intake {
    pub(crate) fn campaign(&self, campaign: Campaign) -> Pending<Tenure> {
        let tenure = self.begin_campaign(campaign);
        Box::pin(async move { tenure })
    }

    /// The key that `campaign` contends for.
    pub(crate) fn key_of(&self, campaign: &Campaign) -> Result<Key, Error> {
        campaign.key.clone().map_or_else(|| self.defaults.leadership.clone(), Ok)
    }

    pub(crate) fn begin_campaign(&self, campaign: Campaign) -> Result<Tenure, Error> {
        let key = self.key_of(&campaign)?;
        let value = match campaign.value {
            Some(value) => value.extending(&self.defaults.leader_value).to_bytes()?,
            None => self.defaults.leader_value.to_bytes()?,
        };
        let tenure = self.opened(self.slots.campaign(&key, value.into())?);
        Ok(tenure.keeping(self.keep_alive.clone()))
    }

    pub(crate) fn observe(&self, Observe(key): Observe) -> Pending<Observer> {
        let observer = self.slots.observe(&key).map(|opened| self.opened(opened));
        let observer = observer.map(|observer| observer.keeping(self.keep_alive.clone()));
        Box::pin(async move { observer })
    }

    fn opened<T>(&self, Opened { slot, answer, is_new }: Opened<T>) -> T {
        self.announce(&slot, is_new);
        answer
    }

    pub(crate) fn resign(&self, Resign { tenure, cool_down }: Resign) -> Pending<Option<Released>> {
        let callers = tenure.observer().callers();
        // An earlier resignation may not be confirmed yet.
        let given_back =
            callers.resign(tenure.number(), cool_down).or_else(|| callers.pending_release());
        Box::pin(async move {
            let Some(given_back) = given_back else { return Ok(None) };
            let failed = Released::AlreadyLost(LossReason::RuntimeFailed);
            Ok(Some(given_back.await.unwrap_or(failed)))
        })
    }
}
