//! The queue machine's rules, one at a time.

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::protocol::gather::{Gather, InLine};

fn at(millis: u64) -> Moment {
    Moment::default() + Duration::from_secs(1_000) + Duration::from_millis(millis)
}

fn cell() -> Arc<DeadlineCell> {
    Arc::new(DeadlineCell::new(at(60_000)))
}

fn holder() -> Box<Holder> {
    Box::new(Holder {
        session: "ours".into(),
        session_name: None,
        node: None,
        value: [].into(),
        index: 9,
    })
}

fn token(index: u64, sequence: u16) -> FencingToken {
    FencingToken::new(index, sequence).unwrap()
}

/// A queue in which `callers` wait, and their calls.
fn queue(callers: &[Patience]) -> (Queue, Vec<CallId>) {
    let mut queue = Queue::default();
    let mut effects = Vec::new();
    let calls = callers.iter().map(|patience| queue.enter(*patience, &mut effects)).collect();
    (queue, calls)
}

/// The effects of one step.
fn step<T>(work: impl FnOnce(&mut Vec<Effect>) -> T) -> Vec<Effect> {
    let mut effects = Vec::new();
    work(&mut effects);
    effects
}

const WAITS: Patience = Patience::Unlimited;
const TRIES: Patience = Patience::None;

#[test]
fn callers_get_the_key_in_the_order_in_which_they_asked() {
    let (mut queue, calls) = queue(&[WAITS, WAITS, WAITS]);
    let effects = step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    assert_eq!(effects, [Effect::Grant { call: calls[0], token: token(9, 0) }]);
    for (place, call) in calls.windows(2).enumerate() {
        let effects = step(|out| queue.end(at(1), call[0], false, out));
        let sequence = u16::try_from(place).unwrap() + 1;
        assert_eq!(
            effects,
            [
                Effect::Ended { call: call[0] },
                Effect::Grant { call: call[1], token: token(9, sequence) },
            ],
            "the former lease is over before the next is granted"
        );
    }
}

#[test]
fn after_a_bounded_time_or_number_of_hand_overs_others_get_their_turn() {
    let (mut queue, calls) = queue(&[WAITS, WAITS]);
    step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    let effects = step(|out| queue.end(at(50), calls[0], true, out));
    assert_eq!(effects, [Effect::Ended { call: calls[0] }, Effect::Poke]);
    assert!(!queue.demand().keep && queue.demand().wants());

    let mut queue =
        Queue { hand_over: HandOver { most: 3, ..HandOver::default() }, ..Queue::default() };
    let mut calls: Vec<_> = (0..5).map(|_| queue.enter(WAITS, &mut Vec::new())).collect();
    step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    let granted = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Grant { .. }));
    let passed = calls
        .drain(..4)
        .map(|call| granted(&step(|out| queue.end(at(1), call, false, out))))
        .collect::<Vec<_>>();
    assert_eq!(passed, [true, true, true, false]);
}

#[test]
fn nothing_is_passed_on_under_a_passed_deadline() {
    let (mut queue, calls) = queue(&[WAITS, WAITS]);
    let short = Arc::new(DeadlineCell::new(at(10)));
    step(|out| queue.owned(at(0), 9, short, holder(), None, out));
    let effects = step(|out| queue.end(at(11), calls[0], true, out));
    let released = Released::AlreadyLost(LossReason::DeadlinePassed);
    assert_eq!(
        effects,
        [
            Effect::Ended { call: calls[0] },
            Effect::Confirm { call: calls[0], released },
            Effect::Poke,
        ]
    );
    // Its owner knows: nobody else is told of a loss.
    let end = queue.lost(LossReason::DeadlinePassed, &mut Vec::new());
    assert_eq!(end, Some(End::Released(token(9, 0))));
}

