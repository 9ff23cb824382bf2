use std::time::Duration;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Moment {
    Moment::from_nanos(seconds * 1_000_000_000)
}

fn token(index: u64) -> FencingToken {
    FencingToken::new(index, 0).unwrap()
}

fn holder(session: &str) -> Holder {
    Holder { session: session.into(), session_name: None, node: None, value: [].into(), index: 1 }
}

/// What a step puts out.
fn step(
    election: &mut Election,
    what: impl FnOnce(&mut Election, &mut Vec<Effect>),
) -> Vec<Effect> {
    let mut effects = Vec::new();
    what(election, &mut effects);
    effects
}

/// An election in which this process waits with call 1 of campaign 1.
fn waiting() -> Election {
    let mut election = Election::default();
    assert_eq!(
        step(&mut election, |e, then| assert_eq!(e.campaign_for(at(0), then), 1)),
        [Effect::Enter]
    );
    election.entered(CallId(1));
    election
}

fn leading() -> Election {
    let mut election = waiting();
    let elected = step(&mut election, |e, then| e.granted(token(7), then));
    assert_eq!(elected, [Effect::Elected { token: token(7) }]);
    election
}

fn deposed(reason: LossReason) -> Effect {
    Effect::Deposed { token: token(7), reason }
}

fn resign(
    election: &mut Election,
    now: Moment,
    cool_down: Option<Duration>,
) -> (Stood, Vec<Effect>) {
    let mut effects = Vec::new();
    let stood = election.resign(now, 1, cool_down, &mut effects);
    (stood, effects)
}

#[test]
fn who_campaigns_where_a_campaign_goes_on_joins_it() {
    let mut election = waiting();
    let joined = step(&mut election, |e, then| assert_eq!(e.campaign_for(at(1), then), 1));
    assert_eq!(joined, []);
}

#[test]
fn a_campaign_enters_again_after_a_loss_but_not_before_it_was_told() {
    let mut election = leading();
    let lost = step(&mut election, |e, then| e.lost(LossReason::SessionGone, then));
    assert_eq!(lost, [deposed(LossReason::SessionGone)]);
    assert_eq!(election.token(), None);
    assert!(!election.is_caller(CallId(1)));
    assert_eq!(step(&mut election, |e, then| e.proceed(at(1), then)), [Effect::Enter]);
    election.entered(CallId(2));
    assert!(election.is_caller(CallId(2)));
    assert_eq!(step(&mut election, |e, then| e.proceed(at(1), then)), []);
}

#[test]
fn a_refused_campaign_tries_again_after_pauses_that_grow_to_half_a_minute() {
    let mut election = waiting();
    let mut now = at(0);
    for (call, pause) in (2..).zip([1, 2, 4, 8, 16, 30, 30]) {
        election.refused(now);
        let due = now + SECOND * pause;
        assert_eq!(election.next_wakeup(), Some(due));
        let early = Moment::from_nanos(due.as_nanos() - 1);
        assert_eq!(step(&mut election, |e, then| e.proceed(early, then)), []);
        assert_eq!(step(&mut election, |e, then| e.proceed(due, then)), [Effect::Enter]);
        election.entered(CallId(call));
        now = due;
    }
    step(&mut election, |e, then| e.granted(token(7), then));
    step(&mut election, |e, then| e.lost(LossReason::KeyDeleted, then));
    step(&mut election, |e, then| e.proceed(now, then));
    election.entered(CallId(20));
    election.refused(now);
    assert_eq!(election.next_wakeup(), Some(now + SECOND), "a success begins the pauses anew");
}

#[test]
fn who_resigns_is_deposed_at_once_and_does_not_stand_again() {
    let mut election = leading();
    let (stood, effects) = resign(&mut election, at(5), None);
    assert_eq!(stood, Stood::Leading(CallId(1)));
    assert_eq!(effects, [deposed(LossReason::Resigned)]);
    assert_eq!((election.campaign(), election.token()), (None, None));
    assert!(!election.is_followed());
    assert_eq!(step(&mut election, |e, then| e.proceed(at(100), then)), []);
    // The loss of the key that follows is nobody's any more.
    assert_eq!(step(&mut election, |e, then| e.lost(LossReason::SessionGone, then)), []);
}

#[test]
fn who_waits_and_resigns_leaves_the_queue_and_a_grant_that_comes_late_elects_nobody() {
    let mut election = waiting();
    assert_eq!(resign(&mut election, at(5), None), (Stood::Waiting(CallId(1)), Vec::new()));
    assert!(!election.is_caller(CallId(1)));
    assert_eq!(step(&mut election, |e, then| e.granted(token(7), then)), []);
}

#[test]
fn a_cool_down_pauses_the_campaign_for_that_time_and_the_longest_counts() {
    for mut election in [waiting(), leading()] {
        resign(&mut election, at(10), Some(SECOND * 5));
        assert_eq!(resign(&mut election, at(11), Some(SECOND)), (Stood::Idle, Vec::new()));
        assert_eq!(election.next_wakeup(), Some(at(15)));
        assert!(election.is_followed(), "who leads meanwhile is still of interest");
        assert_eq!(step(&mut election, |e, then| e.proceed(at(14), then)), []);
        assert_eq!(step(&mut election, |e, then| e.proceed(at(15), then)), [Effect::Enter]);
    }
}

