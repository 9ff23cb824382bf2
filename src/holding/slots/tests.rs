use std::time::Duration;

use futures::FutureExt as _;

use super::*;
use crate::{
    clock::Moment,
    config::{HASHICORP_LOCK_FLAGS, Retention},
    consul::{
        ask::ReleaseHow,
        fact::{Entry, Fence, Locked, Released, Seen, SessionId, Trouble, Written},
    },
    holding::{
        callers::Content,
        slot_question::SlotQuestion,
        turn::{Cause, Order, Style},
        watchers::{Watch, Watchers},
    },
    protocol::{
        Ticket, Tickets,
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

/// A slot whose turns are taken by hand.
struct Bench {
    slots: Slots,
    slot: Arc<Slot>,
    retention: Retention,
}

impl Bench {
    fn new(retention: Retention) -> (Self, Entered) {
        let slots = slots();
        let entered = enter(&slots, "first");
        let slot = entered.slot.clone();
        slot.report(Event::Session(Notice::Opened(view(slots.clock().now()))));
        (Self { slots, slot, retention }, entered)
    }

    fn turn(&self) -> Vec<Order> {
        self.turn_in(Duration::ZERO, Cause::Poke)
    }

    fn turn_in(&self, pause: Duration, cause: Cause) -> Vec<Order> {
        let flags = HASHICORP_LOCK_FLAGS;
        let style = Style { service: "test".into(), flags, retention: self.retention };
        let (now, mut orders) = (self.slots.clock().now() + pause, Vec::new());
        self.slot.turn(now, cause, &style, &mut |order| orders.push(order));
        orders
    }

    fn after(&self, fact: Event) -> Vec<Order> {
        self.slot.report(fact);
        self.turn()
    }
}

fn enter(slots: &Slots, value: &str) -> Entered {
    let (key, value) = (Key::new("a").unwrap(), Arc::from(value.as_bytes()));
    slots.enter(&key, Purpose::Lock, Patience::Unlimited, value).expect("a place")
}

fn lock_ticket(orders: &[Order]) -> Ticket {
    let ticket = orders.iter().find_map(|order| match order {
        Order::Lock { ticket, .. } => Some(*ticket),
        _ => None,
    });
    ticket.unwrap_or_else(|| panic!("no lock is sent: {orders:?}"))
}

fn found_ours(index: u64) -> Seen {
    let session = Some(SessionId::from("ours"));
    let (flags, value) = (HASHICORP_LOCK_FLAGS, b"first".to_vec());
    let entry = Entry { session, modify_index: index, lock_index: 1, flags, value };
    Seen::Found { entry, index }
}

#[test]
fn a_lock_that_the_session_has_in_consul_is_not_kept_for_a_waiting_set() {
    let (bench, first) = Bench::new(Retention::default());
    let ticket = lock_ticket(&bench.turn());
    let set = BTreeSet::from([Key::new("a").unwrap(), Key::new("b").unwrap()]);
    let (_, _waiting) = bench.slots.enter_all(&set, Arc::from([])).expect("places");
    let last = enter(&bench.slots, "last");
    bench.slot.callers.leave(first.call);
    let answer = Locked::Unknown(Trouble::Timeout(Duration::from_secs(2)));
    bench.after(Event::Locked { ticket, answer });
    let notice = Notice::Fenced { generation: 1, fence: Fence::At(2) };
    let orders = bench.after(Event::Session(notice));
    let read = orders.iter().find_map(|order| match order {
        Order::Ask(SlotQuestion::Read { ticket, .. }) => Some(*ticket),
        _ => None,
    });
    let ticket = read.expect("a read decides");
    // The last caller that wants the key alone leaves before the answer is handled.
    bench.slot.callers.leave(last.call);
    let orders = bench.after(Event::Read { ticket, answer: found_ours(9) });
    assert!(!bench.slot.is_offered());
    let ticket = lock_ticket(&orders);
    let orders = bench.after(Event::Locked { ticket, answer: Locked::At(12) });
    let releases = |order: &Order| matches!(order, Order::Ask(SlotQuestion::Release { ask, .. }) if ask.index == 12);
    assert!(orders.iter().any(releases), "{orders:?}");
}

#[test]
fn a_late_answer_to_a_write_does_not_replace_the_value_of_a_later_ownership() {
    let (bench, first) = Bench::new(Retention::Keep);
    let ticket = lock_ticket(&bench.turn());
    bench.after(Event::Locked { ticket, answer: Locked::At(10) });
    let grant = first.answer.now_or_never().expect("granted").expect("open").expect("granted");
    let update = Content::Value(Arc::from(*b"late"));
    let _answer = bench.slot.callers.write(grant.state(), update, 1).expect("in line");
    let orders = bench.turn();
    let Some(Order::Ask(SlotQuestion::Write { ticket: write, .. })) = orders.last() else {
        panic!("{orders:?}")
    };
    let second = enter(&bench.slots, "second");
    drop(grant);
    // The write takes effect at 12, before the release, and its answer is late.
    let release = |orders: &[Order]| match orders.last() {
        Some(Order::Ask(SlotQuestion::Release { ticket, ask })) => (*ticket, ask.how.clone()),
        other => panic!("{other:?}"),
    };
    let (ticket, _) = release(&bench.turn());
    let orders = bench.after(Event::Released { ticket, answer: Released::FenceFailed });
    let Some(Order::Ask(SlotQuestion::Read { ticket, .. })) = orders.last() else {
        panic!("{orders:?}")
    };
    let (ticket, _) =
        release(&bench.after(Event::Read { ticket: *ticket, answer: found_ours(12) }));
    bench.after(Event::Released { ticket, answer: Released::Done });
    let orders = bench.turn_in(Duration::from_secs(1), Cause::Timer);
    let ticket = lock_ticket(&orders);
    bench.after(Event::Locked { ticket, answer: Locked::At(20) });
    let grant = second.answer.now_or_never().expect("granted").expect("open").expect("granted");
    bench.after(Event::Written { ticket: *write, answer: Written::Done { index: 12 } });
    drop(grant);
    let (_, how) = release(&bench.turn());
    let ReleaseHow::Keep { value, .. } = how else { panic!("{how:?}") };
    assert_eq!(value, b"second");
}
