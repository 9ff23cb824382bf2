//! The warden's order of events, one rule per test.

use std::sync::Arc;

use super::*;
use crate::{
    consul::fact::{Fence, SessionId},
    error::{Error, Step},
    protocol::cell::DeadlineCell,
};

struct Bench {
    warden: Warden,
    now: Moment,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { warden: Warden::default(), now: Moment::from_nanos(1_000_000_000) };
        assert_eq!(
            bench.step(Event::Start),
            [do_(ForActors::StartWatch), start_session(0, LeftBehind::Nothing)]
        );
        bench
    }

    /// A warden with an open session of generation 1.
    fn open() -> (Self, SessionView) {
        let (mut bench, view) = (Self::new(), view(1));
        bench.step(Event::Notified(Notice::Opened(view.clone())));
        (bench, view)
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.warden.handle(self.now, event, &mut effects);
        effects
    }

    /// Advances time until a tick is due.
    fn wait(&mut self) -> Vec<Effect> {
        self.now = self.warden.next_wakeup().expect("a tick is due");
        self.step(Event::Tick)
    }
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn view(generation: u64) -> SessionView {
    SessionView {
        generation,
        id: SessionId::from(format!("s{generation}").as_str()),
        cell: Arc::new(DeadlineCell::new(Moment::from_nanos(u64::MAX))),
        lease: Duration::from_secs(10),
        fence: Fence::Unraised,
    }
}

fn do_(order: ForActors) -> Effect {
    Effect::Actors(order)
}

fn to_session(told: Told) -> Effect {
    do_(ForActors::TellSession(told))
}

fn show(readiness: Readiness) -> Effect {
    do_(ForActors::Show(readiness))
}

fn start_session(generation: u64, left_behind: LeftBehind) -> Effect {
    do_(ForActors::StartSession { generation, left_behind })
}

fn start_lock(name: &str, worker: u64, recovering: bool) -> Effect {
    do_(ForActors::StartLock { key: key(name), worker, recovering })
}

fn lose_all(reason: LossReason) -> Effect {
    Effect::Slots(ForSlots::Lose { which: Which::All, reason })
}

fn notify_all(notice: Notice) -> Effect {
    Effect::Slots(ForSlots::Notify { which: Which::All, notice })
}

fn reap(names: &[&str]) -> Effect {
    Effect::Slots(ForSlots::Reap(Which::Of(names.iter().map(|name| key(name)).collect())))
}

fn trouble() -> Error {
    Error::unavailable(Step::CreateSession, "no answer")
}

#[test]
fn a_closed_generation_is_lost_then_made_known_and_then_the_session_may_go() {
    let (mut bench, _) = Bench::open();
    let reason = LossReason::DeadlinePassed;
    let closed = Notice::Closed { generation: 1, reason };
    assert_eq!(
        bench.step(Event::Notified(closed.clone())),
        [
            show(Readiness::Starting),
            lose_all(reason),
            notify_all(closed),
            to_session(Told::Closed { generation: 1 }),
        ]
    );
    assert!(bench.warden.view().is_none());
}

#[test]
fn a_slot_gets_the_open_session_and_an_actor_of_its_own_once() {
    let (mut bench, view) = Bench::open();
    let notice = Notice::Opened(view);
    let first = Effect::Slots(ForSlots::Notify { which: Which::Of(vec![key("a")]), notice });
    let made = bench.step(Event::SlotMade(key("a")));
    assert_eq!(made, [first, start_lock("a", 1, false)]);
    assert_eq!(bench.step(Event::SlotMade(key("a"))), []);
}

#[test]
fn trouble_is_passed_on_only_while_there_is_no_session() {
    let mut bench = Bench::new();
    let troubled = || Event::Notified(Notice::Troubled(trouble()));
    let told = [show(Readiness::Troubled(trouble())), notify_all(Notice::Troubled(trouble()))];
    assert_eq!(bench.step(troubled()), told);
    bench.step(Event::Notified(Notice::Opened(view(1))));
    assert_eq!(bench.step(troubled()), []);
}

