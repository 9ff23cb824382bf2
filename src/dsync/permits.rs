//! The intake of requests for permits.

use tokio::time::Instant;

use super::intake::{Intake, Pending, Place, wait_span};
use crate::{
    consul::roster::LOCK,
    error::Error,
    holding::lease::Lease,
    key::Key,
    messages::{AcquirePermit, TryAcquirePermit},
    protocol::queue::Patience,
    value::LockValue,
};

impl Intake {
    pub(crate) fn acquire_permit(&self, asked: AcquirePermit) -> Pending<Lease> {
        let AcquirePermit { prefix, limit, within, value } = asked;
        let span = wait_span(&prefix);
        let place = self.enter_semaphore(&prefix, limit, Patience::Unlimited, value);
        let granted = self.granted(place, Instant::now(), within, span);
        Box::pin(async move { granted.await.map_err(|error| of_semaphore(error, limit)) })
    }

    pub(crate) fn try_acquire_permit(&self, asked: TryAcquirePermit) -> Pending<Lease> {
        let TryAcquirePermit { prefix, limit, value } = asked;
        let span = wait_span(&prefix);
        let place = self.enter_semaphore(&prefix, limit, Patience::None, value);
        let granted = self.granted(place, Instant::now(), None, span);
        Box::pin(async move { granted.await.map_err(|error| of_semaphore(error, limit)) })
    }

    fn enter_semaphore(
        &self,
        prefix: &Key,
        limit: u32,
        patience: Patience,
        value: Option<LockValue>,
    ) -> Result<Place, Error> {
        let most = AcquirePermit::MOST_PERMITS;
        if !(1..=most).contains(&limit) {
            let why = format!("is {limit}; it must be between 1 and {most}");
            return Err(Error::Invalid { field: "limit", why });
        }
        let key = Key::new(format!("{prefix}/{LOCK}"))?;
        let value = self.value_of(value)?;
        let each = AcquirePermit::MOST_VALUE_BYTES / limit as usize;
        let longest = each.saturating_sub(prefix.as_str().len());
        if value.len() > longest {
            let length = value.len();
            let why = format!(
                "has {length} bytes; a permit of {limit} below this prefix may have {longest}"
            );
            return Err(Error::Invalid { field: "value", why });
        }
        let entered = self.slots.enter_semaphore(&key, limit, patience, value)?;
        Ok(self.placed(entered))
    }
}

/// Turns the error of a lock into the error of a semaphore.
fn of_semaphore(error: Error, limit: u32) -> Error {
    match error {
        Error::Held { key, .. } => Error::NoPermit { key, limit, waited: None },
        Error::WaitedTooLong { key, waited, .. } => {
            Error::NoPermit { key, limit, waited: Some(waited) }
        }
        other => other,
    }
}
