use std::time::Duration;

use super::*;
use crate::{
    clock::Moment,
    config::{HASHICORP_LOCK_FLAGS, Retention},
    consul::fact::{Fence, Seen, SessionId},
    holding::{
        turn::{Cause, Style},
        watchers::{Watch, Watchers},
    },
    protocol::{
        Tickets,
        cell::DeadlineCell,
        lock::Event,
        session::{Notice, SessionView},
        watch,
    },
};

fn slots() -> Slots {
    Slots::new(SlotSettings {
        clock: Clock::Boot,
        flags: HASHICORP_LOCK_FLAGS,
        era: Era::default(),
        most_keys: 10,
        most_waiters: 10,
        process: 1,
        telemetry: Telemetry::new("test", false),
    })
}

fn view(now: Moment) -> SessionView {
    let lease = Duration::from_secs(15);
    SessionView {
        generation: 1,
        id: SessionId::from("ours"),
        cell: Arc::new(DeadlineCell::new(now + lease)),
        lease,
        fence: Fence::At(1),
    }
}

/// A removed slot of the key `a`, and its successor, which a set's caller waits for.
fn removed_and_new(slots: &Slots) -> (Arc<Slot>, Arc<Slot>, Vec<Entered>) {
    let (key, value) = (Key::new("a").unwrap(), Arc::<[u8]>::from([]));
    let entered = slots.enter(&key, Purpose::Lock, Patience::Unlimited, value.clone());
    let Ok(Entered { slot: old, call, .. }) = entered else { panic!("turned away") };
    old.callers.leave(call);
    assert!(slots.reap(&key));
    let set = BTreeSet::from([key, Key::new("b").unwrap()]);
    let Ok((_, entered)) = slots.enter_all(&set, value) else { panic!("turned away") };
    (old, entered[0].slot.clone(), entered)
}

#[test]
fn a_removed_slot_does_not_take_the_offer_of_its_successor() {
    let slots = slots();
    let now = slots.clock().now();
    let flags = HASHICORP_LOCK_FLAGS;
    let style = Style { service: "test".into(), flags, retention: Retention::default() };
    let turn = |slot: &Slot| slot.turn(now, Cause::Poke, &style, &mut |_| {});
    let (old, new, _waiting) = removed_and_new(&slots);
    new.report(Event::Session(Notice::Opened(view(now))));
    turn(&new);
    assert!(new.is_offered());
    // A late answer reaches the removed slot.
    turn(&old);
    assert!(new.is_offered());
}

#[test]
fn a_removed_slot_does_not_replace_the_watch_of_its_successor() {
    let slots = slots();
    let now = slots.clock().now();
    let (old, new, _waiting) = removed_and_new(&slots);
    let mut watchers = Watchers::new(16, 1);
    let watch = |slot: &Arc<Slot>| Watch {
        slot: slot.clone(),
        after: 7,
        holder: None,
        ticket: Tickets::default().next(),
        held: false,
    };
    let reads = watchers.watch(now, watch(&new));
    assert_eq!(watchers.watch(now, watch(&old)).len(), 0);
    let (read, answer) = (reads[0].read, Seen::Missing { index: 8 });
    watchers.handle(now, watch::Event::Seen { read, answer });
    assert!(new.next_fact().is_some() && old.next_fact().is_none());
}
