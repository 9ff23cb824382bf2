//! A caller that wants several keys at once.

use std::{collections::BTreeSet, future::poll_fn, pin::Pin, sync::Arc, task::Poll};

#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    error::Error,
    holding::{
        callers::Grant,
        slots::{Entered, Slots},
    },
    key::Key,
    protocol::gather::SetId,
};

/// The places of one caller in the queues of all keys of a set. Dropping it leaves them
/// and releases the keys that were granted.
pub(crate) struct Party {
    slots: Arc<Slots>,
    id: SetId,
    places: Vec<Place>,
}

struct Place {
    entered: Entered,
    grant: Option<Grant>,
}

/// Why a party is not granted its keys.
#[derive(Debug)]
pub(crate) enum Unserved {
    Refused(Error),
    /// The transaction took effect, but not every key could be granted, because the
    /// session or a key's actor ended in between. Ask anew.
    Broken,
}

impl Party {
    /// Queues a caller for all of `keys`.
    ///
    /// # Errors
    /// [`Error::TooManyKeys`], [`Error::TooManyWaiters`], [`Error::Stopped`].
    pub(crate) fn enter(
        slots: &Arc<Slots>,
        keys: &BTreeSet<Key>,
        value: Arc<[u8]>,
    ) -> Result<Self, Error> {
        let (id, entered) = slots.enter_all(keys, value)?;
        let places = entered.into_iter().map(|entered| Place { entered, grant: None });
        Ok(Self { slots: slots.clone(), id, places: places.collect() })
    }

    /// The queues that it entered.
    pub(crate) fn entered(&self) -> impl Iterator<Item = &Entered> {
        self.places.iter().map(|place| &place.entered)
    }

    /// Waits until all keys are granted.
    ///
    /// # Errors
    /// The first refusal; [`Unserved::Broken`].
    ///
    /// # Cancel safety
    /// It can be dropped and called again.
    pub(crate) async fn answer(&mut self) -> Result<Vec<Grant>, Unserved> {
        poll_fn(|context| {
            for place in self.places.iter_mut().filter(|place| place.grant.is_none()) {
                match Pin::new(&mut place.entered.answer).poll(context) {
                    Poll::Ready(Ok(Ok(grant))) => place.grant = Some(grant),
                    Poll::Ready(Ok(Err(error))) => {
                        return Poll::Ready(Err(Unserved::Refused(error)));
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Unserved::Broken)),
                    Poll::Pending => {}
                }
            }
            if self.places.iter().any(|place| place.grant.is_none()) {
                return Poll::Pending;
            }
            let grants = self.places.iter_mut().filter_map(|place| place.grant.take());
            #[cfg(test)]
            let grants = grants.filter_map(|grant| {
                if Mutation::SetPartlyReleased.is_chosen() && grant.key().as_str() == "a" {
                    std::mem::forget(grant);
                    return None;
                }
                Some(grant)
            });
            Poll::Ready(Ok(grants.collect()))
        })
        .await
    }
}

#[cfg(test)]
impl Party {
    /// How many keys were granted and not passed on yet.
    pub(crate) fn granted(&self) -> usize {
        self.places.iter().filter(|place| place.grant.is_some()).count()
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.slots.leave_set(self.id);
        for place in &self.places {
            // Has no effect on a place whose key was granted.
            place.entered.slot.callers.leave(place.entered.call);
            #[cfg(test)]
            if Mutation::SetPartlyLeft.is_chosen() {
                return;
            }
        }
    }
}
