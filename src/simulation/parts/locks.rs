//! The parts that drive locks.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures::FutureExt as _;

use super::{Mail, Part};
use crate::{
    clock::Moment,
    holding::{
        fuse,
        slot::Slot,
        turn::{Cause, Order},
        watchers::Watch,
    },
    protocol::warden,
    simulation::{
        process::{Out, Process},
        question::{Question, Waiter},
    },
};

/// The part that drives a slot.
#[derive(Debug)]
pub(in crate::simulation) struct Worker {
    pub(in crate::simulation) slot: Arc<Slot>,
    pub(super) wakes_at: Option<Moment>,
}

impl Process {
    /// Takes a turn of a lock, in which its actor may die.
    pub(super) fn turn(&mut self, number: u64, cause: Cause) {
        let Some(worker) = self.workers.get(&number) else { return };
        let (slot, now, style) = (worker.slot.clone(), self.clock.now(), self.style.clone());
        let dies = self.fuse.take_if(|(key, _)| *key == slot.key);
        let turn = |process: &mut Self| {
            slot.turn(now, cause, &style, &mut |order| process.obey(number, &slot, order));
        };
        if let Some((_, points)) = dies {
            fuse::light(points);
            // It dies at some point during the turn, or at its end.
            let _ = catch_unwind(AssertUnwindSafe(|| turn(self)));
            fuse::put_out();
            return self.kill_lock(number);
        }
        turn(self);
        let wakes_at = slot.next_wakeup();
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.wakes_at = wakes_at;
        }
    }

    fn kill_lock(&mut self, number: u64) {
        if let Some(Worker { slot, .. }) = self.workers.remove(&number) {
            let died = warden::Event::LockDied { key: slot.key.clone(), worker: number };
            self.post(Part::Lock(number), Part::Warden, Mail::Warden(died));
        }
    }

    fn obey(&mut self, number: u64, slot: &Arc<Slot>, order: Order) {
        let (me, slot) = (Part::Lock(number), slot.clone());
        let question = match order {
            Order::Publish(news) => return self.publish(&slot.key, news),
            Order::Won { index, session, cell, token } => {
                let key = slot.key.clone();
                return self.out.push(Out::Won { key, index, session, cell, token });
            }
            Order::Lock { ticket, ask } => return self.lock(ask, Waiter { slot, ticket }),
            Order::LockAll { tickets, ask } => {
                self.sending(tickets.iter().map(|(key, _)| key));
                let slots = tickets
                    .into_iter()
                    .filter_map(|(key, ticket)| Some((self.wards.slots().get(&key)?, ticket)));
                Question::LockAll { slots: slots.collect(), ask }
            }
            Order::Ask(question) => Question::Slot(slot, question),
            Order::Watch { ticket, after, holder, held } => {
                let watch = Watch { slot, after, holder, ticket, held };
                return self.post(me, Part::Warden, Mail::Watch(watch));
            }
            Order::Request(request) => {
                let asked = warden::Event::Asked(request);
                return self.post(me, Part::Warden, Mail::Warden(asked));
            }
            Order::Idle => {
                let idle = warden::Event::Idle(slot.key.clone());
                return self.post(me, Part::Warden, Mail::Warden(idle));
            }
            Order::Unreleased(_) | Order::Overwrote(_) | Order::Failed(_) => return,
        };
        self.out.push(Out::Ask(question, me));
    }
}

/// Whether the slot's worker has input to read, without consuming the poke.
pub(super) fn is_poked(slot: &Slot) -> bool {
    let poked = slot.callers.poked().now_or_never().is_some();
    if poked {
        slot.callers.poke();
    }
    poked
}
