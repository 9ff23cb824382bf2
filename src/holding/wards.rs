//! The slots of one runtime under their warden.
//!
//! This module carries out the warden's effects on slots at once. It leaves the effects on
//! actors to the caller.

use std::{collections::VecDeque, sync::Arc};

use super::{slot::Slot, slots::Slots};
use crate::{
    clock::Moment,
    key::Key,
    ownership::LossReason,
    protocol::{
        contest::News,
        lock,
        session::SessionView,
        warden::{Effect, Event, ForActors, ForSlots, Warden, Which},
    },
};

/// The slots of one runtime and their warden.
#[derive(Debug)]
pub(crate) struct Wards {
    slots: Arc<Slots>,
    warden: Warden,
}

impl Wards {
    pub(crate) fn new(slots: Arc<Slots>) -> Self {
        Self { slots, warden: Warden::default() }
    }

    pub(crate) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    #[cfg(test)]
    pub(crate) fn warden(&self) -> &Warden {
        &self.warden
    }

    /// The open session.
    pub(crate) fn view(&self) -> Option<&SessionView> {
        self.warden.view()
    }

    /// When an [`Event::Tick`] is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        self.warden.next_wakeup()
    }

    /// Passes an event to the warden. Publishes the news of keys, then returns the effects on
    /// actors, in order.
    pub(crate) fn handle(
        &mut self,
        now: Moment,
        event: Event,
        mut publish: impl FnMut(&Key, News),
    ) -> Vec<ForActors> {
        let (mut effects, mut for_actors) = (Vec::new(), Vec::new());
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            // Only the warden removes slots, so a slot that exists now stays until the event
            // is handled.
            if matches!(&event, Event::SlotMade(key) if self.slots.get(key).is_none()) {
                continue;
            }
            self.warden.handle(now, event, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Slots(order) => events.extend(self.carry_out(order, &mut publish)),
                    Effect::Actors(order) => for_actors.push(order),
                }
            }
        }
        for_actors
    }

    fn carry_out(&self, order: ForSlots, publish: &mut impl FnMut(&Key, News)) -> Option<Event> {
        match order {
            ForSlots::Lose { which, reason } => {
                for slot in self.slots_of(&which) {
                    slot.callers.lost(reason);
                    tell(&slot, publish);
                }
            }
            ForSlots::Notify { which, notice } => {
                for slot in self.slots_of(&which) {
                    slot.report(lock::Event::Session(notice.clone()));
                }
            }
            ForSlots::WatchLost => {
                for slot in self.all() {
                    slot.report(lock::Event::WatchLost);
                }
            }
            ForSlots::StopCallers => {
                self.slots.stop();
                for slot in self.all() {
                    slot.callers.stop();
                    tell(&slot, publish);
                }
            }
            ForSlots::Reap(which) => {
                let mut keys: Vec<_> =
                    self.slots_of(&which).into_iter().map(|slot| slot.key.clone()).collect();
                keys.retain(|key| self.slots.reap(key));
                return Some(Event::Reaped { keys, left: self.slots.len() });
            }
            ForSlots::Survey => {
                let needs_session = |slot: &&Arc<Slot>| slot.machine().needs_session();
                let owned = self.slots.all().iter().filter(needs_session).count();
                return Some(Event::Surveyed { owned });
            }
        }
        None
    }

    fn slots_of(&self, which: &Which) -> Vec<Arc<Slot>> {
        match which {
            Which::All => self.all(),
            Which::Of(keys) => keys.iter().filter_map(|key| self.slots.get(key)).collect(),
        }
    }

    /// All slots, in a repeatable order.
    fn all(&self) -> Vec<Arc<Slot>> {
        let mut slots = self.slots.all();
        slots.sort_by(|one, other| one.key.cmp(&other.key));
        slots
    }

    /// The runtime has ended, for whatever reason: nobody keeps waiting for a reply, and every
    /// loss is published.
    pub(crate) fn abandon(&self, mut publish: impl FnMut(&Key, News)) {
        let orderly = self.slots.is_stopped();
        let reason = if orderly { LossReason::Shutdown } else { LossReason::RuntimeFailed };
        self.slots.stop();
        for slot in self.all() {
            slot.callers.abandon(reason);
            tell(&slot, &mut publish);
        }
        if let Some(view) = self.warden.view() {
            view.cell.latch(reason);
        }
    }
}

fn tell(slot: &Slot, publish: &mut impl FnMut(&Key, News)) {
    slot.callers.report(|news| publish(&slot.key, news));
}
