use std::time::Duration;

use super::*;
use crate::{
    clock::Moment,
    config::{HASHICORP_LOCK_FLAGS, Retention},
    consul::fact::{Fence, SessionId},
    holding::turn::{Cause, Style},
    protocol::{
        cell::DeadlineCell,
        lock::Event,
        session::{Notice, SessionView},
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

#[test]
fn a_removed_slot_does_not_take_the_offer_of_its_successor() {
    let (slots, value) = (slots(), Arc::<[u8]>::from([]));
    let now = slots.clock().now();
    let flags = HASHICORP_LOCK_FLAGS;
    let style = Style { service: "test".into(), flags, retention: Retention::default() };
    let turn = |slot: &Slot| slot.turn(now, Cause::Poke, &style, &mut |_| {});
    let key = Key::new("a").unwrap();
    let entered = slots.enter(&key, Purpose::Lock, Patience::Unlimited, value.clone());
    let Ok(Entered { slot: old, call, .. }) = entered else { panic!("turned away") };
    old.callers.leave(call);
    assert!(slots.reap(&key));
    let set = BTreeSet::from([key.clone(), Key::new("b").unwrap()]);
    let Ok((_, entered)) = slots.enter_all(&set, value) else { panic!("turned away") };
    let new = &entered[0].slot;
    new.report(Event::Session(Notice::Opened(view(now))));
    turn(new);
    assert!(new.is_offered());
    // A late answer reaches the removed slot.
    turn(&old);
    assert!(new.is_offered());
}
