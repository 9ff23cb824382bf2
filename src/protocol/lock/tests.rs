//! The lock machine's rules, one per test.

mod follow;
mod leftover;
mod others;
mod sets;
mod write;

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    consul::fact::{Entry, Locked, Released, SessionSeen, Trouble},
    error::{Error, Step},
    protocol::{
        cell::DeadlineCell,
        session::{Notice, Request},
    },
};

const FLAGS: u64 = 7;
const LEASE: Duration = Duration::from_secs(14);

fn at(millis: u64) -> Moment {
    Moment::default() + Duration::from_secs(1_000) + Duration::from_millis(millis)
}

fn view(generation: u64) -> SessionView {
    SessionView {
        generation,
        id: SessionId::from(format!("ours-{generation}").as_str()),
        cell: Arc::new(DeadlineCell::new(at(1_000_000))),
        lease: LEASE,
        fence: Fence::At(1),
    }
}

fn waiting() -> Demand {
    Demand { patient: true, ..Demand::default() }
}

fn trying() -> Demand {
    Demand { impatient: true, ..Demand::default() }
}

fn keeping() -> Demand {
    Demand { keep: true, ..Demand::default() }
}

fn found(session: Option<&str>, index: u64) -> Seen {
    let entry = Entry {
        session: session.map(SessionId::from),
        modify_index: index,
        lock_index: 1,
        flags: FLAGS,
        value: Vec::new(),
    };
    Seen::Found { entry, index }
}

fn unknown() -> Trouble {
    Trouble::Timeout(Duration::from_secs(2))
}

/// A machine stepped by hand.
struct Bench {
    lock: Lock,
    now: Moment,
}

impl Bench {
    fn new() -> Self {
        Self { lock: Lock::new(FLAGS, 1), now: at(0) }
    }

    /// A machine with a session and a waiting caller.
    fn contending() -> (Self, Ticket) {
        let mut bench = Self::new();
        bench.step(Event::Session(Notice::Opened(view(1))));
        let effects = bench.step(Event::Demand(waiting()));
        let ticket = lock_ticket(&effects);
        (bench, ticket)
    }

    /// A machine that owns the key, won at `index`.
    fn owning(index: u64) -> Self {
        let (mut bench, ticket) = Self::contending();
        let effects = bench.step(Event::Locked { ticket, answer: Locked::At(index) });
        assert!(matches!(effects[..], [Effect::Own { index: won, .. }] if won == index));
        assert_eq!(bench.step(Event::Demand(keeping())), []);
        bench
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.lock.handle(self.now, event, &mut effects);
        effects
    }

    /// Advances time to the next wakeup.
    fn wake(&mut self) -> Vec<Effect> {
        self.now = self.lock.next_wakeup().expect("nothing is due").max(self.now);
        self.step(Event::Tick)
    }

    fn release_ticket(&mut self) -> Ticket {
        release_ticket(&self.step(Event::Demand(Demand::default())))
    }
}

fn lock_ticket(effects: &[Effect]) -> Ticket {
    match effects {
        [.., Effect::Lock { ticket, .. }] => *ticket,
        other => panic!("no lock is sent: {other:?}"),
    }
}

fn release_ticket(effects: &[Effect]) -> Ticket {
    match effects {
        [.., Effect::Release { ticket, .. }] => *ticket,
        other => panic!("no release is sent: {other:?}"),
    }
}

fn read_ticket(effects: &[Effect]) -> Ticket {
    match effects {
        [.., Effect::Read { ticket }] => *ticket,
        other => panic!("no read is sent: {other:?}"),
    }
}

fn watch_ticket(effects: &[Effect]) -> Ticket {
    match effects {
        [.., Effect::Watch { ticket, .. }] => *ticket,
        other => panic!("no watch is sent: {other:?}"),
    }
}

#[test]
fn does_nothing_without_a_session_or_a_caller() {
    let mut bench = Bench::new();
    assert_eq!(bench.step(Event::Demand(waiting())), []);
    assert_eq!(bench.step(Event::Demand(Demand::default())), []);
    assert_eq!(bench.step(Event::Session(Notice::Opened(view(1)))), []);
    assert!(bench.lock.is_quiet());
}

#[test]
fn never_locks_a_key_blindly() {
    let (_, _) = Bench::contending();
    let mut bench = Bench::new();
    bench.step(Event::Session(Notice::Opened(view(1))));
    let effects = bench.step(Event::Demand(waiting()));
    assert!(matches!(effects[..], [Effect::Lock { expect: Expect::Missing, .. }]));
    let ticket = lock_ticket(&effects);
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    let effects = bench.step(Event::Read { ticket, answer: found(None, 40) });
    assert!(matches!(effects[..], [Effect::Lock { expect: Expect::Index(40), .. }]));
}

#[test]
fn a_key_with_foreign_flags_is_refused() {
    let (mut bench, ticket) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    let Seen::Found { mut entry, index } = found(None, 40) else { unreachable!() };
    entry.flags = 0;
    entry.value = b"precious".to_vec();
    let effects = bench.step(Event::Read { ticket, answer: Seen::Found { entry, index } });
    assert_eq!(effects, [Effect::Failed(Obstacle::Foreign { flags: 0 })]);
    assert!(bench.lock.is_quiet());
}

#[test]
fn what_an_operator_leaves_of_a_lock_is_no_conflict() {
    let remnant = |session, flags, lock_index| {
        let (mut bench, ticket) = Bench::contending();
        let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
        let Seen::Found { mut entry, index } = found(session, 40) else { unreachable!() };
        (entry.flags, entry.lock_index) = (flags, lock_index);
        bench.step(Event::Read { ticket, answer: Seen::Found { entry, index } })
    };
    let effects = remnant(None, 0, 1);
    assert!(matches!(effects[..], [Effect::Lock { expect: Expect::Index(40), .. }]));
    // A held key with an overwritten value is waited for.
    let effects = remnant(Some("other"), 0, 0);
    assert!(matches!(
        effects[..],
        [Effect::Obstructed(Obstacle::Held(_)), _, Effect::Watch { .. }]
    ));
    for effects in [remnant(None, 0, 0), remnant(Some("other"), 3, 1), remnant(None, 3, 1)] {
        assert!(matches!(effects[..], [Effect::Failed(Obstacle::Foreign { .. })]));
    }
}

#[test]
fn a_holders_names_are_added_when_they_are_known() {
    let (mut bench, ticket) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 40) });
    let Effect::AskSession { ticket, .. } = effects[1] else { panic!("{effects:?}") };
    let answer = SessionSeen::Exists {
        name: "orders".into(),
        node: "n1".into(),
        lock_delay: Duration::from_secs(5),
        ttl: None,
    };
    let effects = bench.step(Event::SessionSeen { ticket, answer });
    let [Effect::Obstructed(Obstacle::Held(holder))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(holder.session_name.as_deref(), Some("orders"));
    assert_eq!(holder.node.as_deref(), Some("n1"));
}

