//! Consideration for others: resting among many, and fairness pauses.

use super::*;

/// Loses a race to a holder at `index`, 10 ms after the last race.
fn lose_a_race(bench: &mut Bench, watch: Ticket, index: u64) -> Vec<Effect> {
    bench.now = bench.now + Duration::from_millis(10);
    let answer = Seen::Missing { index: index - 1 };
    let ticket = lock_ticket(&bench.step(Event::Watched { ticket: watch, answer }));
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    bench.step(Event::Read { ticket, answer: found(Some("other"), index) })
}

/// One of many waiters, after all the races for which it watches.
fn resting() -> Bench {
    let (mut bench, ticket) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    let mut effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 40) });
    for race in 1..8 {
        effects = lose_a_race(&mut bench, watch_ticket(&effects), 40 + 2 * race);
    }
    let effects = lose_a_race(&mut bench, watch_ticket(&effects), 60);
    assert!(matches!(effects[..], [Effect::Obstructed(Obstacle::Held(_))]), "{effects:?}");
    bench
}

#[test]
fn one_of_many_waiters_rests_and_then_reads_before_it_watches_again() {
    let mut bench = resting();
    let ticket = read_ticket(&bench.wake());
    let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 70) });
    assert!(matches!(effects[..], [_, Effect::Watch { after: 70, .. }]), "{effects:?}");

    let mut bench = resting();
    let ticket = read_ticket(&bench.wake());
    let effects = bench.step(Event::Read { ticket, answer: found(None, 70) });
    assert!(matches!(effects[..], [Effect::Lock { expect: Expect::Index(70), .. }]));
}

#[test]
fn who_does_not_wait_is_told_what_is_so_although_others_rest() {
    let mut bench = resting();
    let both = Demand { impatient: true, ..waiting() };
    let ticket = read_ticket(&bench.step(Event::Demand(both)));
    let effects = bench.step(Event::Read { ticket, answer: found(None, 70) });
    assert!(matches!(effects[..], [Effect::Lock { expect: Expect::Index(70), .. }]));
}

#[test]
fn who_rests_for_nobody_any_more_is_quiet() {
    let mut bench = resting();
    assert_eq!(bench.step(Event::Demand(Demand::default())), []);
    assert!(bench.lock.is_quiet());
}

/// Releases the key while others here want it. Returns when the release was
/// concluded.
fn give_others_a_turn(bench: &mut Bench) -> Moment {
    let ticket = release_ticket(&bench.step(Event::Demand(waiting())));
    assert_eq!(bench.step(Event::Released { ticket, answer: Released::Done }), [Effect::Released]);
    bench.now
}

#[test]
fn a_key_given_back_for_others_is_left_alone_for_a_moment() {
    let mut bench = Bench::owning(9);
    let since = give_others_a_turn(&mut bench);
    assert!(matches!(bench.wake()[..], [Effect::Lock { .. }]));
    assert_eq!(bench.now.since(since), Duration::from_millis(25));
}

#[test]
fn a_key_given_back_among_others_is_left_until_one_of_them_has_it() {
    let among_others = || {
        let (mut bench, ticket) = Bench::contending();
        let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
        let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 40) });
        let answer = Seen::Missing { index: 41 };
        let effects = bench.step(Event::Watched { ticket: watch_ticket(&effects), answer });
        bench.step(Event::Locked { ticket: lock_ticket(&effects), answer: Locked::At(42) });
        let since = give_others_a_turn(&mut bench);
        (bench, since)
    };
    let (mut bench, _) = among_others();
    let ticket = read_ticket(&bench.wake());
    assert_eq!(bench.step(Event::Read { ticket, answer: Seen::Missing { index: 43 } }), []);
    let ticket = read_ticket(&bench.wake());
    let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 44) });
    assert!(matches!(effects[..], [_, Effect::Watch { after: 44, .. }]), "{effects:?}");

    // If nobody comes, the pause is short.
    let (mut bench, since) = among_others();
    let effects = loop {
        match bench.wake()[..] {
            [Effect::Read { ticket }] => {
                bench.step(Event::Read { ticket, answer: Seen::Missing { index: 43 } });
            }
            ref effects => break format!("{effects:?}"),
        }
    };
    assert!(effects.starts_with("[Lock"), "{effects}");
    assert_eq!(bench.now.since(since), Duration::from_millis(200));
}

/// The entry after somebody edited the key: flags of 0, and a text.
fn edited(session: Option<&str>, index: u64) -> Seen {
    let Seen::Found { mut entry, index } = found(session, index) else { unreachable!() };
    (entry.flags, entry.lock_index, entry.value) = (0, 0, b"edited by hand".to_vec());
    Seen::Found { entry, index }
}

#[test]
fn a_lock_that_was_edited_while_it_was_held_is_taken_over_and_the_text_is_reported() {
    let (mut bench, ticket) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    let ticket =
        watch_ticket(&bench.step(Event::Read { ticket, answer: found(Some("other"), 40) }));
    let ticket =
        watch_ticket(&bench.step(Event::Watched { ticket, answer: edited(Some("other"), 41) }));
    let effects = bench.step(Event::Watched { ticket, answer: edited(None, 42) });
    let [Effect::Lock { ticket, expect: Expect::Index(42), .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    let effects = bench.step(Event::Locked { ticket, answer: Locked::At(43) });
    let [Effect::Overwrote(text), Effect::Own { .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(text, b"edited by hand");
}

#[test]
fn a_lock_that_was_edited_while_this_process_had_it_is_taken_over() {
    let mut bench = Bench::owning(9);
    bench.step(Event::Session(Notice::Closed { generation: 1, reason: LossReason::SessionGone }));
    bench.step(Event::Demand(waiting()));
    let ticket = read_ticket(&bench.step(Event::Session(Notice::Opened(view(2)))));
    let effects = bench.step(Event::Read { ticket, answer: edited(None, 42) });
    assert!(matches!(effects[..], [Effect::Lock { expect: Expect::Index(42), .. }]));
}

#[test]
fn an_entry_that_was_never_seen_to_be_a_lock_is_not_overwritten() {
    for answer in [edited(None, 42), Seen::Missing { index: 41 }] {
        let (mut bench, ticket) = Bench::contending();
        let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
        let is_missing = matches!(answer, Seen::Missing { .. });
        let effects = bench.step(Event::Read { ticket, answer });
        if is_missing {
            // Somebody writes the key before the lock arrives.
            let ticket = lock_ticket(&effects);
            let ticket =
                read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
            let effects = bench.step(Event::Read { ticket, answer: edited(None, 42) });
            assert_eq!(effects, [Effect::Failed(Obstacle::Foreign { flags: 0 })]);
        } else {
            assert_eq!(effects, [Effect::Failed(Obstacle::Foreign { flags: 0 })]);
        }
    }
}
