//! The session machine's rules, one per test.

use super::{
    tidying::{FIRST_TIDYING, Look, MOST_TIDIED, TIDYING, share},
    *,
};
use crate::{
    consul::fact::{Created, Destroyed, Entry, Raised, Renewed, Seen, StaleFences, Trouble},
    error::Error,
};

fn at(millis: u64) -> Moment {
    Moment::default() + Duration::from_secs(1_000) + Duration::from_millis(millis)
}

fn unknown() -> Trouble {
    Trouble::Timeout(Duration::from_secs(2))
}

/// The index of the first session's fence.
const FENCE: u64 = 10;

/// A machine stepped by hand.
struct Bench {
    session: Session,
    now: Moment,
}

impl Bench {
    fn new() -> Self {
        Self { session: Session::new(at(0), Timing::default(), 0, LeftBehind::Nothing), now: at(0) }
    }

    /// A machine whose first session was requested at 0 and answered at 100 ms.
    fn open() -> (Self, SessionView) {
        let (mut bench, ticket) = Self::created();
        let view = bench.raised(ticket, FENCE);
        (bench, view)
    }

    /// The same, while its fence is being raised.
    fn created() -> (Self, Ticket) {
        let mut bench = Self::new();
        let ticket = create_ticket(&bench.step(Event::Start));
        bench.now = at(100);
        let ticket = bench.created_as("s-1", ticket);
        (bench, ticket)
    }

    /// Answers the creation and returns the raise of the fence.
    fn created_as(&mut self, id: &str, ticket: Ticket) -> Ticket {
        let effects = self.step(Event::Created { ticket, answer: Created::Session(id.into()) });
        let [Effect::Raise { ticket, from: Fence::Unraised, .. }] = effects[..] else {
            panic!("{effects:?}")
        };
        ticket
    }