#[test]
fn an_answer_with_an_old_ticket_grants_nothing() {
    let (mut bench, old) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket: old, answer: Locked::Changed }));
    assert_eq!(bench.step(Event::Locked { ticket: old, answer: Locked::At(9) }), []);
    bench.step(Event::Read { ticket, answer: found(None, 40) });
    assert_eq!(bench.step(Event::Locked { ticket: old, answer: Locked::At(9) }), []);
    assert!(!bench.lock.owns());
}

#[test]
fn who_does_not_wait_is_told_the_holder_and_leaves_nothing_contending() {
    let mut bench = Bench::new();
    bench.step(Event::Session(Notice::Opened(view(1))));
    let ticket = lock_ticket(&bench.step(Event::Demand(trying())));
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 40) });
    let [Effect::Obstructed(Obstacle::Held(holder))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(holder.session, "other");
    bench.step(Event::Demand(Demand::default()));
    assert!(bench.lock.is_quiet());
}

#[test]
fn who_does_not_wait_is_told_while_the_outcome_of_an_attempt_or_a_release_is_unknown() {
    let in_vain = |bench: &mut Bench, demand: Demand| {
        let effects = bench.step(Event::Demand(Demand { impatient: true, ..demand }));
        let [Effect::Obstructed(Obstacle::Trouble(error))] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    };
    let (mut bench, ticket) = Bench::contending();
    bench.step(Event::Locked { ticket, answer: Locked::Unknown(unknown()) });
    in_vain(&mut bench, waiting());
    in_vain(&mut bench, waiting());

    let mut bench = Bench::owning(9);
    let ticket = bench.release_ticket();
    assert_eq!(bench.step(Event::Demand(trying())), [], "it may be released in a moment");
    bench.step(Event::Released { ticket, answer: Released::Unknown(unknown()) });
    in_vain(&mut bench, Demand::default());
    let ticket = release_ticket(&bench.wake());
    bench.step(Event::Released { ticket, answer: Released::Done });
    let effects = bench.step(Event::Demand(trying()));
    assert!(matches!(effects[..], [Effect::Lock { .. }]), "{effects:?}");
}

#[test]
fn who_does_not_wait_is_told_when_the_fence_is_not_raised_in_a_second() {
    let refused = |bench: &mut Bench| {
        assert_eq!(bench.step(Event::Demand(trying())), [], "it may be raised in a moment");
        let since = bench.now;
        let effects = bench.wake();
        let [Effect::Obstructed(Obstacle::Trouble(error))] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert_eq!(bench.now.since(since), Duration::from_secs(1));
        assert_eq!(bench.lock.next_wakeup(), None);
    };
    let (mut bench, ticket) = Bench::contending();
    bench.step(Event::Locked { ticket, answer: Locked::Fenced });
    refused(&mut bench);

    let mut bench = Bench::owning(9);
    bench.lock.recover(bench.now, 9, &mut Vec::new());
    refused(&mut bench);
}

#[test]
fn who_does_not_wait_is_told_while_others_keep_writing_the_key_that_is_released() {
    let mut bench = Bench::owning(9);
    let ticket = bench.release_ticket();
    let ticket =
        read_ticket(&bench.step(Event::Released { ticket, answer: Released::FenceFailed }));
    let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 12) });
    let ticket = release_ticket(&effects);
    bench.step(Event::Released { ticket, answer: Released::FenceFailed });
    let effects = bench.step(Event::Demand(trying()));
    assert!(matches!(effects[..], [Effect::Obstructed(Obstacle::Trouble(_))]), "{effects:?}");
}

#[test]
fn who_does_not_wait_is_told_why_there_is_no_session() {
    let why = "no answer".to_owned();
    let error = Error::unavailable(Step::CreateSession, why);
    for follow in [false, true] {
        let mut bench = Bench::new();
        bench.step(Event::Session(Notice::Troubled(error.clone())));
        let mut effects = bench.step(Event::Demand(Demand { follow, ..trying() }));
        if follow {
            let ticket = read_ticket(&effects);
            effects = bench.step(Event::Read { ticket, answer: found(None, 5) });
        }
        let trouble = Effect::Obstructed(Obstacle::Trouble(error.clone()));
        assert!(effects.contains(&trouble), "{effects:?}");
        assert_eq!(bench.step(Event::Demand(waiting())), [], "others wait");
        bench.step(Event::Session(Notice::Opened(view(1))));
        let reason = LossReason::DeadlinePassed;
        bench.step(Event::Session(Notice::Closed { generation: 1, reason }));
        bench.step(Event::Demand(Demand::default()));
        assert_eq!(bench.step(Event::Demand(trying())), [], "the reason was of another session");
    }
}

#[test]
fn a_machine_that_distrusts_its_session_is_busy_until_that_is_closed() {
    let (mut bench, ticket) = Bench::contending();
    bench.step(Event::Demand(Demand::default()));
    bench.step(Event::Locked { ticket, answer: Locked::SessionGone });
    assert!(!bench.lock.is_quiet());
    let reason = LossReason::SessionGone;
    bench.step(Event::Session(Notice::Closed { generation: 1, reason }));
    assert!(bench.lock.is_quiet());
}

#[test]
fn an_attempt_is_void_if_the_fence_was_raised_for_another_key() {
    for answer in [Locked::Fenced, Locked::Unknown(unknown())] {
        let (mut bench, ticket) = Bench::contending();
        bench.step(Event::Session(Notice::Fenced { generation: 1, fence: Fence::At(60) }));
        let effects = bench.step(Event::Locked { ticket, answer });
        read_ticket(&effects);
        let raises =
            |effect: &Effect| matches!(effect, Effect::Request(Request::RaiseFence { .. }));
        assert!(!effects.iter().any(raises), "{effects:?}");
    }
    // One that does not check the fence is not void.
    let mut bench = Bench::new();
    bench.step(Event::Session(Notice::Opened(SessionView { fence: Fence::Unusable, ..view(1) })));
    let ticket = lock_ticket(&bench.step(Event::Demand(waiting())));
    bench.step(Event::Session(Notice::Fenced { generation: 1, fence: Fence::At(60) }));
    let effects = bench.step(Event::Locked { ticket, answer: Locked::Unknown(unknown()) });
    assert!(
        matches!(effects[..], [.., Effect::Request(Request::RaiseFence { .. })]),
        "{effects:?}"
    );
}