#[test]
fn a_raised_fence_is_known_to_slots_that_are_made_later() {
    let (mut bench, _) = Bench::open();
    let fenced = Notice::Fenced { generation: 1, fence: Fence::At(7) };
    assert_eq!(bench.step(Event::Notified(fenced.clone())), [notify_all(fenced)]);
    assert_eq!(bench.warden.view().unwrap().fence, Fence::At(7));
}

#[test]
fn a_slot_is_reaped_a_while_after_its_actor_offered_to_go() {
    let mut bench = Bench::new();
    bench.step(Event::SlotMade(key("a")));
    let offered_at = bench.now;
    assert_eq!(bench.step(Event::Idle(key("a"))), []);
    assert_eq!(bench.wait(), [reap(&["a"])]);
    assert_eq!(bench.now.since(offered_at), LINGER);
    let reaped = Event::Reaped { keys: vec![key("a")], left: 0 };
    assert_eq!(bench.step(reaped), [do_(ForActors::Retire { key: key("a") })]);
    assert_eq!(bench.warden.next_wakeup(), None);
}

#[test]
fn a_slot_that_is_wanted_again_stays() {
    let mut bench = Bench::new();
    bench.step(Event::SlotMade(key("a")));
    bench.step(Event::Idle(key("a")));
    bench.wait();
    assert_eq!(bench.step(Event::Reaped { keys: vec![], left: 1 }), []);
    assert_eq!(bench.step(Event::SlotMade(key("a"))), [], "its actor is still there");
}

#[test]
fn a_suspect_session_is_replaced_when_nothing_is_owned_and_not_before() {
    let (mut bench, view) = Bench::open();
    let survey = || [Effect::Slots(ForSlots::Survey)];
    assert_eq!(bench.step(Event::Asked(Request::Suspect { generation: 1 })), []);
    assert_eq!(bench.wait(), survey());
    assert_eq!(bench.step(Event::Surveyed { owned: 1 }), []);
    assert_eq!(bench.wait(), survey());

    let reason = LossReason::SessionGone;
    let closed = Notice::Closed { generation: 1, reason };
    // Nothing is granted under it from this moment, even before the session is
    // notified.
    assert_eq!(
        bench.step(Event::Surveyed { owned: 0 }),
        [
            show(Readiness::Starting),
            lose_all(reason),
            notify_all(closed.clone()),
            to_session(Told::Asked(Request::Distrust { generation: 1, reason })),
        ]
    );
    assert_eq!(view.cell.ended(), Some(reason));
    let closed = bench.step(Event::Notified(closed));
    assert_eq!(closed, [to_session(Told::Closed { generation: 1 })]);
}

#[test]
fn a_generation_that_has_closed_is_suspect_no_more() {
    let (mut bench, _) = Bench::open();
    bench.step(Event::Asked(Request::Suspect { generation: 1 }));
    let reason = LossReason::DeadlinePassed;
    bench.step(Event::Notified(Notice::Closed { generation: 1, reason }));
    bench.step(Event::Notified(Notice::Opened(view(2))));
    assert_eq!(bench.wait(), []);
    bench.step(Event::Asked(Request::Suspect { generation: 1 }));
    assert_eq!(bench.warden.next_wakeup(), None);
    assert_eq!(bench.warden.view().unwrap().generation, 2);
}

#[test]
fn an_older_suspicion_does_not_replace_a_newer_one() {
    let (mut bench, _) = Bench::open();
    let reason = LossReason::DeadlinePassed;
    bench.step(Event::Notified(Notice::Closed { generation: 1, reason }));
    bench.step(Event::Notified(Notice::Opened(view(2))));
    bench.step(Event::Asked(Request::Suspect { generation: 2 }));
    bench.step(Event::Asked(Request::Suspect { generation: 1 }));
    assert_eq!(bench.wait(), [Effect::Slots(ForSlots::Survey)]);
    bench.step(Event::Surveyed { owned: 0 });
    assert!(bench.warden.view().is_none());
}

