//! A followed key, with and without contenders.

use super::*;

fn following() -> Demand {
    Demand { follow: true, ..Demand::default() }
}

/// A machine with a session and a followed key, and its first read.
fn followed() -> (Bench, Ticket) {
    let mut bench = Bench::new();
    bench.step(Event::Session(Notice::Opened(view(1))));
    let effects = bench.step(Event::Demand(following()));
    assert!(matches!(effects[..], [Effect::Read { .. }]), "{effects:?}");
    (bench, read_ticket(&effects))
}

/// A machine whose followed key is free.
fn free() -> Bench {
    let (mut bench, ticket) = followed();
    let effects = bench.step(Event::Read { ticket, answer: Seen::Missing { index: 5 } });
    assert_eq!(effects, [Effect::Free]);
    bench
}

/// A machine whose followed key is held by "other", and its watch.
fn held() -> (Bench, Ticket) {
    let (mut bench, ticket) = followed();
    let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 5) });
    assert!(
        matches!(
            effects[..],
            [
                Effect::Obstructed(Obstacle::Held(_)),
                Effect::AskSession { .. },
                Effect::Watch { after: 5, .. }
            ]
        ),
        "{effects:?}"
    );
    (bench, watch_ticket(&effects))
}

#[test]
fn a_key_that_nobody_holds_is_read_again_within_a_second_and_never_locked() {
    let mut bench = free();
    for _ in 0..100 {
        let before = bench.now;
        let effects = bench.wake();
        let pause = bench.now.since(before);
        assert!(pause <= Duration::from_secs(1) && pause >= Duration::from_millis(500));
        let [Effect::Read { ticket }] = effects[..] else { panic!("{effects:?}") };
        // The entry exists and is free.
        let effects = bench.step(Event::Read { ticket, answer: found(None, 7) });
        assert_eq!(effects, [Effect::Free]);
    }
    assert_eq!(bench.step(Event::Demand(Demand::default())), []);
    assert!(bench.lock.is_quiet());
}

#[test]
fn a_key_that_is_held_is_watched_and_its_next_holder_is_told() {
    let (mut bench, ticket) = held();
    let effects = bench.step(Event::Watched { ticket, answer: found(Some("next"), 9) });
    assert!(
        matches!(&effects[0], Effect::Obstructed(Obstacle::Held(holder)) if holder.session == "next")
    );
    let ticket = watch_ticket(&effects);
    let effects = bench.step(Event::Watched { ticket, answer: Seen::Missing { index: 10 } });
    assert_eq!(effects, [Effect::Free]);
    assert!(!bench.lock.is_quiet());
}

#[test]
fn a_leader_that_changes_its_value_is_told_of_and_a_wait_that_ran_out_is_not() {
    let (mut bench, ticket) = held();
    let effects = bench.step(Event::Watched { ticket, answer: found(Some("other"), 5) });
    assert!(matches!(effects[..], [Effect::Watch { .. }]), "{effects:?}");
    let ticket = watch_ticket(&effects);
    let Seen::Found { mut entry, .. } = found(Some("other"), 6) else { unreachable!() };
    entry.value = b"moved".to_vec();
    let effects = bench.step(Event::Watched { ticket, answer: Seen::Found { entry, index: 6 } });
    let [Effect::Obstructed(Obstacle::Held(holder)), Effect::Watch { after: 6, .. }] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((&*holder.value, holder.index), (&b"moved"[..], 6));
}

#[test]
fn who_contends_for_a_key_that_nobody_holds_does_not_wait_for_the_next_look() {
    let mut bench = free();
    let ticket = lock_ticket(&bench.step(Event::Demand(Demand { follow: true, ..waiting() })));
    let effects = bench.step(Event::Locked { ticket, answer: Locked::At(8) });
    assert!(matches!(effects[..], [Effect::Own { index: 8, .. }]), "{effects:?}");
}

#[test]
fn when_the_last_contender_has_gone_the_key_is_still_watched() {
    let (mut bench, ticket) = held();
    assert_eq!(bench.step(Event::Demand(Demand { follow: true, ..waiting() })), []);
    assert_eq!(bench.step(Event::Demand(following())), []);
    let effects = bench.step(Event::Watched { ticket, answer: found(None, 9) });
    assert_eq!(effects, [Effect::Free], "and nothing is locked");
}

#[test]
fn who_begins_to_follow_during_a_wait_is_told_the_holder() {
    let (mut bench, ticket) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Held }));
    bench.step(Event::Read { ticket, answer: found(Some("other"), 5) });
    let effects = bench.step(Event::Demand(Demand { follow: true, ..waiting() }));
    assert!(
        matches!(&effects[..], [Effect::Obstructed(Obstacle::Held(holder))] if holder.session == "other")
    );
    assert_eq!(bench.step(Event::Demand(Demand { follow: true, ..waiting() })), []);
    // Between two demands, one follower left and another came.
    let anew = Demand { follow: true, followings: 1, ..waiting() };
    let effects = bench.step(Event::Demand(anew));
    assert!(matches!(&effects[..], [Effect::Obstructed(Obstacle::Held(_))]), "{effects:?}");
    assert_eq!(bench.step(Event::Demand(anew)), []);
}