#[test]
fn a_changed_value_of_the_holder_is_known_to_those_who_wait() {
    let (mut bench, ticket) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 40) });
    let Seen::Found { mut entry, .. } = found(Some("other"), 41) else { unreachable!() };
    entry.value = b"moved".to_vec();
    let (ticket, answer) = (watch_ticket(&effects), Seen::Found { entry, index: 41 });
    let effects = bench.step(Event::Watched { ticket, answer });
    let [Effect::Obstructed(Obstacle::Held(holder)), Effect::Watch { .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(&*holder.value, b"moved");
}

#[test]
fn who_does_not_wait_is_told_during_the_wait_of_others() {
    let (mut bench, ticket) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    bench.step(Event::Read { ticket, answer: found(Some("other"), 40) });
    let both = Demand { impatient: true, ..waiting() };
    let effects = bench.step(Event::Demand(both));
    assert!(matches!(effects[..], [Effect::Obstructed(Obstacle::Held(_))]));
}

#[test]
fn waits_for_the_holder_and_tries_when_it_is_gone() {
    let (mut bench, ticket) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 40) });
    assert!(matches!(effects[1], Effect::AskSession { .. }));
    assert!(matches!(effects[2], Effect::Watch { after: 40, .. }));
    let ticket = watch_ticket(&effects);
    // The wait timed out: watch again, without another attempt.
    let effects = bench.step(Event::Watched { ticket, answer: found(Some("other"), 40) });
    let ticket = watch_ticket(&effects);
    let effects = bench.step(Event::Watched { ticket, answer: Seen::Missing { index: 50 } });
    assert!(matches!(effects[..], [Effect::Lock { expect: Expect::Missing, .. }]));
}

#[test]
fn tries_exactly_at_the_end_of_a_lock_delay_that_it_saw_begin() {
    let (mut bench, ticket) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 40) });
    let Effect::AskSession { ticket: asked, .. } = effects[1] else { panic!("{effects:?}") };
    let answer = SessionSeen::Exists {
        name: String::new(),
        node: String::new(),
        lock_delay: Duration::from_secs(5),
        ttl: None,
    };
    bench.step(Event::SessionSeen { ticket: asked, answer });
    let freed_at = bench.now;
    let effects =
        bench.step(Event::Watched { ticket: watch_ticket(&effects), answer: found(None, 41) });
    let ticket = lock_ticket(&effects);
    bench.now = bench.now + Duration::from_millis(3);
    let effects = bench.step(Event::Locked { ticket, answer: Locked::Delayed });
    let remaining = Some(Duration::from_millis(4_997));
    assert_eq!(effects, [Effect::Obstructed(Obstacle::Delayed { remaining })]);
    assert_eq!(bench.lock.next_wakeup(), Some(freed_at + Duration::from_secs(5)));
    assert!(matches!(bench.wake()[..], [Effect::Lock { expect: Expect::Index(41), .. }]));
}

#[test]
fn backs_off_from_a_lock_delay_of_unknown_length() {
    let (mut bench, mut ticket) = Bench::contending();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let effects = bench.step(Event::Locked { ticket, answer: Locked::Delayed });
        assert_eq!(effects, [Effect::Obstructed(Obstacle::Delayed { remaining: None })]);
        let before = bench.now;
        ticket = lock_ticket(&bench.wake());
        pauses.push(bench.now.since(before));
    }
    assert!(pauses[0] <= Duration::from_millis(50), "{pauses:?}");
    assert!(pauses[7] >= Duration::from_millis(250), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(500)), "{pauses:?}");
}

#[test]
fn an_attempt_of_unknown_outcome_is_made_void_before_a_read_decides() {
    let (mut bench, ticket) = Bench::contending();
    let effects = bench.step(Event::Locked { ticket, answer: Locked::Unknown(unknown()) });
    let raise = Effect::Request(Request::RaiseFence { generation: 1, seen: Fence::At(1) });
    assert!(matches!(effects[0], Effect::Obstructed(Obstacle::Trouble(_))));
    assert_eq!(effects[1..], [raise]);
    // The same fence again proves nothing.
    assert_eq!(
        bench.step(Event::Session(Notice::Fenced { generation: 1, fence: Fence::At(1) })),
        []
    );
    let effects =
        bench.step(Event::Session(Notice::Fenced { generation: 1, fence: Fence::At(60) }));
    let ticket = read_ticket(&effects);
    // It took effect, but only the answer to a new attempt grants the key.
    let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 55) });
    let [Effect::Lock { ticket, fence: Fence::At(60), expect: Expect::Index(55), .. }] =
        effects[..]
    else {
        panic!("{effects:?}")
    };
    let effects = bench.step(Event::Locked { ticket, answer: Locked::At(55) });
    assert!(matches!(effects[..], [Effect::Own { index: 55, .. }]));
}

#[test]
fn attempts_that_are_never_answered_clearly_are_made_after_growing_pauses() {
    let (mut bench, mut ticket) = Bench::contending();
    let mut pauses = Vec::new();
    for round in 1..10 {
        bench.step(Event::Locked { ticket, answer: Locked::Unknown(unknown()) });
        let fence = Fence::At(60 + round);
        let mut effects = bench.step(Event::Session(Notice::Fenced { generation: 1, fence }));
        let before = bench.now;
        if effects.is_empty() {
            effects = bench.wake();
        }
        pauses.push(bench.now.since(before));
        let read = read_ticket(&effects);
        ticket =
            lock_ticket(&bench.step(Event::Read { ticket: read, answer: found(None, 40 + round) }));
    }
    assert_eq!(pauses[0], Duration::ZERO, "one lost reply delays nothing");
    assert!(pauses[1..].iter().all(|pause| !pause.is_zero()), "{pauses:?}");
    assert!(pauses[8] >= Duration::from_millis(500), "{pauses:?}");
    // A clear answer ends the row.
    bench.step(Event::Locked { ticket, answer: Locked::Held });
    assert_eq!(bench.lock.unclear, 0);
}

#[test]
fn an_attempt_that_was_never_sent_is_made_again_and_nothing_is_made_void() {
    let (mut bench, ticket) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    let mut effects = bench.step(Event::Read { ticket, answer: found(None, 40) });
    let since = bench.now;
    for _ in 0..5 {
        let ticket = lock_ticket(&effects);
        let answer = Locked::Unsent(Trouble::InLine(Duration::from_secs(2)));
        let told = bench.step(Event::Locked { ticket, answer });
        assert!(matches!(told[..], [Effect::Obstructed(Obstacle::Trouble(_))]), "{told:?}");
        effects = bench.wake();
        assert!(matches!(effects[..], [Effect::Lock { expect: Expect::Index(40), .. }]));
    }
    assert!(bench.now.since(since) > Duration::from_secs(1), "it does not pause");
    // A caller that leaves must not leave a lock behind.
    let ticket = lock_ticket(&effects);
    assert_eq!(bench.step(Event::Demand(Demand::default())), []);
    let answer = Locked::Unsent(Trouble::Connect("refused".into()));
    bench.step(Event::Locked { ticket, answer });
    assert!(bench.lock.is_quiet());
}

