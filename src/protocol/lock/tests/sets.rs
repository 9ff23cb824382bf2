//! A lock that callers want together with other keys.

use super::*;

fn for_a_set() -> Demand {
    Demand { sets_only: true, ..waiting() }
}

fn ready() -> Bench {
    let mut bench = Bench::new();
    bench.step(Event::Session(Notice::Opened(view(1))));
    bench
}

#[test]
fn a_lock_that_failed_because_of_another_key_is_read_before_it_is_tried_again() {
    let mut bench = ready();
    let ticket = lock_ticket(&bench.step(Event::Demand(for_a_set())));
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Aside }));
    let effects = bench.step(Event::Read { ticket, answer: Seen::Missing { index: 50 } });
    assert!(matches!(effects.as_slice(), [Effect::Lock { expect: Expect::Missing, .. }]));
}

#[test]
fn a_lock_that_was_withdrawn_is_tried_again_as_it_was() {
    let mut bench = ready();
    let ticket = lock_ticket(&bench.step(Event::Demand(for_a_set())));
    let again = bench.step(Event::Locked { ticket, answer: Locked::Withdrawn });
    let ticket = lock_ticket(&again);
    bench.step(Event::Demand(Demand::default()));
    assert_eq!(bench.step(Event::Locked { ticket, answer: Locked::Withdrawn }), []);
    assert!(bench.lock.is_quiet());
}

#[test]
fn a_followed_key_whose_lock_was_withdrawn_is_read() {
    let mut bench = ready();
    let ticket = lock_ticket(&bench.step(Event::Demand(for_a_set())));
    bench.step(Event::Demand(Demand { follow: true, ..for_a_set() }));
    read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Withdrawn }));
}

/// A set would keep the key locked while it waits for its other keys.
#[test]
fn a_leftover_lock_is_released_if_only_sets_want_the_key() {
    for demand in [for_a_set(), waiting()] {
        let mut bench = ready();
        let ticket = lock_ticket(&bench.step(Event::Demand(demand)));
        let answer = Locked::Unknown(unknown());
        bench.step(Event::Locked { ticket, answer });
        let fenced = Notice::Fenced { generation: 1, fence: Fence::At(60) };
        let ticket = read_ticket(&bench.step(Event::Session(fenced)));
        let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 41) });
        match effects.as_slice() {
            [Effect::Release { index: 41, .. }] => assert!(demand.sets_only),
            [Effect::Lock { expect: Expect::Index(41), .. }] => assert!(!demand.sets_only),
            other => panic!("{other:?}"),
        }
    }
}

/// Likewise, while nobody knows whether there is one.
#[test]
fn what_a_copy_of_a_refused_request_locked_is_looked_for_while_only_sets_want_the_key() {
    for answer in [Locked::Denied("key:write".into()), Locked::Delayed] {
        let mut bench = ready();
        let ticket = lock_ticket(&bench.step(Event::Demand(for_a_set())));
        let is_delayed = answer == Locked::Delayed;
        let mut effects = bench.step(Event::Locked { ticket, answer });
        if is_delayed {
            effects = bench.wake();
        }
        let ticket = read_ticket(&effects);
        bench.step(Event::Demand(for_a_set()));
        bench.step(Event::Read { ticket, answer: Seen::Unknown(unknown()) });
        let ticket = read_ticket(&bench.wake());
        let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 41) });
        assert!(matches!(effects[..], [Effect::Release { index: 41, .. }]), "{effects:?}");
    }
}