#[test]
fn other_requests_go_to_the_session() {
    let (mut bench, _) = Bench::open();
    let request = Request::RaiseFence { generation: 1, seen: Fence::Unraised };
    let asked = bench.step(Event::Asked(request.clone()));
    assert_eq!(asked, [to_session(Told::Asked(request))]);
}

#[test]
fn a_shutdown_refuses_callers_gives_keys_back_and_then_ends_the_session() {
    let (mut bench, _) = Bench::open();
    bench.step(Event::SlotMade(key("a")));
    assert_eq!(
        bench.step(Event::Stop { limit: Duration::from_secs(5) }),
        [
            show(Readiness::Stopped),
            Effect::Slots(ForSlots::StopCallers),
            Effect::Slots(ForSlots::Reap(Which::All)),
        ]
    );
    assert_eq!(bench.step(Event::Reaped { keys: vec![], left: 1 }), []);
    assert_eq!(bench.step(Event::Idle(key("a"))), [reap(&["a"])], "without lingering");
    let retire = do_(ForActors::Retire { key: key("a") });
    let reaped = bench.step(Event::Reaped { keys: vec![key("a")], left: 0 });
    assert_eq!(reaped, [retire, to_session(Told::Stop)]);
    let finished = bench.step(Event::SessionStopped { left: None });
    assert_eq!(finished, [do_(ForActors::Finish(End::Orderly))]);
    assert_eq!(bench.step(Event::Idle(key("a"))), []);
    assert_eq!(bench.warden.next_wakeup(), None);
}

#[test]
fn a_shutdown_ends_at_its_limit() {
    let (mut bench, _) = Bench::open();
    let (limit, asked_at) = (Duration::from_secs(5), bench.now);
    bench.step(Event::Stop { limit });
    bench.step(Event::Reaped { keys: vec![], left: 1 });
    assert_eq!(bench.step(Event::Stop { limit: Duration::from_secs(1) }), [], "the first counts");
    assert_eq!(bench.wait(), [do_(ForActors::Finish(End::LimitPassed))]);
    assert_eq!(bench.now.since(asked_at), limit);
    assert_eq!(bench.step(Event::SessionStopped { left: None }), [], "it has ended once");
}

#[test]
fn a_shutdown_that_ends_as_its_limit_passes_ends_once() {
    let (mut bench, _) = Bench::open();
    let limit = Duration::from_secs(5);
    bench.step(Event::Stop { limit });
    bench.step(Event::Reaped { keys: vec![], left: 0 });
    bench.now = bench.now + limit;
    let finished = bench.step(Event::SessionStopped { left: None });
    assert_eq!(finished, [do_(ForActors::Finish(End::Orderly))]);
}

#[test]
fn a_shutdown_says_which_right_to_destroy_the_session_was_missing() {
    let (mut bench, _) = Bench::open();
    bench.step(Event::Stop { limit: Duration::from_secs(5) });
    let denied = Error::Denied { right: "session:write".into() };
    let finished = bench.step(Event::SessionStopped { left: Some(denied.clone()) });
    assert_eq!(finished, [do_(ForActors::Finish(End::SessionLeft(denied)))]);
}

#[test]
fn a_shutdown_stays_one_whatever_becomes_of_the_session() {
    let (mut bench, view) = Bench::open();
    bench.step(Event::Stop { limit: Duration::from_secs(5) });
    bench.step(Event::Reaped { keys: vec![], left: 0 });
    assert_eq!(
        bench.step(Event::SessionDied)[2..],
        [start_session(1, LeftBehind::Session(view.id)), Effect::Slots(ForSlots::Reap(Which::All))]
    );
    // Readiness is not published again, and the new session ends as well.
    assert_eq!(bench.step(Event::Reaped { keys: vec![], left: 0 }), [to_session(Told::Stop)]);
    let opened = Notice::Opened(super::tests::view(2));
    let told = bench.step(Event::Notified(opened.clone()));
    assert_eq!(told, [notify_all(opened)]);
}