#[test]
fn without_a_session_the_key_is_looked_at_and_contended_for_when_there_is_one() {
    let mut bench = Bench::new();
    let wanted = Demand { follow: true, ..waiting() };
    let ticket = read_ticket(&bench.step(Event::Demand(wanted)));
    let effects = bench.step(Event::Read { ticket, answer: Seen::Missing { index: 5 } });
    assert_eq!(effects, [Effect::Free]);
    let ticket = read_ticket(&bench.wake());
    let effects = bench.step(Event::Read { ticket, answer: found(None, 5) });
    assert_eq!(effects, [Effect::Free]);
    lock_ticket(&bench.step(Event::Session(Notice::Opened(view(1)))));
}

#[test]
fn what_may_not_be_read_is_asked_for_again_from_time_to_time() {
    let (mut bench, mut ticket) = followed();
    for _ in 0..3 {
        let answer = Seen::Denied("key:read".into());
        let effects = bench.step(Event::Read { ticket, answer });
        assert!(
            matches!(effects[..], [Effect::Failed(Obstacle::Trouble(Error::Denied { .. }))]),
            "{effects:?}"
        );
        let before = bench.now;
        ticket = read_ticket(&bench.wake());
        assert_eq!(bench.now.since(before), Duration::from_secs(10));
    }
}

#[test]
fn a_broken_watch_is_begun_anew_after_a_pause() {
    let (mut bench, ticket) = held();
    let effects = bench.step(Event::Watched { ticket, answer: Seen::Unknown(unknown()) });
    assert!(matches!(effects[..], [Effect::Obstructed(Obstacle::Trouble(_))]), "{effects:?}");
    let before = bench.now;
    let ticket = read_ticket(&bench.wake());
    assert!(bench.now > before);
    let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 5) });
    watch_ticket(&effects);
}

#[test]
fn a_key_that_was_given_back_is_followed_at_once() {
    let mut bench = Bench::owning(7);
    let ticket = release_ticket(&bench.step(Event::Demand(following())));
    let effects = bench.step(Event::Released { ticket, answer: Released::Done });
    assert!(matches!(effects[..], [Effect::Released, Effect::Read { .. }]), "{effects:?}");
}

#[test]
fn what_a_late_attempt_took_is_given_back_though_the_key_is_followed() {
    let mut bench = free();
    let ticket = read_ticket(&bench.wake());
    release_ticket(&bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 9) }));
}

#[test]
fn a_wait_reads_the_key_again_under_a_new_session_since_the_store_may_be_another() {
    let (mut bench, watch) = held();
    let reason = LossReason::DeadlinePassed;
    bench.step(Event::Session(Notice::Closed { generation: 1, reason }));
    let effects = bench.step(Event::Session(Notice::Opened(view(2))));
    let ticket = read_ticket(&effects);
    // The watch of the old store is of no interest any more.
    assert_eq!(bench.step(Event::Watched { ticket: watch, answer: found(None, 9) }), []);
    let effects = bench.step(Event::Read { ticket, answer: found(Some("another"), 3) });
    assert!(matches!(effects[..], [.., Effect::Watch { after: 3, .. }]), "{effects:?}");
}

#[test]
fn who_follows_a_key_with_foreign_flags_learns_its_holder_although_contending_fails() {
    let (mut bench, ticket) = followed();
    let contending = Demand { patient: true, ..following() };
    bench.step(Event::Demand(contending));
    let Seen::Found { mut entry, index } = found(Some("other"), 5) else { unreachable!() };
    entry.flags = 99;
    let effects = bench.step(Event::Read { ticket, answer: Seen::Found { entry, index } });
    assert!(
        matches!(
            effects[..],
            [
                Effect::Failed(Obstacle::Foreign { flags: 99 }),
                Effect::Obstructed(Obstacle::Held(_)),
                Effect::AskSession { .. },
                Effect::Watch { after: 5, .. }
            ]
        ),
        "{effects:?}"
    );
}

#[test]
fn who_contends_later_for_a_followed_key_with_foreign_flags_is_refused_as_well() {
    let (mut bench, ticket) = followed();
    let Seen::Found { mut entry, index } = found(Some("other"), 5) else { unreachable!() };
    entry.flags = 99;
    bench.step(Event::Read { ticket, answer: Seen::Found { entry, index } });
    for demand in [waiting(), trying()] {
        let effects = bench.step(Event::Demand(Demand { follow: true, ..demand }));
        assert_eq!(effects, [Effect::Failed(Obstacle::Foreign { flags: 99 })]);
        assert_eq!(bench.step(Event::Demand(following())), [], "and the key is still watched");
    }
}
