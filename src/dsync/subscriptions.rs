//! The intake of subscriptions to events.

use std::sync::Arc;

use super::intake::{Intake, Pending};
use crate::{
    error::Error,
    holding::slot::Slot,
    messages::{
        Filter, Subscribe, SubscriptionId, Unsubscribe,
        subscribers::{Event, Events, Known},
    },
};

impl Intake {
    pub(crate) fn subscribe<E: Event>(
        &self,
        Subscribe { to, of }: Subscribe<E>,
    ) -> Pending<SubscriptionId> {
        let result = if self.slots.is_stopped() {
            Err(Error::Stopped)
        } else {
            Ok(self.hub.subscribe(&to, of, || self.current()))
        };
        Box::pin(async move { result })
    }

    pub(crate) fn unsubscribe(&self, Unsubscribe(id): Unsubscribe) -> Pending<()> {
        self.hub.unsubscribe(id);
        Box::pin(async { Ok(()) })
    }

    pub(crate) fn events<E: Event>(&self, of: Filter) -> Events<E> {
        self.hub.stream(of, || self.current())
    }

    /// The events that a new subscriber first receives.
    fn current<E: Event>(&self) -> Vec<E> {
        let known = |slot: Arc<Slot>| Known {
            key: slot.key.clone(),
            owned: slot.callers.token(),
            led: slot.callers.term(),
            leader: slot.callers.leader(),
        };
        self.slots.all().into_iter().filter_map(|slot| E::current(known(slot))).collect()
    }
}