#[test]
fn what_a_late_attempt_took_is_given_back_if_a_lock_delay_keeps_it_from_being_had() {
    let (mut bench, ticket) = Bench::contending();
    let ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 41) });
    let ticket = lock_ticket(&effects);
    let effects = bench.step(Event::Locked { ticket, answer: Locked::Delayed });
    assert!(matches!(effects[..], [Effect::Release { index: 41, .. }]), "{effects:?}");
}

#[test]
fn what_a_copy_of_a_refused_attempt_took_is_given_back_however_long_it_cannot_be_read() {
    let (mut bench, ticket) = Bench::contending();
    let mut ticket = read_ticket(&bench.step(Event::Locked { ticket, answer: Locked::Changed }));
    assert_eq!(bench.step(Event::Demand(Demand::default())), []);
    for _ in 0..20 {
        let told = bench.step(Event::Read { ticket, answer: Seen::Unknown(unknown()) });
        assert!(told.iter().all(|effect| matches!(effect, Effect::Obstructed(_))), "{told:?}");
        ticket = read_ticket(&bench.wake());
    }
    let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 41) });
    assert!(matches!(effects[..], [Effect::Release { index: 41, .. }]), "{effects:?}");
}

#[test]
fn what_a_late_attempt_took_is_given_back_if_nobody_wants_it_any_more() {
    let (mut bench, ticket) = Bench::contending();
    bench.step(Event::Locked { ticket, answer: Locked::Unknown(unknown()) });
    assert_eq!(bench.step(Event::Demand(Demand::default())), []);
    assert!(!bench.lock.is_quiet(), "the attempt may still take effect");
    let effects =
        bench.step(Event::Session(Notice::Fenced { generation: 1, fence: Fence::At(60) }));
    let ticket = read_ticket(&effects);
    let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 55) });
    assert!(matches!(effects[..], [Effect::Release { index: 55, .. }]));
}

#[test]
fn without_a_fence_the_key_is_looked_at_until_the_session_has_ended() {
    let (mut bench, ticket) = Bench::contending();
    bench.step(Event::Locked { ticket, answer: Locked::Unknown(unknown()) });
    bench.step(Event::Demand(Demand::default()));
    let effects =
        bench.step(Event::Session(Notice::Fenced { generation: 1, fence: Fence::Unusable }));
    assert!(matches!(
        effects[..],
        [Effect::Request(Request::Suspect { generation: 1 }), Effect::Read { .. }]
    ));
    let ticket = read_ticket(&effects);
    bench.step(Event::Read { ticket, answer: Seen::Missing { index: 50 } });
    for _ in 0..3 {
        let ticket = read_ticket(&bench.wake());
        bench.step(Event::Read { ticket, answer: Seen::Missing { index: 50 } });
    }
    let ticket = read_ticket(&bench.wake());
    let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 55) });
    let ticket = release_ticket(&effects);
    bench.step(Event::Released { ticket, answer: Released::Done });
    assert!(!bench.lock.is_quiet());
    bench.step(Event::Session(Notice::Closed { generation: 1, reason: LossReason::SessionGone }));
    assert!(bench.lock.is_quiet());
}

#[test]
fn a_grant_that_nobody_wants_any_more_is_given_back() {
    let (mut bench, ticket) = Bench::contending();
    bench.step(Event::Demand(Demand::default()));
    let effects = bench.step(Event::Locked { ticket, answer: Locked::At(9) });
    let ticket = release_ticket(&effects);
    assert_eq!(effects.len(), 1);
    let effects = bench.step(Event::Released { ticket, answer: Released::Done });
    assert_eq!(effects, [Effect::Released]);
    assert!(bench.lock.is_quiet());
}

#[test]
fn a_grant_under_a_passed_deadline_is_given_back() {
    let (mut bench, ticket) = Bench::contending();
    bench.now = at(2_000_000);
    let effects = bench.step(Event::Locked { ticket, answer: Locked::At(9) });
    assert!(matches!(effects[..], [Effect::Release { .. }]));
}

#[test]
fn no_lock_is_sent_until_a_release_is_concluded() {
    let mut bench = Bench::owning(9);
    let ticket = release_ticket(&bench.step(Event::Demand(Demand::default())));
    assert_eq!(bench.step(Event::Demand(waiting())), []);
    let answer = Released::Unknown(unknown());
    assert_eq!(bench.step(Event::Released { ticket, answer }), []);
    let ticket = release_ticket(&bench.wake());
    // The first release had arrived: the second fails, and a read shows the holder.
    let answer = Released::FenceFailed;
    let ticket = read_ticket(&bench.step(Event::Released { ticket, answer }));
    let effects = bench.step(Event::Read { ticket, answer: Seen::Missing { index: 30 } });
    assert!(matches!(effects[..], [Effect::Released, Effect::Lock { .. }]), "{effects:?}");
}

/// Gives every release this answer until another effect follows. Returns those
/// effects and the time that it took.
fn released_in_vain(bench: &mut Bench, answer: &Released) -> (Duration, Vec<Effect>) {
    let mut ticket = bench.release_ticket();
    let since = bench.now;
    loop {
        let effects = bench.step(Event::Released { ticket, answer: answer.clone() });
        if !effects.is_empty() || bench.now.since(since) > 3 * LEASE {
            return (bench.now.since(since), effects);
        }
        ticket = release_ticket(&bench.wake());
    }
}

#[test]
fn a_release_that_consul_refuses_is_left_to_the_sessions_end_and_goes_on() {
    let mut bench = Bench::owning(9);
    let right = "key:write on \"k\"".to_owned();
    let answer = Released::Denied(right.clone());
    let (after, effects) = released_in_vain(&mut bench, &answer);
    let told = [
        Effect::Unreleased(Error::Denied { right }),
        Effect::Request(Request::Suspect { generation: 1 }),
    ];
    assert_eq!((after, &effects[..]), (Duration::ZERO, &told[..]));
    // Reported once: the session stays while other keys are owned.
    for _ in 0..20 {
        let ticket = release_ticket(&bench.wake());
        assert_eq!(bench.step(Event::Released { ticket, answer: answer.clone() }), []);
    }
    let ticket = release_ticket(&bench.wake());
    assert_eq!(bench.step(Event::Released { ticket, answer: Released::Done }), [Effect::Released]);
}

#[test]
fn who_does_not_wait_is_told_of_a_release_that_consul_refuses() {
    let mut bench = Bench::owning(9);
    let error = Error::Denied { right: "key:write on \"k\"".to_owned() };
    let answer = Released::Denied("key:write on \"k\"".to_owned());
    released_in_vain(&mut bench, &answer);
    let effects = bench.step(Event::Demand(trying()));
    assert_eq!(effects, [Effect::Obstructed(Obstacle::Trouble(error))]);
}