#[test]
fn a_dead_session_is_lost_before_another_begins_and_left_for_that_to_destroy() {
    let (mut bench, view) = Bench::open();
    let reason = LossReason::RuntimeFailed;
    assert_eq!(
        bench.step(Event::SessionDied),
        [
            show(Readiness::Starting),
            lose_all(reason),
            notify_all(Notice::Closed { generation: 1, reason }),
            start_session(1, LeftBehind::Session(view.id.clone())),
        ]
    );
    assert_eq!(view.cell.ended(), Some(reason));
    // It dies again before it opens a session.
    assert_eq!(bench.step(Event::SessionDied), [start_session(1, LeftBehind::Session(view.id))]);
}

#[test]
fn a_session_that_dies_after_it_closed_is_destroyed_all_the_same() {
    let (mut bench, view) = Bench::open();
    let reason = LossReason::SessionGone;
    bench.step(Event::Notified(Notice::Closed { generation: 1, reason }));
    assert_eq!(bench.step(Event::SessionDied), [start_session(1, LeftBehind::Session(view.id))]);
}

#[test]
fn a_dead_lock_loses_its_key_before_its_successor_begins() {
    let mut bench = Bench::new();
    bench.step(Event::SlotMade(key("a")));
    let (which, reason) = (Which::Of(vec![key("a")]), LossReason::RuntimeFailed);
    assert_eq!(
        bench.step(Event::LockDied { key: key("a"), worker: 1 }),
        [Effect::Slots(ForSlots::Lose { which, reason }), start_lock("a", 2, true)]
    );
    assert_eq!(bench.step(Event::LockDied { key: key("a"), worker: 1 }), [], "another lives");
}

#[test]
fn a_dead_watch_has_a_successor_before_the_locks_watch_again() {
    let mut bench = Bench::new();
    let effects = bench.step(Event::WatchDied);
    assert_eq!(effects, [do_(ForActors::StartWatch), Effect::Slots(ForSlots::WatchLost)]);
}

#[test]
fn a_session_actor_that_died_before_its_first_session_may_have_left_one() {
    let mut bench = Bench::new();
    let effects = bench.step(Event::SessionDied);
    assert_eq!(effects, [start_session(0, LeftBehind::Unknown)]);
}

#[test]
fn a_slot_that_is_made_while_there_is_no_session_learns_why() {
    let mut bench = Bench::new();
    bench.step(Event::Notified(Notice::Troubled(trouble())));
    let notice = Notice::Troubled(trouble());
    let told = Effect::Slots(ForSlots::Notify { which: Which::Of(vec![key("a")]), notice });
    assert_eq!(bench.step(Event::SlotMade(key("a"))), [told, start_lock("a", 1, false)]);
    bench.step(Event::Notified(Notice::Opened(view(1))));
    let reason = LossReason::DeadlinePassed;
    bench.step(Event::Notified(Notice::Closed { generation: 1, reason }));
    assert_eq!(bench.step(Event::SlotMade(key("b"))), [start_lock("b", 2, false)]);
}

#[test]
fn a_slot_whose_actor_died_is_not_reaped_before_its_successor_offers_to_go() {
    let (mut bench, _) = Bench::open();
    bench.step(Event::SlotMade(key("a")));
    bench.step(Event::Idle(key("a")));
    bench.step(Event::LockDied { key: key("a"), worker: 1 });
    assert_eq!(bench.wait(), []);
    bench.step(Event::Idle(key("a")));
    assert_eq!(bench.wait(), [reap(&["a"])]);
}
