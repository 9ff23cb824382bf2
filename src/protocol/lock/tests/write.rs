//! Writes by the owner.

use super::*;
use crate::consul::fact::Written;

fn writing() -> Demand {
    Demand { write: true, ..keeping() }
}

/// The ticket and the guard of the write.
fn sent(effects: &[Effect]) -> (Ticket, u64) {
    match effects {
        [.., Effect::Write { ticket, index, .. }] => (*ticket, *index),
        other => panic!("nothing is written: {other:?}"),
    }
}

impl Bench {
    fn answer(&mut self, ticket: Ticket, answer: Written) -> Vec<Effect> {
        self.step(Event::Written { ticket, answer })
    }
}

fn dropped() -> Written {
    Written::Unknown(unknown())
}

#[test]
fn one_write_at_a_time_is_sent_at_the_index_of_the_ownership() {
    let mut bench = Bench::owning(8);
    let (ticket, index) = sent(&bench.step(Event::Demand(writing())));
    assert_eq!(index, 8);
    assert_eq!(bench.step(Event::Demand(writing())), [], "the first is not answered");
    let effects = bench.answer(ticket, Written::Done { index: 8 });
    let Effect::Wrote(Written::Done { index: 8 }) = effects[0] else { panic!("{effects:?}") };
    assert_eq!(sent(&effects).1, 8);
}

#[test]
fn an_updated_value_moves_the_guard_of_later_writes_and_of_the_release() {
    let mut bench = Bench::owning(8);
    let (ticket, _) = sent(&bench.step(Event::Demand(writing())));
    assert_eq!(bench.answer(ticket, Written::Done { index: 12 }).len(), 1);
    let (ticket, index) = sent(&bench.step(Event::Demand(writing())));
    assert_eq!(index, 12);
    bench.answer(ticket, Written::Done { index: 12 });
    let effects = bench.step(Event::Demand(Demand::default()));
    assert!(matches!(effects[..], [Effect::Release { index: 12, found: None, .. }]), "{effects:?}");
}

#[test]
fn a_write_whose_index_was_moved_by_somebody_else_is_repeated_at_the_new_one() {
    let mut bench = Bench::owning(8);
    let (ticket, _) = sent(&bench.step(Event::Demand(writing())));
    let (ticket, index) = sent(&bench.answer(ticket, Written::Moved(20)));
    assert_eq!(index, 20);
    assert_eq!(
        bench.answer(ticket, Written::Done { index: 20 }),
        [Effect::Wrote(Written::Done { index: 20 })]
    );
    // The value of the stranger is still to be read before it is kept.
    let effects = bench.step(Event::Demand(Demand::default()));
    assert!(matches!(effects[..], [Effect::Release { index: 8, .. }]), "{effects:?}");
}

#[test]
fn a_write_against_an_index_that_never_rests_fails() {
    let mut bench = Bench::owning(8);
    let (mut ticket, _) = sent(&bench.step(Event::Demand(writing())));
    for moved in 20..100 {
        let effects = bench.answer(ticket, Written::Moved(moved));
        if let [Effect::Wrote(outcome)] = &effects[..] {
            assert!(matches!(outcome, Written::Failed(_)), "{outcome:?}");
            return;
        }
        let effects = if effects.is_empty() { bench.wake() } else { effects };
        ticket = sent(&effects).0;
    }
    panic!("it is repeated for ever");
}

#[test]
fn a_write_of_an_ended_ownership_that_finds_a_later_one_is_refused() {
    let mut bench = Bench::owning(8);
    let (write, _) = sent(&bench.step(Event::Demand(writing())));
    let ticket = bench.release_ticket();
    bench.step(Event::Released { ticket, answer: Released::Done });
    let effects = bench.step(Event::Demand(waiting()));
    let effects = if effects.is_empty() { bench.wake() } else { effects };
    let ticket = lock_ticket(&effects);
    bench.step(Event::Locked { ticket, answer: Locked::At(30) });
    bench.step(Event::Demand(writing()));
    let effects = bench.answer(write, Written::Moved(30));
    assert_eq!(effects[0], Effect::Wrote(Written::NotHeld));
    assert_eq!(sent(&effects).1, 30, "the new owner's write");
}

#[test]
fn a_refused_write_shows_that_the_key_is_not_ours_any_more() {
    let mut bench = Bench::owning(8);
    let (ticket, _) = sent(&bench.step(Event::Demand(writing())));
    let effects = bench.answer(ticket, Written::NotHeld);
    assert!(
        matches!(
            effects[..],
            [Effect::Revoke, Effect::AskSession { .. }, Effect::Wrote(Written::NotHeld)]
        ),
        "{effects:?}"
    );
    let effects = bench.wake();
    assert_eq!(effects, [Effect::Lost { reason: LossReason::ForceReleased }]);
}