#[test]
fn a_release_in_vain_for_a_lease_that_was_renewed_is_left_to_the_sessions_end() {
    let mut bench = Bench::owning(9);
    let (after, effects) = released_in_vain(&mut bench, &Released::Unknown(unknown()));
    let [
        Effect::Unreleased(Error::Unavailable { .. }),
        Effect::Request(Request::Suspect { generation: 1 }),
    ] = effects[..]
    else {
        panic!("{effects:?}")
    };
    assert!(after >= LEASE && after <= LEASE + Duration::from_secs(1), "{after:?}");
    let reason = LossReason::SessionGone;
    let closed = bench.step(Event::Session(Notice::Closed { generation: 1, reason }));
    assert_eq!(closed, [Effect::Lost { reason }]);
    assert!(bench.lock.is_quiet());
}

#[test]
fn an_outage_in_which_a_release_is_not_answered_costs_no_session() {
    let mut bench = Bench::new();
    let mut view = view(1);
    // The last answered renewal; later ones get no answer.
    view.cell = Arc::new(DeadlineCell::new(bench.now + LEASE));
    bench.step(Event::Session(Notice::Opened(view)));
    let ticket = lock_ticket(&bench.step(Event::Demand(waiting())));
    bench.step(Event::Locked { ticket, answer: Locked::At(9) });
    bench.step(Event::Demand(keeping()));
    let (_, effects) = released_in_vain(&mut bench, &Released::Unknown(unknown()));
    assert_eq!(effects, []);
}

#[test]
fn a_lock_below_the_index_of_an_ended_ownership_is_of_another_store() {
    let mut bench = Bench::owning(900);
    let ticket = bench.release_ticket();
    bench.step(Event::Released { ticket, answer: Released::Done });
    let ticket = lock_ticket(&bench.step(Event::Demand(waiting())));
    let effects = bench.step(Event::Locked { ticket, answer: Locked::At(30) });
    let reason = LossReason::StoreReplaced;
    // The end of the session starts no lock-delay: nobody was granted the lock.
    let request = |request| Effect::Request(request);
    let [Effect::Release { ticket, index: 30, .. }, begun, distrust] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(*begun, request(Request::ReleaseBegun { generation: 1 }));
    assert_eq!(*distrust, request(Request::Distrust { generation: 1, reason }));
    assert!(!bench.lock.is_quiet(), "the answer is needed");
    let effects = bench.step(Event::Released { ticket: *ticket, answer: Released::Done });
    assert_eq!(effects, [request(Request::ReleaseEnded { generation: 1 })]);
    // The next session starts with that store.
    bench.step(Event::Session(Notice::Closed { generation: 1, reason }));
    let ticket = read_ticket(&bench.step(Event::Session(Notice::Opened(view(2)))));
    let ticket =
        lock_ticket(&bench.step(Event::Read { ticket, answer: Seen::Missing { index: 31 } }));
    let effects = bench.step(Event::Locked { ticket, answer: Locked::At(32) });
    assert!(matches!(effects[..], [Effect::Own { index: 32, .. }]));
}

#[test]
fn a_release_that_finds_lower_indexes_ends_the_session() {
    let reason = LossReason::StoreReplaced;
    let distrust = || Effect::Request(Request::Distrust { generation: 1, reason });
    for answer in [Seen::Missing { index: 20 }, found(Some("other"), 20), found(Some("ours-1"), 20)]
    {
        let mut bench = Bench::owning(90);
        let ticket = bench.release_ticket();
        let failed = Released::FenceFailed;
        let ticket = read_ticket(&bench.step(Event::Released { ticket, answer: failed }));
        let effects = bench.step(Event::Read { ticket, answer: answer.clone() });
        let is_ours = answer == found(Some("ours-1"), 20);
        assert_eq!(without_release(effects, is_ours), [Effect::Lost { reason }, distrust()]);
        // The key may have been released in the old store, which is no loss.
        let mut bench = Bench::owning(90);
        let ticket = bench.release_ticket();
        bench.step(Event::Released { ticket, answer: Released::Unknown(unknown()) });
        let ticket = release_ticket(&bench.wake());
        let failed = Released::FenceFailed;
        let ticket = read_ticket(&bench.step(Event::Released { ticket, answer: failed }));
        let effects = bench.step(Event::Read { ticket, answer });
        assert_eq!(without_release(effects, is_ours), [Effect::Released, distrust()]);
    }
}

/// The effects without the second and the third one, which if `released` are the release of a key
/// at 20 that keeps the value found there, and its announcement.
fn without_release(mut effects: Vec<Effect>, released: bool) -> Vec<Effect> {
    if released {
        assert!(matches!(effects.remove(1), Effect::Release { index: 20, found: Some(_), .. }));
        let begun = Request::ReleaseBegun { generation: 1 };
        assert_eq!(effects.remove(1), Effect::Request(begun));
    }
    effects
}

#[test]
fn a_key_that_others_write_is_released_directly_after_each_read_with_pauses_before_the_reads() {
    let mut bench = Bench::owning(9);
    let mut ticket = bench.release_ticket();
    let since = bench.now;
    for index in 20..30 {
        let failed = Released::FenceFailed;
        let mut effects = bench.step(Event::Released { ticket, answer: failed });
        if index > 20 {
            assert_eq!(effects, []);
            let before = bench.now;
            effects = bench.wake();
            let pause = bench.now.since(before);
            assert!((25..=250).contains(&pause.as_millis()), "{pause:?}");
        }
        let (read, before) = (read_ticket(&effects), bench.now);
        let answer = found(Some("ours-1"), index);
        ticket = release_ticket(&bench.step(Event::Read { ticket: read, answer }));
        assert_eq!(bench.now, before);
    }
    assert!(bench.now.since(since) > Duration::from_secs(1), "{:?}", bench.now.since(since));
    assert_eq!(bench.step(Event::Released { ticket, answer: Released::Done }), [Effect::Released]);
}

#[test]
fn a_key_that_others_write_for_a_whole_lease_is_freed_by_the_end_of_the_session() {
    let mut bench = Bench::owning(9);
    let (mut ticket, mut index) = (bench.release_ticket(), 20);
    let since = bench.now;
    loop {
        let mut effects = bench.step(Event::Released { ticket, answer: Released::FenceFailed });
        if let [Effect::Unreleased(error), Effect::Request(Request::Suspect { .. })] = &effects[..]
        {
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
            assert!(bench.now.since(since) >= view(1).lease);
            return;
        }
        if effects.is_empty() {
            effects = bench.wake();
        }
        let (read, answer) = (read_ticket(&effects), found(Some("ours-1"), index));
        ticket = release_ticket(&bench.step(Event::Read { ticket: read, answer }));
        index += 1;
        assert!(index < 1_000, "it is repeated for ever");
    }
}