#[test]
fn a_release_is_confirmed_when_consul_has_the_key_back() {
    let (mut queue, calls) = queue(&[WAITS]);
    step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    step(|out| queue.end(at(1), calls[0], true, out));
    assert!(!queue.is_vacant());
    let mut effects = Vec::new();
    let end = queue.released(&mut effects);
    assert_eq!(end, Some(End::Released(token(9, 0))));
    assert_eq!(effects, [Effect::Confirm { call: calls[0], released: Released::Confirmed }]);
    assert!(queue.is_vacant());
}

#[test]
fn a_lost_lease_is_told_once() {
    let (mut queue, calls) = queue(&[WAITS]);
    step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    let reason = LossReason::KeyDeleted;
    let mut effects = Vec::new();
    assert_eq!(queue.lost(reason, &mut effects), Some(End::Lost(token(9, 0))));
    assert_eq!(effects, [Effect::Lost { call: calls[0], reason }]);
    assert_eq!(queue.lost(reason, &mut Vec::new()), None);
    assert!(step(|out| queue.end(at(1), calls[0], true, out)).is_empty());
}

#[test]
fn a_lease_dropped_after_it_was_over_is_still_told_as_lost() {
    // The deadline wakes owner and runtime at one moment, and the owner may be the first.
    let (mut by_deadline, calls) = queue(&[WAITS, WAITS]);
    step(|out| by_deadline.owned(at(0), 9, cell(), holder(), None, out));
    assert_eq!(step(|out| by_deadline.end(at(60_001), calls[0], false, out)), []);
    let lost = by_deadline.lost(LossReason::DeadlinePassed, &mut Vec::new());
    assert_eq!(lost, Some(End::Lost(token(9, 0))));

    let (mut revoked, calls) = queue(&[WAITS]);
    step(|out| revoked.owned(at(0), 9, cell(), holder(), None, out));
    step(|out| revoked.revoke(out));
    assert_eq!(step(|out| revoked.end(at(1), calls[0], false, out)), []);
    let lost = revoked.lost(LossReason::SessionGone, &mut Vec::new());
    assert_eq!(lost, Some(End::Lost(token(9, 0))));

    // Who asks how its release went is told by the reply.
    let (mut asked, calls) = queue(&[WAITS]);
    step(|out| asked.owned(at(0), 9, cell(), holder(), None, out));
    let told = Released::AlreadyLost(LossReason::DeadlinePassed);
    let effects = step(|out| asked.end(at(60_001), calls[0], true, out));
    assert!(effects.contains(&Effect::Confirm { call: calls[0], released: told }), "{effects:?}");
    let lost = asked.lost(LossReason::DeadlinePassed, &mut Vec::new());
    assert_eq!(lost, Some(End::Released(token(9, 0))));
}

#[test]
fn a_release_after_the_end_says_why_it_ended() {
    for reason in [LossReason::SessionGone, LossReason::StoreReplaced, LossReason::Shutdown] {
        let (mut queue, calls) = queue(&[WAITS]);
        let cell = cell();
        step(|out| queue.owned(at(0), 9, cell.clone(), holder(), None, out));
        cell.latch(reason);
        let effects = step(|out| queue.end(at(1), calls[0], true, out));
        let released = Released::AlreadyLost(reason);
        assert!(effects.contains(&Effect::Confirm { call: calls[0], released }), "{effects:?}");

        let (mut queue, calls) = self::queue(&[WAITS]);
        let cell = self::cell();
        step(|out| queue.owned(at(0), 9, cell.clone(), holder(), None, out));
        cell.latch(reason);
        let mut effects = Vec::new();
        queue.released(&mut effects);
        assert_eq!(effects, [Effect::Lost { call: calls[0], reason }]);
    }
}

#[test]
fn a_lease_that_nobody_gave_back_is_lost_if_consul_has_the_key_back() {
    let (mut queue, calls) = queue(&[WAITS]);
    step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    let mut effects = Vec::new();
    assert_eq!(queue.released(&mut effects), Some(End::Lost(token(9, 0))));
    let reason = LossReason::DeadlinePassed;
    assert_eq!(effects, [Effect::Lost { call: calls[0], reason }]);
}