    /// Destroys a session whose fence was raised, and deletes the fence entry.
    fn destroyed(&mut self, ticket: Ticket) -> Vec<Effect> {
        let effects = self.step(Event::Destroyed { ticket, answer: Destroyed::Done });
        let [Effect::DeleteFence { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
        self.step(Event::Destroyed { ticket, answer: Destroyed::Done })
    }

    fn raised(&mut self, ticket: Ticket, index: u64) -> SessionView {
        let effects = self.step(Event::Raised { ticket, answer: Raised::At(index) });
        let [Effect::Notify(Notice::Opened(view)), ..] = &effects[..] else {
            panic!("{effects:?}")
        };
        view.clone()
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.session.handle(self.now, event, &mut effects);
        effects
    }

    fn wake(&mut self) -> Vec<Effect> {
        self.now = self.session.next_wakeup().expect("nothing is due").max(self.now);
        self.step(Event::Tick)
    }

    fn renewal(&mut self) -> Ticket {
        match self.wake()[..] {
            [Effect::Renew { ticket, .. }] => ticket,
            ref other => panic!("{other:?}"),
        }
    }
}

fn create_ticket(effects: &[Effect]) -> Ticket {
    match effects {
        [.., Effect::Create { ticket }] => *ticket,
        other => panic!("{other:?}"),
    }
}

fn alive() -> Renewed {
    Renewed::Alive { ttl: Some(Duration::from_secs(15)) }
}

#[test]
fn the_lease_is_counted_from_just_before_the_question() {
    let (_, view) = Bench::open();
    assert_eq!(view.cell.deadline(at(100)), Some(at(0) + Timing::default().lease()));
}

#[test]
fn a_renewal_counts_from_its_own_sending_and_a_late_answer_gains_nothing() {
    let (mut bench, view) = Bench::open();
    let first = bench.renewal();
    let sent_at = bench.now;
    let second = bench.renewal();
    let later = bench.now;
    bench.step(Event::Renewed { ticket: second, answer: alive() });
    bench.step(Event::Renewed { ticket: first, answer: alive() });
    assert!(later > sent_at);
    assert_eq!(view.cell.deadline(bench.now), Some(later + Timing::default().lease()));
}

#[test]
fn the_shorter_ttl_counts() {
    let (mut bench, view) = Bench::open();
    let ticket = bench.renewal();
    let sent_at = bench.now;
    let ttl = Duration::from_secs(14);
    bench.step(Event::Renewed { ticket, answer: Renewed::Alive { ttl: Some(ttl) } });
    let lease = Timing::default().lease_under(ttl);
    assert_eq!(
        view.cell.deadline(bench.now),
        Some((sent_at + lease).max(at(0) + Timing::default().lease()))
    );
}

#[test]
fn an_unanswered_renewal_does_not_stop_the_next() {
    let (mut bench, _) = Bench::open();
    bench.renewal();
    let first = bench.now;
    bench.renewal();
    assert_eq!(bench.now.since(first), Timing::default().request_timeout() / 4);
}

#[test]
fn a_renewal_that_is_answered_well_is_followed_after_a_period() {
    let (mut bench, _) = Bench::open();
    for _ in 0..5 {
        let ticket = bench.renewal();
        let sent_at = bench.now;
        bench.now = bench.now + Duration::from_millis(3);
        bench.step(Event::Renewed { ticket, answer: alive() });
        bench.renewal();
        assert_eq!(bench.now.since(sent_at), Timing::default().renew_period());
        let ticket = bench.renewal();
        bench.step(Event::Renewed { ticket, answer: alive() });
    }
}

#[test]
fn an_interruption_that_ends_one_request_timeout_before_the_deadline_loses_nothing() {
    let timing = Timing::default();
    for begin in (0..3_000).step_by(70) {
        let (mut bench, view) = Bench::open();
        let healed_at = at(0) + timing.lease() - timing.request_timeout();
        let (mut answers, mut lost) = (Vec::new(), false);
        // Requests sent during the interruption hang until their limit; later ones are
        // answered at once.
        while bench.now < healed_at + timing.request_timeout() {
            answers.sort_by_key(|(due, _, _)| *due);
            let wake = bench.session.next_wakeup().unwrap().max(bench.now);
            let effects = match answers.first() {
                Some((due, _, _)) if *due <= wake => {
                    let (due, ticket, answer) = answers.remove(0);
                    bench.now = due;
                    bench.step(Event::Renewed { ticket, answer })
                }
                _ => bench.wake(),
            };
            for effect in effects {
                match effect {
                    Effect::Renew { ticket, .. } => {
                        let well = bench.now < at(begin) || bench.now >= healed_at;
                        answers.push(if well {
                            (bench.now + Duration::from_millis(5), ticket, alive())
                        } else {
                            let limit = bench.now + timing.request_timeout();
                            (limit, ticket, Renewed::Unknown(unknown()))
                        });
                    }
                    Effect::Notify(Notice::Closed { .. }) => lost = true,
                    _ => {}
                }
            }
        }
        assert!(!lost && view.cell.is_valid(bench.now), "interrupted at {begin} ms");
    }
}

#[test]
fn a_renewal_of_unknown_outcome_is_repeated_soon_and_ends_nothing() {
    let (mut bench, view) = Bench::open();
    let ticket = bench.renewal();
    let effects = bench.step(Event::Renewed { ticket, answer: Renewed::Unknown(unknown()) });
    assert!(matches!(effects[..], [Effect::Notify(Notice::Troubled(Error::Unavailable { .. }))]));
    let before = bench.now;
    let ticket = bench.renewal();
    assert!(bench.now.since(before) <= Duration::from_millis(500));
    let effects = bench.step(Event::Renewed { ticket, answer: alive() });
    assert!(matches!(effects[..], [Effect::Recovered]));
    assert!(view.cell.is_valid(bench.now));
}

#[test]
fn a_loss_is_told_before_anything_is_done_about_it() {
    let (mut bench, view) = Bench::open();
    let ticket = bench.renewal();
    let effects = bench.step(Event::Renewed { ticket, answer: Renewed::Gone });
    let [Effect::Notify(Notice::Closed { generation: 1, reason: LossReason::SessionGone })] =
        effects[..]
    else {
        panic!("{effects:?}")
    };
    assert!(!view.cell.is_valid(bench.now));
    assert_eq!(bench.session.next_wakeup(), None);
    let effects = bench.step(Event::Told { generation: 1 });
    assert!(matches!(effects[..], [Effect::Create { .. }, Effect::Destroy { .. }]));
}

#[test]
fn after_the_deadline_a_late_answer_revives_nothing() {
    let (mut bench, view) = Bench::open();
    let ticket = bench.renewal();
    bench.now = at(60_000);
    let effects = bench.step(Event::Renewed { ticket, answer: alive() });
    let reason = LossReason::DeadlinePassed;
    assert!(
        matches!(effects[..], [Effect::Notify(Notice::Closed { generation: 1, reason: why })] if why == reason)
    );
    assert!(!view.cell.is_valid(at(0)));
    let effects = bench.step(Event::Told { generation: 1 });
    let ticket = create_ticket(&effects[..1]);
    let ticket = bench.created_as("s-2", ticket);
    let next = bench.raised(ticket, 20);
    assert_eq!(next.generation, 2);
    assert!(next.cell.is_valid(bench.now) && !view.cell.is_valid(at(0)));
}

/// A machine whose first session was closed, and the ticket of its destruction.
fn closed() -> (Bench, Ticket) {
    let (mut bench, _) = Bench::open();
    let reason = LossReason::StoreReplaced;
    bench.step(Event::Asked(Request::Distrust { generation: 1, reason }));
    let effects = bench.step(Event::Told { generation: 1 });
    let [Effect::Create { .. }, Effect::Destroy { ticket, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    (bench, ticket)
}

#[test]
fn a_closed_session_is_destroyed_after_the_releases_under_it() {
    let begun = || Event::Asked(Request::ReleaseBegun { generation: 1 });
    let ended = || Event::Asked(Request::ReleaseEnded { generation: 1 });
    let reason = LossReason::StoreReplaced;
    let closed = |ended_before: bool| {
        let (mut bench, _) = Bench::open();
        assert!(bench.step(begun()).is_empty());
        assert!(bench.step(begun()).is_empty());
        bench.step(Event::Asked(Request::Distrust { generation: 1, reason }));
        if ended_before {
            assert!(bench.step(ended()).is_empty());
        }
        let effects = bench.step(Event::Told { generation: 1 });
        assert!(matches!(effects[..], [Effect::Create { .. }]), "{effects:?}");
        bench
    };
    let mut bench = closed(true);
    assert!(matches!(bench.step(ended())[..], [Effect::Destroy { .. }]));
    let mut bench = closed(false);
    assert!(bench.step(ended()).is_empty());
    assert!(matches!(bench.step(ended())[..], [Effect::Destroy { .. }]));
    // An answer that does not come is waited for no longer than any request takes.
    let (mut bench, before) = (closed(false), at(0));
    assert!(matches!(bench.wake()[..], [Effect::Destroy { .. }]));
    assert!(bench.now.since(before) <= Duration::from_secs(6), "{:?}", bench.now);
}

#[test]
fn a_closed_session_is_destroyed_until_that_is_answered() {
    let (mut bench, mut ticket) = closed();
    for _ in 0..5 {
        let answer = Destroyed::Unknown(unknown());
        bench.step(Event::Destroyed { ticket, answer });
        let effects = bench.wake();
        let [Effect::Destroy { ticket: again, .. }] = effects[..] else { panic!("{effects:?}") };
        ticket = again;
    }
    bench.destroyed(ticket);
    assert_eq!(bench.session.next_wakeup(), None);
}

#[test]
fn a_fence_entry_is_deleted_after_its_session_and_both_are_repeated_if_that_fails() {
    let (mut bench, ticket) = closed();
    let effects = bench.step(Event::Destroyed { ticket, answer: Destroyed::Done });
    let [Effect::DeleteFence { ticket: deletes, .. }] = effects[..] else { panic!("{effects:?}") };
    assert!(bench.step(Event::Destroyed { ticket, answer: Destroyed::Done }).is_empty());
    let answer = Destroyed::Unknown(unknown());
    bench.step(Event::Destroyed { ticket: deletes, answer });
    let effects = bench.wake();
    let [Effect::Destroy { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    bench.destroyed(ticket);
    assert_eq!(bench.session.next_wakeup(), None);
}

#[test]
fn a_session_that_may_not_be_destroyed_is_tried_again_until_its_ttl_has_ended_it() {
    let (mut bench, mut ticket) = closed();
    let (closed_at, mut tries) = (bench.now, 1);
    loop {
        let answer = Destroyed::Denied("session:write".into());
        bench.step(Event::Destroyed { ticket, answer });
        if bench.session.next_wakeup().is_none() {
            break;
        }
        let effects = bench.wake();
        let [Effect::Destroy { ticket: again, .. }] = effects[..] else { panic!("{effects:?}") };
        (ticket, tries) = (again, tries + 1);
    }
    let lasted = bench.now.since(closed_at);
    let ttl = Timing::default().session_ttl;
    assert!((2 * ttl..=4 * ttl).contains(&lasted), "{lasted:?}");
    assert!(tries > 10, "{tries}");
}

#[test]
fn a_stop_does_not_wait_for_the_right_to_destroy_the_session() {
    let (mut bench, _) = Bench::open();
    let effects = bench.step(Event::Stop);
    let [Effect::Destroy { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    let answer = Destroyed::Denied("session:write".into());
    let effects = bench.step(Event::Destroyed { ticket, answer });
    let [Effect::Stopped { left: Some(Error::Denied { right }) }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(right, "session:write");
}

#[test]
fn distrust_of_another_generation_is_ignored() {
    let (mut bench, view) = Bench::open();
    let reason = LossReason::SessionGone;
    assert!(bench.step(Event::Asked(Request::Distrust { generation: 0, reason })).is_empty());
    assert!(view.cell.is_valid(bench.now));
}

#[test]
fn a_session_that_cannot_be_had_is_tried_again_with_growing_pauses() {
    let mut bench = Bench::new();
    let mut ticket = create_ticket(&bench.step(Event::Start));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let answer = Created::Unknown(unknown());
        let effects = bench.step(Event::Created { ticket, answer });
        assert!(matches!(effects[..], [Effect::Notify(Notice::Troubled(_))]));
        let before = bench.now;
        ticket = create_ticket(&bench.wake());
        pauses.push(bench.now.since(before));
    }
    assert!(pauses.is_sorted() && pauses[0] < pauses[7], "{pauses:?}");
    assert!(pauses[7] <= Duration::from_secs(2), "{pauses:?}");
}

#[test]
fn a_session_that_was_created_too_slowly_is_not_used() {
    let mut bench = Bench::new();
    let ticket = create_ticket(&bench.step(Event::Start));
    bench.now = at(60_000);
    let answer = Created::Session("s-1".into());
    let effects = bench.step(Event::Created { ticket, answer });
    assert!(matches!(effects[..], [Effect::Destroy { .. }]), "{effects:?}");
    assert!(bench.session.view().is_none());
}

#[test]
fn a_session_is_lent_when_its_fence_stands() {
    let (mut bench, ticket) = Bench::created();
    let view = bench.raised(ticket, 10);
    assert_eq!((view.fence, view.generation), (Fence::At(10), 1));
    // However long that takes, and whatever happens meanwhile.
    let (mut bench, mut ticket) = Bench::created();
    for _ in 0..3 {
        let effects = bench.step(Event::Raised { ticket, answer: Raised::Unknown(unknown()) });
        assert!(matches!(effects[..], [Effect::Notify(Notice::Troubled(_))]), "{effects:?}");
        let effects = bench.wake();
        let [Effect::ReadFence { ticket: reading, .. }] = effects[..] else {
            panic!("{effects:?}")
        };
        let answer = Seen::Missing { index: 4 };
        let effects = bench.step(Event::FenceRead { ticket: reading, answer });
        let [Effect::Raise { ticket: again, .. }] = effects[..] else { panic!("{effects:?}") };
        ticket = again;
    }
    assert!(bench.session.view().is_some_and(|view| view.cell.is_valid(bench.now)));
    // Those who wait hear of each failure, also if the entry cannot be read.
    bench.step(Event::Raised { ticket, answer: Raised::Unknown(unknown()) });
    let effects = bench.wake();
    let [Effect::ReadFence { ticket: reading, .. }] = effects[..] else { panic!("{effects:?}") };
    let effects =
        bench.step(Event::FenceRead { ticket: reading, answer: Seen::Unknown(unknown()) });
    assert!(matches!(effects[..], [Effect::Notify(Notice::Troubled(_))]), "{effects:?}");
    let effects = bench.wake();
    let [Effect::ReadFence { ticket: reading, .. }] = effects[..] else { panic!("{effects:?}") };
    let answer = Seen::Missing { index: 4 };
    let effects = bench.step(Event::FenceRead { ticket: reading, answer });
    let [Effect::Raise { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    bench.raised(ticket, 12);
    // Its end can come earlier.
    let (mut bench, _) = Bench::created();
    bench.now = at(60_000);
    let effects = bench.step(Event::Tick);
    assert!(
        matches!(effects[..], [Effect::Notify(Notice::Closed { generation: 1, .. })]),
        "{effects:?}"
    );
}

#[test]
fn raises_the_fence_once_for_all_who_ask() {
    let (mut bench, _) = Bench::open();
    let ask = || Event::Asked(Request::RaiseFence { generation: 1, seen: Fence::At(FENCE) });
    let [Effect::Raise { ticket, from: Fence::At(FENCE), .. }] = bench.step(ask())[..] else {
        panic!("no raise")
    };
    assert!(bench.step(ask()).is_empty());
    let effects = bench.step(Event::Raised { ticket, answer: Raised::At(30) });
    assert!(matches!(
        effects[..],
        [Effect::Notify(Notice::Fenced { generation: 1, fence: Fence::At(30) })]
    ));
    // A lock that missed the notice gets it again.
    let effects = bench.step(ask());
    assert!(matches!(effects[..], [Effect::Notify(Notice::Fenced { fence: Fence::At(30), .. })]));
}

/// A fence entry as a read returns it.
fn entry(index: u64) -> Seen {
    let (session, value) = (Some("s-1".into()), Vec::new());
    let entry = Entry { session, modify_index: index, lock_index: 1, flags: 0, value };
    Seen::Found { entry, index }
}

#[test]
fn a_raise_of_unknown_outcome_is_looked_up_before_it_is_repeated() {
    let (mut bench, _) = Bench::open();
    let effects =
        bench.step(Event::Asked(Request::RaiseFence { generation: 1, seen: Fence::At(FENCE) }));
    let [Effect::Raise { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    bench.step(Event::Raised { ticket, answer: Raised::Unknown(unknown()) });
    let effects = bench.wake();
    let [Effect::ReadFence { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    let effects = bench.step(Event::FenceRead { ticket, answer: entry(31) });
    assert!(matches!(effects[..], [Effect::Notify(Notice::Fenced { fence: Fence::At(31), .. })]));
}

#[test]
fn a_fence_that_somebody_deleted_is_raised_anew_above_the_lost_one() {
    let (mut bench, _) = Bench::open();
    let effects =
        bench.step(Event::Asked(Request::RaiseFence { generation: 1, seen: Fence::At(FENCE) }));
    let [Effect::Raise { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    let effects = bench.step(Event::Raised { ticket, answer: Raised::Stale });
    let [Effect::ReadFence { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    let effects = bench.step(Event::FenceRead { ticket, answer: Seen::Missing { index: 40 } });
    let [Effect::Raise { ticket, from: Fence::Unraised, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    let effects = bench.step(Event::Raised { ticket, answer: Raised::At(41) });
    assert!(matches!(effects[..], [Effect::Notify(Notice::Fenced { fence: Fence::At(41), .. })]));
}

#[test]
fn a_fence_that_is_not_raised_to_a_higher_index_is_of_another_store() {
    let (mut bench, _) = Bench::open();
    for (seen, index, higher) in [(Fence::At(FENCE), 75, true), (Fence::At(75), 75, false)] {
        let effects = bench.step(Event::Asked(Request::RaiseFence { generation: 1, seen }));
        let [Effect::Raise { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
        let effects = bench.step(Event::Raised { ticket, answer: Raised::At(index) });
        match effects[..] {
            [Effect::Notify(Notice::Fenced { .. })] => assert!(higher),
            [Effect::Notify(Notice::Closed { reason: LossReason::StoreReplaced, .. })] => {
                assert!(!higher);
            }
            ref other => panic!("{other:?}"),
        }
    }
}

/// Answers renewals, and fails listings of stale fences, until another effect is
/// due.
fn next_of_interest(bench: &mut Bench) -> Vec<Effect> {
    loop {
        let effects = next_but_renewals(bench);
        let [Effect::ListFences { ticket }] = effects[..] else { return effects };
        let answer = StaleFences::Unknown(unknown());
        bench.step(Event::StaleFences { ticket, answer });
    }
}

/// Answers renewals until another effect is due.
fn next_but_renewals(bench: &mut Bench) -> Vec<Effect> {
    loop {
        let effects = bench.wake();
        match effects[..] {
            [Effect::Renew { ticket, .. }] => {
                bench.step(Event::Renewed { ticket, answer: alive() });
            }
            _ => return effects,
        }
    }
}

#[test]
fn a_fence_that_may_not_be_written_is_raised_when_it_may() {
    let (mut bench, ticket) = Bench::created();
    let right = || "key:write".to_owned();
    let effects = bench.step(Event::Raised { ticket, answer: Raised::Denied(right()) });
    let [Effect::Notify(Notice::Opened(view))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(view.fence, Fence::Unusable);
    // A raise requested meanwhile is answered at once.
    let effects =
        bench.step(Event::Asked(Request::RaiseFence { generation: 1, seen: Fence::Unusable }));
    assert!(matches!(effects[..], [Effect::Notify(Notice::Fenced { fence: Fence::Unusable, .. })]));
    for _ in 0..3 {
        let since = bench.now;
        let effects = next_of_interest(&mut bench);
        let [Effect::ReadFence { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
        assert_eq!(bench.now.since(since), Duration::from_secs(60));
        assert!(
            bench.step(Event::FenceRead { ticket, answer: Seen::Denied(right()) }).is_empty(),
            "it is known already"
        );
    }
    let effects = next_of_interest(&mut bench);
    let [Effect::ReadFence { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    // An existing entry voids nothing, so it is raised.
    let effects = bench.step(Event::FenceRead { ticket, answer: entry(31) });
    let [Effect::Raise { ticket, from: Fence::At(31), .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    let effects = bench.step(Event::Raised { ticket, answer: Raised::At(50) });
    assert!(matches!(effects[..], [Effect::Notify(Notice::Fenced { fence: Fence::At(50), .. })]));
    // The next session starts without that history.
    bench.step(Event::Asked(Request::Distrust { generation: 1, reason: LossReason::SessionGone }));
    let ticket = create_ticket(&bench.step(Event::Told { generation: 1 })[..1]);
    bench.created_as("s-2", ticket);
}

/// A machine with the session `s-2` after a creation that was not answered, and the ticket of
/// its search for that one.
fn searching() -> (Bench, Ticket) {
    let mut bench = Bench::new();
    let ticket = create_ticket(&bench.step(Event::Start));
    bench.step(Event::Created { ticket, answer: Created::Unknown(unknown()) });
    let ticket = create_ticket(&bench.wake());
    let raise = bench.created_as("s-2", ticket);
    let effects = bench.step(Event::Raised { ticket: raise, answer: Raised::At(10) });
    let [Effect::Notify(Notice::Opened(_)), Effect::List { ticket }] = effects[..] else {
        panic!("{effects:?}")
    };
    (bench, ticket)
}

#[test]
fn a_session_whose_creation_was_not_answered_is_found_by_its_name_and_destroyed() {
    let (mut bench, ticket) = searching();
    let effects = bench.step(Event::Listed { ticket, answer: all(&["s-1", "s-2"]) });
    let [Effect::Destroy { ticket, session, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(session.as_str(), "s-1");
    let ticket = *ticket;
    bench.destroyed(ticket);
    // The request may have been in flight, so the search is repeated once.
    let since = bench.now;
    let effects = next_of_interest(&mut bench);
    let [Effect::List { ticket }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(bench.now.since(since), Duration::from_secs(30));
    assert!(bench.step(Event::Listed { ticket, answer: all(&["s-2"]) }).is_empty());
    assert!(matches!(bench.session.tidying.strays, Look::Never));
}

#[test]
fn a_list_without_the_present_session_does_not_end_the_search() {
    let (mut bench, ticket) = searching();
    // So Consul answers a token without the right.
    assert!(bench.step(Event::Listed { ticket, answer: all(&[]) }).is_empty());
    let effects = next_of_interest(&mut bench);
    let [Effect::List { ticket }] = effects[..] else { panic!("{effects:?}") };
    let effects = bench.step(Event::Listed { ticket, answer: all(&["s-1", "s-2"]) });
    let [Effect::Destroy { session, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(session.as_str(), "s-1");
}

#[test]
fn a_session_that_may_have_ended_is_renewed_soon_but_not_in_a_storm() {
    let (mut bench, _) = Bench::open();
    let ask = |generation| Event::Asked(Request::Renew { generation });
    bench.now = at(1_000);
    assert!(bench.step(ask(2)).is_empty(), "another session");
    let effects = bench.step(ask(1));
    assert!(matches!(effects[..], [Effect::Renew { .. }]), "{effects:?}");
    for _ in 0..20 {
        assert!(bench.step(ask(1)).is_empty());
    }
    let since = bench.now;
    let effects = bench.wake();
    assert!(matches!(effects[..], [Effect::Renew { .. }]), "{effects:?}");
    assert_eq!(bench.now.since(since), BETWEEN_RENEWALS);
}

#[test]
fn a_session_that_is_being_created_is_not_taken_for_a_stray() {
    let (mut bench, listing) = searching();
    bench.step(Event::Asked(Request::Distrust { generation: 1, reason: LossReason::SessionGone }));
    let effects = bench.step(Event::Told { generation: 1 });
    let [Effect::Create { ticket }, Effect::Destroy { .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    let answer = SessionsSeen::Found(vec!["s-3".into()]);
    assert!(bench.step(Event::Listed { ticket: listing, answer }).is_empty());
    let raise = bench.created_as("s-3", ticket);
    // The search is repeated, since the current session is now known.
    let effects = bench.step(Event::Raised { ticket: raise, answer: Raised::At(20) });
    assert!(
        matches!(effects[..], [Effect::Notify(Notice::Opened(_)), Effect::List { .. }]),
        "{effects:?}"
    );
}

#[test]
fn stale_fence_entries_are_deleted_rarely_and_never_our_own() {
    let (mut bench, _) = Bench::open();
    let since = bench.now;
    let effects = next_but_renewals(&mut bench);
    let [Effect::ListFences { ticket }] = effects[..] else { panic!("{effects:?}") };
    assert!(bench.now.since(since) <= FIRST_TIDYING);
    let mut stale: Vec<(SessionId, u64)> = vec![("s-1".into(), 7)];
    stale.extend((0..100).map(|n| (SessionId::from(format!("x-{n}").as_str()), 100 + n)));
    let answer = StaleFences::Found(stale.clone());
    let effects = bench.step(Event::StaleFences { ticket, answer });
    let [Effect::DeleteFences { stale: deleted }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(deleted[..], stale[1..=MOST_TIDIED]);
    let since = bench.now;
    let effects = next_but_renewals(&mut bench);
    assert!(matches!(effects[..], [Effect::ListFences { .. }]), "{effects:?}");
    assert_eq!(bench.now.since(since), TIDYING);
    // Processes that start together do not search together.
    let shares: Vec<f64> =
        (0..100).map(|n| share(&format!("ee474eed-{n}").as_str().into())).collect();
    let early = shares.iter().filter(|share| **share < 0.5).count();
    assert!((30..70).contains(&early), "{shares:?}");
}

#[test]
fn a_ttl_that_the_servers_refuse_is_reported_with_their_setting_and_tried_rarely() {
    let mut bench = Bench::new();
    let ticket = create_ticket(&bench.step(Event::Start));
    let effects =
        bench.step(Event::Created { ticket, answer: Created::TtlRefused("30s=24h0m0s".into()) });
    let [
        Effect::Blocked(why),
        Effect::Notify(Notice::Troubled(error @ Error::Invalid { field, .. })),
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    let text = error.to_string();
    assert_eq!(*why, text);
    assert_eq!(*field, "timing.session_ttl");
    assert!(text.contains("session_ttl_min") && text.contains("30s=24h0m0s"), "{text}");
    assert!(!text.contains("000000000"), "nanoseconds: {text}");
    let since = bench.now;
    create_ticket(&bench.wake());
    assert_eq!(bench.now.since(since), Duration::from_secs(10));
}

#[test]
fn stopping_destroys_the_session_also_one_that_is_still_being_created() {
    let (mut bench, view) = Bench::open();
    let effects = bench.step(Event::Stop);
    let [Effect::Destroy { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    assert!(!view.cell.is_valid(bench.now));
    let effects = bench.destroyed(ticket);
    assert!(matches!(effects[..], [Effect::Stopped { left: None }]));

    let mut bench = Bench::new();
    let ticket = create_ticket(&bench.step(Event::Start));
    assert!(bench.step(Event::Stop).is_empty());
    let answer = Created::Session("s-1".into());
    let effects = bench.step(Event::Created { ticket, answer });
    assert!(matches!(effects[..], [Effect::Destroy { .. }]), "{effects:?}");
}

/// A successor of a machine that died, which has a session of its own.
fn successor(left_behind: LeftBehind) -> (Bench, Ticket) {
    let doomed = matches!(left_behind, LeftBehind::Session(_));
    let session = Session::new(at(0), Timing::default(), 2, left_behind);
    let mut bench = Bench { session, now: at(0) };
    let effects = bench.step(Event::Start);
    let [Effect::Create { ticket }, rest @ ..] = &effects[..] else { panic!("{effects:?}") };
    let raise = bench.created_as("s-3", *ticket);
    assert_eq!(rest.len(), usize::from(doomed), "{rest:?}");
    if let [Effect::Destroy { ticket, .. }] = rest {
        bench.destroyed(*ticket);
    }
    let effects = bench.step(Event::Raised { ticket: raise, answer: Raised::At(10) });
    let [Effect::Notify(Notice::Opened(_)), Effect::List { ticket }] = effects[..] else {
        panic!("{effects:?}")
    };
    (bench, ticket)
}

fn all(ids: &[&str]) -> SessionsSeen {
    SessionsSeen::Found(ids.iter().map(|id| (*id).into()).collect())
}

#[test]
fn a_successor_destroys_the_sessions_that_its_predecessor_had_still_to_destroy() {
    for left_behind in [LeftBehind::Unknown, LeftBehind::Session("s-2".into())] {
        let (mut bench, ticket) = successor(left_behind);
        let effects = bench.step(Event::Listed { ticket, answer: all(&["s-1", "s-3"]) });
        let [Effect::Destroy { session, ticket }] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(session.as_str(), "s-1");
        let ticket = *ticket;
        // With its fence entry.
        assert!(bench.destroyed(ticket).is_empty());
    }
}

/// A stopping machine whose own session has ended, and which still searches for others.
fn stopping() -> (Bench, Ticket) {
    let (mut bench, former) = successor(LeftBehind::Unknown);
    let effects = bench.step(Event::Stop);
    // The search under way may have been served too early.
    let [Effect::List { ticket }, Effect::Destroy { ticket: own, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    assert!(bench.step(Event::Listed { ticket: former, answer: all(&[]) }).is_empty());
    assert!(bench.destroyed(own).is_empty(), "a session may be left");
    (bench, ticket)
}

#[test]
fn stopping_waits_for_the_search_for_sessions_and_for_their_end() {
    let (mut bench, ticket) = stopping();
    let effects = bench.step(Event::Listed { ticket, answer: all(&["s-1"]) });
    let [Effect::Destroy { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    assert!(matches!(bench.destroyed(ticket)[..], [Effect::Stopped { left: None }]));

    // The repetition of a search, due in half a minute, takes place at once.
    let (mut bench, ticket) = successor(LeftBehind::Unknown);
    bench.step(Event::Listed { ticket, answer: all(&["s-3"]) });
    let effects = bench.step(Event::Stop);
    assert!(matches!(effects[..], [Effect::List { .. }, Effect::Destroy { .. }]), "{effects:?}");
}

#[test]
fn stopping_ends_although_the_search_for_sessions_fails() {
    // At once without the right to list sessions.
    let (mut bench, ticket) = stopping();
    let answer = SessionsSeen::Denied("session:read".into());
    assert!(matches!(
        bench.step(Event::Listed { ticket, answer })[..],
        [Effect::Stopped { left: None }]
    ));

    // After three searches that are not answered.
    let (mut bench, mut ticket) = stopping();
    let since = bench.now;
    for _ in 0..2 {
        let answer = SessionsSeen::Unknown(unknown());
        assert!(bench.step(Event::Listed { ticket, answer }).is_empty());
        let effects = bench.wake();
        let [Effect::List { ticket: next }] = effects[..] else { panic!("{effects:?}") };
        ticket = next;
    }
    assert_eq!(bench.now.since(since), Duration::from_secs(1));
    let answer = SessionsSeen::Unknown(unknown());
    assert!(matches!(
        bench.step(Event::Listed { ticket, answer })[..],
        [Effect::Stopped { left: None }]
    ));
}

#[test]
fn stopping_finds_the_session_of_a_creation_that_is_not_answered() {
    let mut bench = Bench::new();
    let ticket = create_ticket(&bench.step(Event::Start));
    assert!(bench.step(Event::Stop).is_empty());
    let effects = bench.step(Event::Created { ticket, answer: Created::Unknown(unknown()) });
    let [Effect::List { ticket }] = effects[..] else { panic!("{effects:?}") };
    let effects = bench.step(Event::Listed { ticket, answer: all(&["s-1"]) });
    assert!(matches!(effects[..], [Effect::Destroy { .. }]), "{effects:?}");
}

#[test]
fn stopping_does_not_search_where_no_creation_had_an_effect() {
    let why = || "refused".into();
    for trouble in [
        Trouble::Connect(why()),
        Trouble::Refused(why()),
        Trouble::NoToken(why()),
        Trouble::UnknownToken,
    ] {
        let mut bench = Bench::new();
        let ticket = create_ticket(&bench.step(Event::Start));
        bench.step(Event::Created { ticket, answer: Created::Unknown(trouble) });
        let effects = bench.step(Event::Stop);
        assert!(matches!(effects[..], [Effect::Stopped { left: None }]), "{effects:?}");
    }
}

fn far() -> Trouble {
    let (limit, round_trip) = (Duration::from_millis(288), Duration::from_millis(400));
    Trouble::TooFar { limit, round_trip }
}

fn blocks(effects: &[Effect]) -> bool {
    matches!(effects[..], [Effect::Blocked(_), Effect::Notify(Notice::Troubled(_)), ..])
}

#[test]
fn where_consul_is_too_far_a_session_is_tried_at_long_intervals_and_destroyed() {
    let mut bench = Bench::new();
    let ticket = create_ticket(&bench.step(Event::Start));
    let effects = bench.step(Event::Created { ticket, answer: Created::Unknown(far()) });
    assert!(blocks(&effects), "{effects:?}");
    let ticket = create_ticket(&bench.wake());
    assert_eq!(bench.now.since(at(0)), TOO_FAR);
    // This one is answered in time, and then its fence is not.
    let ticket = bench.created_as("s-1", ticket);
    let effects = bench.step(Event::Raised { ticket, answer: Raised::Unknown(far()) });
    assert!(blocks(&effects), "{effects:?}");
    assert!(matches!(effects.last(), Some(Effect::Destroy { .. })), "{effects:?}");
    let Some(Effect::Destroy { ticket, .. }) = effects.last() else { unreachable!() };
    bench.destroyed(*ticket);
    let before = bench.now;
    create_ticket(&bench.wake());
    assert_eq!(bench.now.since(before), TOO_FAR);
}

#[test]
fn an_answer_about_the_fence_of_a_session_that_is_gone_changes_nothing() {
    let late = |ticket| Event::Raised { ticket, answer: Raised::Unknown(far()) };

    // It was stopped, and its session is being destroyed.
    let (mut bench, raise) = Bench::created();
    let effects = bench.step(Event::Stop);
    let [Effect::Destroy { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    let effects = bench.step(late(raise));
    assert!(effects.is_empty(), "{effects:?}");
    let effects = bench.destroyed(ticket);
    assert!(matches!(effects[..], [Effect::Stopped { left: None }]), "{effects:?}");
    let effects = bench.step(late(raise));
    assert!(effects.is_empty(), "{effects:?}");
    assert!(bench.session.next_wakeup().is_none());

    // Its locks have not been told of its end yet: it may not be destroyed before.
    let (mut bench, view) = Bench::open();
    let generation = view.generation;
    let again = Request::RaiseFence { generation, seen: view.fence };
    let effects = bench.step(Event::Asked(again));
    let [Effect::Raise { ticket: raise, .. }] = effects[..] else { panic!("{effects:?}") };
    let reason = LossReason::StoreReplaced;
    let effects = bench.step(Event::Asked(Request::Distrust { generation, reason }));
    assert!(matches!(effects[..], [Effect::Notify(Notice::Closed { .. })]), "{effects:?}");
    let effects = bench.step(late(raise));
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn a_token_that_consul_does_not_know_costs_nothing_before_the_deadline() {
    let (mut bench, view) = Bench::open();
    let mut was_told = false;
    while view.cell.is_valid(bench.now) {
        let effects = bench.wake();
        let [Effect::Renew { ticket, .. }] = effects[..] else { break };
        let answer = Renewed::Unknown(Trouble::UnknownToken);
        let effects = bench.step(Event::Renewed { ticket, answer });
        was_told |=
            matches!(&effects[..], [Effect::Notify(Notice::Troubled(Error::Unavailable { .. }))]);
    }
    assert!(was_told);
    assert_eq!(bench.now.since(at(0)), Timing::default().lease());
}

#[test]
fn a_session_whose_token_is_unknown_is_not_destroyed_for_ever() {
    let (mut bench, mut ticket) = closed();
    for _ in 0..1_000 {
        let answer = Destroyed::Unknown(Trouble::UnknownToken);
        bench.step(Event::Destroyed { ticket, answer });
        if bench.session.next_wakeup().is_none() {
            return;
        }
        let effects = bench.wake();
        let [Effect::Destroy { ticket: again, .. }] = effects[..] else { panic!("{effects:?}") };
        ticket = again;
    }
    panic!("still destroyed at {:?}", bench.now);
}

#[test]
fn asking_when_the_next_tick_is_due_changes_nothing() {
    let (bench, view) = Bench::open();
    let due = bench.session.next_wakeup();
    assert_eq!(view.cell.ended(), None);
    view.cell.latch(LossReason::RuntimeFailed);
    let at_once = bench.session.next_wakeup().is_some_and(|at| at <= bench.now);
    assert!(at_once, "the end is due at once");
    assert!(due > Some(bench.now));
}

#[test]
fn an_answer_to_an_earlier_renewal_does_not_postpone_one_that_was_asked_for() {
    let (mut bench, _) = Bench::open();
    let earlier = bench.renewal();
    bench.now = bench.now + Duration::from_millis(10);
    let asked_at = bench.now;
    bench.step(Event::Asked(Request::Renew { generation: 1 }));
    bench.step(Event::Renewed { ticket: earlier, answer: alive() });
    bench.renewal();
    assert!(bench.now.since(asked_at) <= BETWEEN_RENEWALS);
}

#[test]
fn the_search_for_a_session_backs_off_and_ends_when_that_session_has_ended_by_itself() {
    let unanswered = || SessionsSeen::Unknown(unknown());
    // Consul shows no session to a token without the right.
    for answer in [unanswered, || all(&[])] {
        let (mut bench, mut ticket) = searching();
        let (began, mut searches) = (bench.now, 1);
        loop {
            bench.step(Event::Listed { ticket, answer: answer() });
            if !bench.session.tidying.expects_strays() {
                break;
            }
            let effects = next_of_interest(&mut bench);
            let [Effect::List { ticket: next }] = effects[..] else { panic!("{effects:?}") };
            (ticket, searches) = (next, searches + 1);
        }
        let ended_by = Duration::from_secs(30) + Timing::default().session_ttl * 3;
        assert!(bench.now.since(began) < ended_by);
        assert!((3..=8).contains(&searches), "{searches} searches");
    }
}