#[test]
fn an_attempt_that_checked_no_fence_is_swept_although_there_is_one_now() {
    let mut bench = Bench::new();
    bench.step(Event::Session(Notice::Opened(SessionView { fence: Fence::Unusable, ..view(1) })));
    let ticket = lock_ticket(&bench.step(Event::Demand(waiting())));
    bench.step(Event::Locked { ticket, answer: Locked::Unknown(unknown()) });
    let effects =
        bench.step(Event::Session(Notice::Fenced { generation: 1, fence: Fence::At(60) }));
    assert!(matches!(
        effects[..],
        [Effect::Request(Request::Suspect { generation: 1 }), Effect::Read { .. }]
    ));
}

#[test]
fn a_lock_at_the_index_of_an_ended_ownership_is_no_grant() {
    let mut bench = Bench::owning(9);
    let ticket = bench.release_ticket();
    bench.step(Event::Released { ticket, answer: Released::Done });
    let ticket = lock_ticket(&bench.step(Event::Demand(waiting())));
    let effects = bench.step(Event::Locked { ticket, answer: Locked::At(9) });
    assert!(matches!(effects[..], [Effect::Release { index: 9, .. }]));
}

#[test]
fn a_release_whose_fence_moved_with_the_value_is_repeated_at_the_new_index() {
    let mut bench = Bench::owning(9);
    let ticket = bench.release_ticket();
    let answer = Released::FenceFailed;
    let ticket = read_ticket(&bench.step(Event::Released { ticket, answer }));
    let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 20) });
    assert!(matches!(effects[..], [Effect::Release { index: 20, found: Some(_), .. }]));
}

#[test]
fn a_key_that_was_lost_before_its_release_is_reported_as_lost() {
    let mut bench = Bench::owning(9);
    let ticket = bench.release_ticket();
    let answer = Released::FenceFailed;
    let ticket = read_ticket(&bench.step(Event::Released { ticket, answer }));
    let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 20) });
    assert_eq!(effects, [Effect::Lost { reason: LossReason::ForceReleased }]);
}

#[test]
fn a_held_key_is_watched_only_after_a_moment() {
    let mut bench = Bench::owning(9);
    let since = bench.now;
    let effects = bench.wake();
    assert!(matches!(effects[..], [Effect::Watch { after: 9, .. }]));
    assert_eq!(bench.now.since(since), Duration::from_secs(1));
}

#[test]
fn an_overwritten_value_is_no_loss() {
    let mut bench = Bench::owning(9);
    let ticket = watch_ticket(&bench.wake());
    let effects = bench.step(Event::Watched { ticket, answer: found(Some("ours-1"), 20) });
    assert!(
        matches!(effects[..], [Effect::ValueSeen(_), Effect::Watch { after: 20, .. }]),
        "{effects:?}"
    );
    let effects = bench.step(Event::Demand(Demand::default()));
    assert!(matches!(effects[..], [Effect::Release { index: 20, .. }]));
}

#[test]
fn a_deleted_key_is_lost_before_anything_else_is_done() {
    let mut bench = Bench::owning(9);
    let ticket = watch_ticket(&bench.wake());
    bench.step(Event::Demand(Demand { keep: true, ..waiting() }));
    let effects = bench.step(Event::Watched { ticket, answer: Seen::Missing { index: 20 } });
    assert_eq!(effects[0], Effect::Lost { reason: LossReason::KeyDeleted });
    assert!(matches!(effects[1], Effect::Read { .. }), "{effects:?}");
}

/// A machine whose key is not ours any more, and the ticket of the question about our session.
fn losing() -> (Bench, Ticket) {
    let mut bench = Bench::owning(9);
    let ticket = watch_ticket(&bench.wake());
    let effects = bench.step(Event::Watched { ticket, answer: found(None, 20) });
    let [Effect::Revoke, Effect::AskSession { ticket, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    (bench, ticket)
}

#[test]
fn a_key_that_is_not_ours_is_revoked_before_the_reason_is_asked_for() {
    let (mut bench, ticket) = losing();
    let answer = SessionSeen::Unknown(unknown());
    let effects = bench.step(Event::SessionSeen { ticket, answer });
    assert_eq!(effects[0], Effect::Lost { reason: LossReason::ForceReleased });
}

#[test]
fn a_session_that_consul_does_not_show_has_ended_only_if_a_renewal_says_so() {
    let not_shown = || {
        let (mut bench, ticket) = losing();
        let answer = SessionSeen::NotShown;
        let effects = bench.step(Event::SessionSeen { ticket, answer });
        assert_eq!(effects, [Effect::Request(Request::Renew { generation: 1 })]);
        bench
    };
    let mut bench = not_shown();
    let reason = LossReason::SessionGone;
    let effects = bench.step(Event::Session(Notice::Closed { generation: 1, reason }));
    assert_eq!(effects, [Effect::Lost { reason }]);

    // Without the right, other keys of a session that lives are kept.
    let mut bench = not_shown();
    let effects = bench.wake();
    assert_eq!(effects, [Effect::Lost { reason: LossReason::ForceReleased }]);
}

#[test]
fn a_refused_lock_is_followed_by_a_read_which_shows_its_holder() {
    for answer in [Locked::Denied("key:write".into()), Locked::Refused("too large".into())] {
        let mut bench = Bench::new();
        bench.step(Event::Session(Notice::Opened(view(1))));
        let demand = Demand { follow: true, ..waiting() };
        let ticket = lock_ticket(&bench.step(Event::Demand(demand)));
        let effects = bench.step(Event::Locked { ticket, answer });
        let [Effect::Failed(_), Effect::Read { ticket }] = effects[..] else {
            panic!("{effects:?}")
        };
        let effects = bench.step(Event::Read { ticket, answer: found(Some("other"), 40) });
        assert!(matches!(effects[0], Effect::Obstructed(Obstacle::Held(_))), "{effects:?}");
    }
}

#[test]
fn what_the_first_copy_of_a_refused_request_locked_is_given_back() {
    for answer in [Locked::Denied("key:write".into()), Locked::Refused("too large".into())] {
        let (mut bench, ticket) = Bench::contending();
        let effects = bench.step(Event::Locked { ticket, answer: answer.clone() });
        let [Effect::Failed(_), Effect::Read { ticket }] = effects[..] else {
            panic!("{effects:?}")
        };
        let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 41) });
        assert!(matches!(effects[..], [Effect::Release { index: 41, .. }]), "{effects:?}");
        // Without the right to read, nothing is known, and no session is suspected.
        let (mut bench, ticket) = Bench::contending();
        let effects = bench.step(Event::Locked { ticket, answer });
        let answer = Seen::Denied("key:read".into());
        let ticket = read_ticket(&effects);
        assert_eq!(bench.step(Event::Read { ticket, answer }), []);
        assert!(bench.lock.is_quiet());
    }
    // The same for a token that another server does not know, after the caller has left.
    let (mut bench, ticket) = Bench::contending();
    let answer = Locked::Unsent(Trouble::UnknownToken);
    bench.step(Event::Locked { ticket, answer });
    let effects = bench.step(Event::Demand(Demand::default()));
    let answer = found(Some("ours-1"), 41);
    let effects = bench.step(Event::Read { ticket: read_ticket(&effects), answer });
    assert!(matches!(effects[..], [Effect::Release { index: 41, .. }]), "{effects:?}");
}