#[test]
fn after_an_unknown_outcome_or_a_denial_the_next_write_waits_a_moment() {
    for answer in [dropped(), Written::Denied("key:write".into())] {
        let mut bench = Bench::owning(8);
        let (ticket, _) = sent(&bench.step(Event::Demand(writing())));
        bench.step(Event::Demand(writing()));
        assert_eq!(bench.answer(ticket, answer.clone()), [Effect::Wrote(answer)]);
        let asked = bench.now;
        assert_eq!(sent(&bench.wake()).1, 8);
        assert!(bench.now > asked);
    }
}

/// The leader's read of a key held at 20, asked after an older answer to the watch.
fn doubting() -> (Bench, Ticket) {
    let mut bench = Bench::owning(9);
    let watch = watch_ticket(&bench.wake());
    let (ticket, _) = sent(&bench.step(Event::Demand(writing())));
    bench.answer(ticket, Written::Done { index: 20 });
    let effects = bench.step(Event::Watched { ticket: watch, answer: found(Some("ours-1"), 12) });
    (bench, read_ticket(&effects))
}

#[test]
fn a_read_that_was_served_before_a_write_but_answered_after_it_is_no_loss() {
    for seen in [found(Some("ours-1"), 20), found(None, 20), Seen::Missing { index: 21 }] {
        let (mut bench, read) = doubting();
        let (ticket, _) = sent(&bench.step(Event::Demand(writing())));
        bench.answer(ticket, Written::Done { index: 30 });
        assert_eq!(bench.step(Event::Read { ticket: read, answer: seen }), []);
        let effects = bench.wake();
        assert!(matches!(effects[..], [Effect::Watch { after: 30, .. }]), "{effects:?}");
    }
}

#[test]
fn a_read_below_the_index_at_which_it_was_asked_shows_another_store_whatever_was_written_since() {
    for seen in [found(Some("ours-1"), 19), found(None, 19), Seen::Missing { index: 19 }] {
        let (mut bench, read) = doubting();
        let (ticket, _) = sent(&bench.step(Event::Demand(writing())));
        bench.answer(ticket, Written::Done { index: 30 });
        let effects = bench.step(Event::Read { ticket: read, answer: seen });
        assert_eq!(effects[0], Effect::Lost { reason: LossReason::StoreReplaced });
    }
}

#[test]
fn a_write_in_flight_keeps_the_machine_busy_and_ends_with_its_actor() {
    let mut bench = Bench::owning(8);
    let (write, _) = sent(&bench.step(Event::Demand(writing())));
    let ticket = bench.release_ticket();
    bench.step(Event::Released { ticket, answer: Released::Done });
    assert!(!bench.lock.is_quiet());
    assert_eq!(bench.answer(write, dropped()), [Effect::Wrote(dropped())]);
    assert!(bench.lock.is_quiet());

    let mut bench = Bench::owning(8);
    let (write, _) = sent(&bench.step(Event::Demand(writing())));
    let mut effects = Vec::new();
    bench.lock.recover(bench.now, 8, &mut effects);
    let late = bench.answer(write, Written::Done { index: 8 });
    assert_eq!(late, [], "whoever repairs the slot has answered it");
}

#[test]
fn a_write_in_flight_when_the_actor_died_cannot_take_effect_under_a_later_ownership() {
    for releases in [false, true] {
        let mut bench = Bench::owning(8);
        let (ticket, _) = sent(&bench.step(Event::Demand(writing())));
        // Somebody else moved the index, so the write is repeated at the new one.
        let effects = bench.answer(ticket, Written::Moved(20));
        let effects = if effects.is_empty() { bench.wake() } else { effects };
        assert_eq!(sent(&effects).1, 20);
        if releases {
            bench.release_ticket();
        }
        bench.lock.recover(bench.now, 8, &mut Vec::new());
        let fenced = Notice::Fenced { generation: 1, fence: Fence::At(60) };
        let ticket = read_ticket(&bench.step(Event::Session(fenced)));
        bench.step(Event::Demand(waiting()));
        let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 20) });
        let ticket = lock_ticket(&effects);
        let effects = bench.step(Event::Locked { ticket, answer: Locked::At(20) });
        assert!(matches!(effects[..], [Effect::Release { index: 20, .. }]), "{effects:?}");
    }
}

#[test]
fn a_write_that_is_answered_late_does_not_hide_what_somebody_else_wrote_after_it() {
    let mut bench = Bench::owning(8);
    let watch = watch_ticket(&bench.wake());
    let (ticket, _) = sent(&bench.step(Event::Demand(writing())));
    let Seen::Found { mut entry, index } = found(Some("ours-1"), 30) else { unreachable!() };
    entry.value = b"theirs".to_vec();
    let answer = Seen::Found { entry, index };
    let effects = bench.step(Event::Watched { ticket: watch, answer });
    assert_eq!(effects[0], Effect::ValueSeen(b"theirs".to_vec()));
    let effects = bench.answer(ticket, Written::Done { index: 20 });
    let wrote = Effect::Wrote(Written::Done { index: 20 });
    assert_eq!(effects, [wrote, Effect::ValueSeen(b"theirs".to_vec())]);
}
