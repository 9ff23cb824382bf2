//! The rules of waiting sets, one at a time.

use super::*;

fn at(millis: u64) -> Moment {
    Moment::default() + Duration::from_secs(1_000) + Duration::from_millis(millis)
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn offer(ticket: u64) -> Offer {
    Offer {
        ticket: Ticket(ticket),
        session: SessionId::from("ours"),
        fence: Fence::At(1),
        expect: Expect::Missing,
        at: at(0),
    }
}

/// Sets over these keys, which have waited since 0.
fn gather<const N: usize>(sets: [&[&str]; N]) -> (Gather, [SetId; N]) {
    let mut gather = Gather::default();
    let ids = sets.map(|keys| {
        gather.enter(at(0), keys.iter().map(|name| key(name)).collect(), Arc::from(*b"v"))
    });
    (gather, ids)
}

fn decide(gather: &mut Gather, millis: u64, name: &str, line: &[InLine]) -> Decision {
    gather.decide(at(millis), &key(name), line, false)
}

fn send(gather: &mut Gather, set: SetId, locks: &[(&str, u64)]) {
    let locks = locks.iter().map(|(name, ticket)| (key(name), Ticket(*ticket))).collect();
    gather.send(set, &Arc::from(*b"v"), locks);
}

const WAITS: Decision = Decision::Wait { until: None };

#[test]
fn a_set_is_locked_once_every_key_is_offered_and_not_before() {
    let (mut gather, [set]) = gather([&["a", "b", "c"]]);
    let line = [InLine::Set(set)];
    gather.offer(&key("a"), offer(1));
    assert_eq!(decide(&mut gather, 1, "a", &line), WAITS);
    gather.offer(&key("c"), offer(3));
    assert_eq!(decide(&mut gather, 2, "c", &line), WAITS);
    gather.offer(&key("b"), offer(2));
    let all = [("a", 1), ("b", 2), ("c", 3)].map(|(name, ticket)| (key(name), offer(ticket)));
    let sent = Decision::Set { id: set, value: Arc::from(*b"v"), offers: all.to_vec() };
    assert_eq!(decide(&mut gather, 3, "b", &line), sent);
    send(&mut gather, set, &[("a", 1), ("b", 2), ("c", 3)]);
    assert_eq!(decide(&mut gather, 4, "a", &line), WAITS, "an offer is taken once");
    assert_eq!(gather.sent(&key("a"), Ticket(1)).map(|sent| sent.set), Some(set));
    assert_eq!(gather.sent(&key("a"), Ticket(2)), None);
}

#[test]
fn a_caller_that_wants_one_key_passes_a_set_that_waits_for_another() {
    let (mut gather, [set]) = gather([&["a", "b"]]);
    gather.offer(&key("a"), offer(1));
    let line = [InLine::Set(set), InLine::Alone];
    assert_eq!(decide(&mut gather, 1, "a", &line), Decision::Alone(offer(1)));
    // In front of the set, the caller is served even if the set is complete.
    gather.offer(&key("a"), offer(2));
    gather.offer(&key("b"), offer(3));
    assert_eq!(decide(&mut gather, 1, "a", &[InLine::Alone]), Decision::Alone(offer(2)));
}

#[test]
fn a_complete_set_goes_before_those_that_asked_later() {
    let (mut gather, [set]) = gather([&["a", "b"]]);
    gather.offer(&key("a"), offer(1));
    gather.offer(&key("b"), offer(2));
    let decision = decide(&mut gather, 1, "a", &[InLine::Set(set), InLine::Alone]);
    assert!(matches!(decision, Decision::Set { .. }), "{decision:?}");
}

#[test]
fn in_the_last_second_of_every_four_nobody_passes_a_set() {
    let (mut gather, [older, later]) = gather([&["a", "b"], &["a", "c"]]);
    let line = [InLine::Set(older), InLine::Set(later), InLine::Alone];
    gather.offer(&key("a"), offer(1));
    gather.offer(&key("c"), offer(2));
    let until = Some(at(4_000));
    assert_eq!(decide(&mut gather, 3_000, "a", &line), Decision::Wait { until });
    // Nor does it at the other key of the later set.
    let later_line = [InLine::Set(later)];
    assert_eq!(decide(&mut gather, 3_500, "c", &later_line), Decision::Wait { until });
    assert_eq!(decide(&mut gather, 3_999, "a", &line), Decision::Wait { until });
    let passes = decide(&mut gather, 4_000, "a", &line);
    assert!(matches!(passes, Decision::Set { .. }), "{passes:?}");
    assert!(!holds_places(at(6_999), at(0)) && holds_places(at(7_000), at(0)));
}

#[test]
fn a_set_whose_caller_left_blocks_nobody() {
    let (mut gather, [gone, later]) = gather([&["a", "b"], &["a", "c"]]);
    gather.offer(&key("a"), offer(1));
    gather.offer(&key("c"), offer(2));
    gather.leave(gone);
    // Its places in the queues may not be left yet.
    let line = [InLine::Set(gone), InLine::Set(later)];
    let decision = decide(&mut gather, 3_500, "a", &line);
    assert!(matches!(decision, Decision::Set { .. }), "{decision:?}");
}

#[test]
fn offers_of_different_sessions_or_fences_are_not_sent_together() {
    let (mut gather, [set]) = gather([&["a", "b"]]);
    gather.offer(&key("a"), offer(1));
    gather.offer(&key("b"), Offer { fence: Fence::At(2), ..offer(2) });
    assert_eq!(decide(&mut gather, 1, "b", &[InLine::Set(set)]), WAITS);
    let other = Offer { session: SessionId::from("next"), ..offer(3) };
    gather.offer(&key("b"), other);
    assert_eq!(decide(&mut gather, 1, "b", &[InLine::Set(set)]), WAITS);
}

#[test]
fn an_offer_that_nobody_takes_is_withdrawn() {
    let (mut gather, [set]) = gather([&["a", "b"]]);
    gather.offer(&key("a"), offer(1));
    assert_eq!(decide(&mut gather, 1, "a", &[]), Decision::Withdraw(Ticket(1)));
    // A followed key is read again after a while.
    gather.offer(&key("a"), offer(2));
    let line = [InLine::Set(set)];
    let followed = |gather: &mut Gather, millis| gather.decide(at(millis), &key("a"), &line, true);
    assert_eq!(followed(&mut gather, 999), Decision::Wait { until: Some(at(1_000)) });
    assert_eq!(followed(&mut gather, 1_000), Decision::Withdraw(Ticket(2)));
}

#[test]
fn a_key_that_is_forgotten_names_the_sets_whose_answers_may_be_lost() {
    let (mut gather, [set]) = gather([&["a", "b"]]);
    for ticket in [1, 3] {
        gather.offer(&key("a"), offer(ticket));
        gather.offer(&key("b"), offer(ticket + 1));
        decide(&mut gather, 1, "a", &[InLine::Set(set)]);
        send(&mut gather, set, &[("a", ticket), ("b", ticket + 1)]);
    }
    gather.answered(&key("a"), Ticket(1));
    assert_eq!(gather.forget(&key("a")), BTreeSet::from([set]));
    assert_eq!(gather.forget(&key("a")), BTreeSet::new());
    assert!(gather.sent(&key("b"), Ticket(2)).is_some(), "the other key's answer still comes");
}

#[test]
fn a_caller_that_leaves_while_its_set_is_sent_leaves_no_offer_behind() {
    let (mut gather, [set]) = gather([&["a", "b"]]);
    gather.offer(&key("a"), offer(1));
    gather.offer(&key("b"), offer(2));
    let decision = decide(&mut gather, 1, "b", &[InLine::Set(set)]);
    assert!(matches!(decision, Decision::Set { .. }), "{decision:?}");
    // On another thread, between the decision and the sending.
    gather.leave(set);
    send(&mut gather, set, &[("a", 1), ("b", 2)]);
    assert!(!gather.is_offered(&key("a")) && !gather.is_offered(&key("b")));
    // The answers are still those of a set.
    assert_eq!(gather.sent(&key("a"), Ticket(1)).map(|sent| sent.set), Some(set));
}