#[test]
fn an_older_tenure_does_not_end_a_newer_campaign() {
    let mut election = leading();
    resign(&mut election, at(1), None);
    step(&mut election, |e, then| assert_eq!(e.campaign_for(at(2), then), 2));
    election.entered(CallId(2));
    assert_eq!(resign(&mut election, at(3), None), (Stood::Idle, Vec::new()));
    assert!(election.is_caller(CallId(2)));
}

#[test]
fn who_resigns_between_the_loss_and_its_telling_does_not_enter_again() {
    let mut election = leading();
    step(&mut election, |e, then| e.lost(LossReason::SessionGone, then));
    assert_eq!(resign(&mut election, at(1), None), (Stood::Idle, Vec::new()), "told once");
    assert_eq!(step(&mut election, |e, then| e.proceed(at(2), then)), []);
}

#[test]
fn the_leader_changes_with_the_session_and_not_with_what_is_learnt_of_it() {
    let mut election = waiting();
    let a = holder("a");
    let changed =
        |leader: Option<&Holder>| Effect::LeaderChanged { leader: leader.cloned().map(Box::new) };
    assert_eq!(step(&mut election, |e, then| e.seen(Some(&a), then)), [changed(Some(&a))]);
    let changes = election.changes();
    let named = Holder { session_name: Some("orders".into()), ..holder("a") };
    assert_eq!(step(&mut election, |e, then| e.seen(Some(&named), then)), []);
    assert_eq!((election.leader(), election.changes()), (Some(&named), changes));
    assert_eq!(step(&mut election, |e, then| e.seen(None, then)), [changed(None)]);
    assert_eq!(step(&mut election, |e, then| e.seen(None, then)), []);
}

#[test]
fn nobody_is_told_of_a_key_that_nobody_follows_and_what_was_known_is_forgotten() {
    let mut election = Election::default();
    assert_eq!(step(&mut election, |e, then| e.seen(Some(&holder("a")), then)), []);
    election.observe();
    step(&mut election, |e, then| e.seen(Some(&holder("a")), then));
    election.observe();
    election.unobserve();
    assert_eq!(election.leader(), Some(&holder("a")));
    election.unobserve();
    assert_eq!(election.leader(), None);
}

#[test]
fn who_has_resigned_tells_that_it_leads_no_more_though_nobody_follows() {
    let (a, gone) = (holder("a"), [Effect::LeaderChanged { leader: None }]);
    for observed in [false, true] {
        let mut election = leading();
        election.observe();
        step(&mut election, |e, then| e.seen(Some(&a), then));
        if observed {
            resign(&mut election, at(5), None);
            election.unobserve();
        } else {
            election.unobserve();
            resign(&mut election, at(5), None);
        }
        // An ordinary lease of this process has it for a moment.
        assert_eq!(step(&mut election, |e, then| e.seen(Some(&a), then)), []);
        assert!(!election.is_followed());
        assert_eq!(election.leader(), Some(&a), "until Consul has the key back");
        assert_eq!(step(&mut election, |e, then| e.seen(None, then)), gone);
        assert_eq!(step(&mut election, |e, then| e.seen(Some(&holder("b")), then)), []);
    }
    let mut election = leading();
    step(&mut election, |e, then| e.seen(Some(&a), then));
    resign(&mut election, at(5), None);
    election.stop();
    assert_eq!(step(&mut election, |e, then| e.seen(None, then)), []);
}

#[test]
fn a_stopped_election_tells_the_end_of_its_term_and_does_nothing_more() {
    let mut election = leading();
    election.observe();
    election.stop();
    let lost = step(&mut election, |e, then| e.lost(LossReason::Shutdown, then));
    assert_eq!(lost, [deposed(LossReason::Shutdown)]);
    assert_eq!(step(&mut election, |e, then| e.proceed(at(100), then)), []);
    assert_eq!(step(&mut election, |e, then| e.seen(Some(&holder("a")), then)), []);
    assert!(!election.is_followed() && election.campaign().is_none());

    let mut election = waiting();
    election.stop();
    election.refused(at(1));
    assert_eq!((election.campaign(), election.next_wakeup()), (None, None));
}

#[test]
fn a_refused_campaign_tries_again_when_the_holder_has_gone() {
    let refused = || {
        let mut election = waiting();
        step(&mut election, |e, then| e.seen(Some(&holder("other")), then));
        election.refused(at(0));
        election
    };
    let enters = |election: &mut Election| step(election, |e, then| e.proceed(at(0), then));
    let mut election = refused();
    assert_eq!(enters(&mut election), []);
    step(&mut election, |e, then| e.seen(Some(&holder("third")), then));
    assert_eq!(enters(&mut election), [], "somebody else holds the key");
    step(&mut election, |e, then| e.seen(None, then));
    assert_eq!(enters(&mut election), [Effect::Enter]);
    // Refused again, although nobody holds the key: each read shows that anew.
    election.entered(CallId(2));
    election.refused(at(0));
    step(&mut election, |e, then| e.seen(None, then));
    assert_eq!(enters(&mut election), []);

    let mut election = refused();
    resign(&mut election, at(0), Some(SECOND));
    step(&mut election, |e, then| e.seen(None, then));
    assert_eq!(enters(&mut election), [], "a cool-down lasts");
}