#[test]
fn what_the_first_copy_of_a_refused_request_locked_is_looked_for_until_the_key_is_read() {
    for follow in [false, true] {
        let mut bench = Bench::new();
        bench.step(Event::Session(Notice::Opened(view(1))));
        let ticket = lock_ticket(&bench.step(Event::Demand(Demand { follow, ..waiting() })));
        let answer = Locked::Denied("key:write".into());
        let [Effect::Failed(_), Effect::Read { mut ticket }] =
            bench.step(Event::Locked { ticket, answer })[..]
        else {
            panic!("it is not read")
        };
        bench.step(Event::Demand(Demand::default()));
        for _ in 0..20 {
            bench.step(Event::Read { ticket, answer: Seen::Unknown(unknown()) });
            ticket = read_ticket(&bench.wake());
        }
        let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 41) });
        assert!(matches!(effects[..], [Effect::Release { index: 41, .. }]), "{effects:?}");
    }
    // Until then, who comes learns from an attempt of its own what is refused, and no session is
    // suspected.
    let (mut bench, ticket) = Bench::contending();
    let effects = bench.step(Event::Locked { ticket, answer: Locked::Denied("key:write".into()) });
    let answer = Seen::Unknown(unknown());
    bench.step(Event::Read { ticket: read_ticket(&effects), answer });
    let ticket = read_ticket(&bench.wake());
    assert_eq!(bench.step(Event::Demand(waiting())), []);
    let effects = bench.step(Event::Read { ticket, answer: Seen::Denied("key:read".into()) });
    assert!(matches!(effects[..], [Effect::Lock { .. }]), "{effects:?}");
}

#[test]
fn what_a_copy_of_a_delayed_request_locked_is_given_back_when_nobody_waits() {
    // A new leader begins a lock-delay anew, even one at whose end the key was locked.
    let (mut bench, ticket) = Bench::contending();
    bench.step(Event::Locked { ticket, answer: Locked::Delayed });
    let effects = bench.step(Event::Demand(Demand::default()));
    let answer = found(Some("ours-1"), 41);
    let effects = bench.step(Event::Read { ticket: read_ticket(&effects), answer });
    assert!(matches!(effects[..], [Effect::Release { index: 41, .. }]), "{effects:?}");
    // Who waits tries again without a read.
    let (mut bench, ticket) = Bench::contending();
    bench.step(Event::Locked { ticket, answer: Locked::Delayed });
    let effects = bench.wake();
    assert!(matches!(effects[..], [Effect::Lock { .. }]), "{effects:?}");
}

#[test]
fn a_refused_key_that_cannot_be_read_is_attempted_by_the_next_caller() {
    let (mut bench, ticket) = Bench::contending();
    let effects = bench.step(Event::Locked { ticket, answer: Locked::Denied("key:write".into()) });
    bench.step(Event::Demand(waiting()));
    let answer = Seen::Unknown(unknown());
    bench.step(Event::Read { ticket: read_ticket(&effects), answer });
    let effects = bench.wake();
    assert!(matches!(effects[..], [Effect::Lock { .. }]), "{effects:?}");
}

#[test]
fn a_key_that_others_keep_writing_is_tried_after_growing_pauses_and_refused_to_who_does_not_wait() {
    let (mut bench, mut ticket) = Bench::contending();
    let (mut paused, mut since) = (0, bench.now);
    for index in 40..60 {
        let mut effects = bench.step(Event::Locked { ticket, answer: Locked::Changed });
        if !matches!(effects[..], [Effect::Read { .. }]) {
            assert!(
                matches!(effects[..], [Effect::Obstructed(Obstacle::Trouble(_))]),
                "{effects:?}"
            );
            effects = bench.wake();
            assert!(bench.now > since, "no pause");
            (paused, since) = (paused + 1, bench.now);
        }
        let answer = found(None, index);
        ticket = lock_ticket(&bench.step(Event::Read { ticket: read_ticket(&effects), answer }));
    }
    assert_eq!(paused, 12);
}

#[test]
fn a_key_with_a_possible_late_attempt_is_read_once_its_offered_lock_is_taken_back() {
    let mut bench = Bench::new();
    let view = SessionView { fence: Fence::Unusable, ..view(1) };
    bench.step(Event::Session(Notice::Opened(view)));
    let ticket = lock_ticket(&bench.step(Event::Demand(waiting())));
    bench.step(Event::Locked { ticket, answer: Locked::Unknown(unknown()) });
    let notice = Notice::Fenced { generation: 1, fence: Fence::Unusable };
    let ticket = read_ticket(&bench.step(Event::Session(notice)));
    let effects = bench.step(Event::Read { ticket, answer: Seen::Missing { index: 4 } });
    let ticket = lock_ticket(&effects);
    assert!(bench.lock.is_sweeping());
    let effects = bench.step(Event::Locked { ticket, answer: Locked::Withdrawn });
    assert!(matches!(effects[..], [Effect::Read { .. }]), "{effects:?}");
}

#[test]
fn a_release_needs_the_session_until_it_is_in_vain() {
    let mut bench = Bench::owning(9);
    assert!(bench.lock.needs_session());
    let ticket = bench.release_ticket();
    assert!(bench.lock.needs_session());
    bench.step(Event::Released { ticket, answer: Released::Denied("key:write".into()) });
    assert!(!bench.lock.needs_session());
}

#[test]
fn after_the_death_of_the_actor_the_key_is_not_taken_over_at_the_index_of_a_write() {
    let mut bench = Bench::owning(9);
    let ticket = watch_ticket(&bench.wake());
    bench.step(Event::Watched { ticket, answer: found(Some("ours-1"), 20) });
    let mut effects = Vec::new();
    bench.lock.recover(bench.now, 9, &mut effects);
    bench.step(Event::Demand(waiting()));
    let notice = Notice::Fenced { generation: 1, fence: Fence::At(21) };
    let ticket = read_ticket(&bench.step(Event::Session(notice)));
    let ticket =
        lock_ticket(&bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 20) }));
    let effects = bench.step(Event::Locked { ticket, answer: Locked::At(20) });
    assert!(matches!(effects[..], [Effect::Release { index: 20, .. }]), "{effects:?}");
}