#[test]
fn a_caller_that_went_away_is_passed_over() {
    let (mut queue, calls) = queue(&[WAITS, WAITS]);
    assert_eq!(step(|out| queue.leave(calls[0], out)), [Effect::Poke]);
    let effects = step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    assert_eq!(effects, [Effect::Grant { call: calls[1], token: token(9, 0) }]);
}

#[test]
fn an_ownership_that_nobody_wants_is_given_back() {
    let (mut queue, calls) = queue(&[WAITS]);
    step(|out| queue.leave(calls[0], out));
    let effects = step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    assert_eq!(effects, [Effect::Poke]);
    assert!(!queue.demand().keep);
}

#[test]
fn who_does_not_wait_is_refused_behind_a_lease_of_this_process() {
    let held = Effect::Refuse { call: CallId(2), obstacle: Obstacle::Held(holder()) };
    // It had asked before the key was won.
    let (mut queue, _) = queue(&[WAITS, TRIES]);
    let effects = step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    assert!(effects.contains(&held), "{effects:?}");
    // It asks afterwards.
    let effects = step(|out| queue.enter(TRIES, out));
    assert!(matches!(effects[0], Effect::Refuse { obstacle: Obstacle::Held(_), .. }));
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn an_obstacle_refuses_only_those_who_do_not_wait() {
    let (mut queue, calls) = queue(&[WAITS, TRIES]);
    let obstacle = Obstacle::Held(holder());
    let effects = step(|out| queue.obstructed(obstacle.clone(), out));
    assert_eq!(queue.obstacle(), Some(&obstacle));
    assert_eq!(effects, [Effect::Refuse { call: calls[1], obstacle }, Effect::Poke]);
    assert_eq!(queue.waiting(), 1);
}

#[test]
fn a_stop_ends_the_lease_and_tells_it_once() {
    let (mut queue, calls) = queue(&[WAITS]);
    step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    let mut effects = Vec::new();
    assert_eq!(queue.surrender(&mut effects), Some((calls[0], token(9, 0))));
    assert_eq!(effects, [Effect::Poke]);
    assert_eq!(queue.surrender(&mut Vec::new()), None, "once");
    assert!(!queue.demand().keep);
    assert_eq!(queue.released(&mut Vec::new()), None, "its end was told");
}

#[test]
fn a_lease_that_ended_otherwise_than_by_its_owner_is_overdue() {
    let (mut queue, calls) = queue(&[WAITS]);
    assert_eq!(queue.overdue(at(0)), None);
    step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    assert_eq!(queue.overdue(at(1)), None);
    step(|out| queue.revoke(out));
    assert_eq!(queue.overdue(at(1)), Some(LossReason::ForceReleased), "nobody knows better yet");
    assert_eq!(queue.overdue(at(60_000)), Some(LossReason::DeadlinePassed));
    step(|out| queue.end(at(60_001), calls[0], true, out));
    assert_eq!(queue.overdue(at(60_001)), None, "nobody has it");
}

#[test]
fn who_queues_behind_a_lease_of_this_process_wakes_nobody() {
    let (mut queue, calls) = queue(&[WAITS]);
    step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    assert_eq!(step(|out| queue.enter(WAITS, out)), []);
    let second = CallId(2);
    let effects = step(|out| queue.end(at(1), calls[0], false, out));
    let token = token(9, 1);
    assert_eq!(effects, [Effect::Ended { call: calls[0] }, Effect::Grant { call: second, token }]);
    // What ends it makes known who is there.
    step(|out| queue.enter(WAITS, out));
    let effects = step(|out| queue.end(at(50), second, false, out));
    assert_eq!(effects, [Effect::Ended { call: second }, Effect::Poke]);
    assert!(queue.demand().wants());
    assert_eq!(step(|out| queue.enter(WAITS, out)), [Effect::Poke], "it is on its way back");
}

#[test]
fn who_waits_and_who_does_not_are_counted_whichever_way_they_go() {
    let (mut queue, calls) = queue(&[TRIES, WAITS, TRIES]);
    assert!(queue.demand().patient && queue.demand().impatient);
    step(|out| queue.leave(calls[1], out));
    assert!(!queue.demand().patient && queue.demand().impatient);
    step(|out| queue.leave(calls[1], out));
    step(|out| queue.owned(at(0), 9, cell(), holder(), None, out));
    assert!(!queue.demand().impatient, "one has it, the other is refused");
    step(|out| queue.enter(WAITS, out));
    step(|out| queue.end(at(1), calls[0], false, out));
    assert_eq!(queue.demand(), Demand { keep: true, ..Demand::default() });
}

/// A set's caller that has waited since 0, and its set.
fn a_set() -> (Patience, SetId) {
    let id = Gather::default().enter(at(0), BTreeSet::new(), Arc::from([]));
    (Patience::Set { id, since: at(0) }, id)
}

#[test]
fn a_key_is_handed_over_past_a_set_but_not_while_the_set_holds_its_place() {
    let (set, _) = a_set();
    let (mut queue, calls) = queue(&[WAITS, set, WAITS, WAITS]);
    step(|out| queue.owned(at(2_980), 9, cell(), holder(), None, out));
    let effects = step(|out| queue.end(at(2_999), calls[0], false, out));
    let granted = Effect::Grant { call: calls[2], token: token(9, 1) };
    assert_eq!(effects, [Effect::Ended { call: calls[0] }, granted]);
    let effects = step(|out| queue.end(at(3_000), calls[2], false, out));
    assert_eq!(effects, [Effect::Ended { call: calls[2] }, Effect::Poke]);
    assert!(!queue.demand().keep);
}

#[test]
fn a_set_is_granted_its_key_by_its_own_lock_alone() {
    let (set, id) = a_set();
    let (mut only, _) = queue(&[set]);
    assert!(only.demand().sets_only && only.demand().patient);
    assert!(only.line().front().is_none());
    assert_eq!(only.line().up_to_alone(), [InLine::Set(id)]);
    // Locked for a caller that has left: the set does not take it.
    assert_eq!(step(|out| only.owned(at(0), 9, cell(), holder(), None, out)), [Effect::Poke]);

    let (mut both, calls) = queue(&[set, WAITS, WAITS]);
    assert!(!both.demand().sets_only);
    assert_eq!(both.line().up_to_alone(), [InLine::Set(id), InLine::Alone]);
    assert_eq!(both.line().front(), Some(calls[1]));
    assert_eq!(both.line().call_of(id), Some(calls[0]));
    let effects = step(|out| both.owned(at(0), 9, cell(), holder(), Some(id), out));
    assert_eq!(effects, [Effect::Grant { call: calls[0], token: token(9, 0) }]);
    assert_eq!(both.line().up_to_alone(), [InLine::Alone]);
}

#[test]
fn a_key_locked_for_a_set_that_left_goes_to_a_caller_that_wants_it_alone() {
    let (set, id) = a_set();
    let (mut queue, calls) = queue(&[set, WAITS]);
    step(|out| queue.leave(calls[0], out));
    let effects = step(|out| queue.owned(at(0), 9, cell(), holder(), Some(id), out));
    assert_eq!(effects, [Effect::Grant { call: calls[1], token: token(9, 0) }]);
}

#[test]
fn sets_are_counted_whichever_way_they_go() {
    let (set, id) = a_set();
    let (mut queue, calls) = queue(&[set, set, TRIES]);
    step(|out| queue.obstructed(Obstacle::Delayed { remaining: None }, out));
    assert!(queue.demand().sets_only, "the other caller does not wait");
    step(|out| queue.leave(calls[0], out));
    assert!(queue.demand().sets_only);
    step(|out| queue.owned(at(0), 9, cell(), holder(), Some(id), out));
    assert_eq!(queue.demand(), Demand { keep: true, ..Demand::default() });
    step(|out| queue.enter(set, out));
    step(|out| queue.failed(&Obstacle::Delayed { remaining: None }, out));
    assert!(!queue.demand().sets_only && queue.waiting() == 0);
}