#[test]
fn the_reason_is_not_waited_for_longer_than_a_moment() {
    let mut bench = Bench::owning(9);
    let ticket = watch_ticket(&bench.wake());
    bench.step(Event::Watched { ticket, answer: found(None, 20) });
    assert_eq!(bench.wake(), [Effect::Lost { reason: LossReason::ForceReleased }]);
}

#[test]
fn an_index_from_before_our_own_is_confirmed_by_the_leader() {
    let mut bench = Bench::owning(90);
    let ticket = watch_ticket(&bench.wake());
    let ticket = read_ticket(&bench.step(Event::Watched { ticket, answer: found(None, 20) }));
    assert!(bench.lock.owns(), "a stale read is no loss");
    assert_eq!(bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 90) }), []);
    assert!(bench.lock.owns());

    let mut bench = Bench::owning(90);
    let ticket = watch_ticket(&bench.wake());
    let ticket = read_ticket(&bench.step(Event::Watched { ticket, answer: found(None, 20) }));
    let effects = bench.step(Event::Read { ticket, answer: found(None, 20) });
    let reason = LossReason::StoreReplaced;
    assert_eq!(
        effects,
        [Effect::Lost { reason }, Effect::Request(Request::Distrust { generation: 1, reason })]
    );
}

#[test]
fn an_index_below_that_of_our_last_read_is_of_another_store() {
    let mut bench = Bench::owning(90);
    let ticket = watch_ticket(&bench.wake());
    let effects = bench.step(Event::Watched { ticket, answer: found(Some("ours-1"), 95) });
    let ticket = watch_ticket(&effects);
    // Not watched again at once, which a listing would contradict for ever.
    let ticket =
        read_ticket(&bench.step(Event::Watched { ticket, answer: found(Some("ours-1"), 92) }));
    let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 92) });
    let reason = LossReason::StoreReplaced;
    assert_eq!(
        effects,
        [Effect::Lost { reason }, Effect::Request(Request::Distrust { generation: 1, reason })]
    );
}

#[test]
fn the_end_of_the_session_ends_the_ownership() {
    let mut bench = Bench::owning(9);
    let reason = LossReason::DeadlinePassed;
    assert_eq!(
        bench.step(Event::Session(Notice::Closed { generation: 1, reason })),
        [Effect::Lost { reason }]
    );
    // The end of an older generation does not.
    let mut bench = Bench::owning(9);
    assert_eq!(bench.step(Event::Session(Notice::Closed { generation: 0, reason })), []);
    assert!(bench.lock.owns());
}

#[test]
fn a_new_session_may_begin_with_lower_indexes() {
    let mut bench = Bench::owning(900);
    bench.step(Event::Session(Notice::Closed { generation: 1, reason: LossReason::SessionGone }));
    bench.step(Event::Demand(waiting()));
    let ticket = read_ticket(&bench.step(Event::Session(Notice::Opened(view(2)))));
    let ticket =
        lock_ticket(&bench.step(Event::Read { ticket, answer: Seen::Missing { index: 5 } }));
    let effects = bench.step(Event::Locked { ticket, answer: Locked::At(6) });
    assert!(matches!(effects[..], [Effect::Own { index: 6, .. }]));
}

#[test]
fn a_fresh_actor_gives_up_what_a_dead_one_owned() {
    let mut bench = Bench::owning(9);
    let mut effects = Vec::new();
    bench.lock.recover(bench.now, 9, &mut effects);
    assert_eq!(effects[0], Effect::Lost { reason: LossReason::RuntimeFailed });
    assert!(matches!(effects[1], Effect::Request(Request::RaiseFence { .. })));
    let ticket = read_ticket(
        &bench.step(Event::Session(Notice::Fenced { generation: 1, fence: Fence::At(60) })),
    );
    // Even for another caller, the old index grants nothing.
    bench.step(Event::Demand(waiting()));
    let effects = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 9) });
    let ticket = lock_ticket(&effects);
    let effects = bench.step(Event::Locked { ticket, answer: Locked::At(9) });
    assert!(matches!(effects[..], [Effect::Release { index: 9, .. }]));
}

#[test]
fn what_a_dead_actor_was_to_send_is_sent_by_its_successor() {
    // That the session is suspect, and the read that looks for the late attempt.
    let (mut bench, ticket) = Bench::contending();
    bench.step(Event::Locked { ticket, answer: Locked::Unknown(unknown()) });
    bench.step(Event::Demand(Demand::default()));
    let fenced = || Event::Session(Notice::Fenced { generation: 1, fence: Fence::Unusable });
    let ticket = read_ticket(&bench.step(fenced()));
    bench.step(Event::Read { ticket, answer: Seen::Missing { index: 50 } });
    read_ticket(&bench.wake());
    bench.lock.recover(bench.now, 0, &mut Vec::new());
    let ticket = read_ticket(&bench.step(fenced()));
    let effects = bench.step(Event::Read { ticket, answer: Seen::Missing { index: 51 } });
    assert!(matches!(
        effects[..],
        [Effect::Request(Request::Suspect { generation: 1 }), Effect::Read { .. }]
    ));

    // That the session is distrusted.
    let (mut bench, ticket) = Bench::contending();
    let reason = LossReason::SessionGone;
    let distrust = || Effect::Request(Request::Distrust { generation: 1, reason });
    let effects = bench.step(Event::Locked { ticket, answer: Locked::SessionGone });
    assert_eq!(effects, [distrust()]);
    let mut effects = Vec::new();
    bench.lock.recover(bench.now, 0, &mut effects);
    assert_eq!(effects, [Effect::Lost { reason: LossReason::RuntimeFailed }, distrust()]);
    bench.step(Event::Session(Notice::Closed { generation: 1, reason }));
    effects.clear();
    bench.lock.recover(bench.now, 0, &mut effects);
    assert_eq!(effects, [Effect::Lost { reason: LossReason::RuntimeFailed }]);

    // That the session's end waits for a release.
    let mut bench = Bench::owning(90);
    let ticket = bench.release_ticket();
    bench.step(Event::Released { ticket, answer: Released::Done });
    let ticket = lock_ticket(&bench.step(Event::Demand(waiting())));
    bench.step(Event::Locked { ticket, answer: Locked::At(30) });
    effects.clear();
    bench.lock.recover(bench.now, 0, &mut effects);
    let ended = Effect::Request(Request::ReleaseEnded { generation: 1 });
    assert_eq!(effects[..2], [Effect::Lost { reason: LossReason::RuntimeFailed }, ended]);
}
