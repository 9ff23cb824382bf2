//! The permit machine's rules, one per test.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    consul::fact::{SessionSeen, Trouble},
    error::Error,
    ownership::LossReason,
    protocol::{cell::DeadlineCell, session::SessionView},
};

const OURS: &str = "ours-1";

fn at(millis: u64) -> Moment {
    Moment::default() + Duration::from_secs(1_000) + Duration::from_millis(millis)
}

fn view(generation: u64) -> SessionView {
    SessionView {
        generation,
        id: SessionId::from(format!("ours-{generation}").as_str()),
        cell: Arc::new(DeadlineCell::new(at(1_000_000))),
        lease: Duration::from_secs(14),
        fence: Fence::At(1),
    }
}

fn waiting() -> Demand {
    Demand { patient: true, ..Demand::default() }
}

fn trying() -> Demand {
    Demand { impatient: true, ..Demand::default() }
}

fn roster(limit: u64, holders: &[&str]) -> Roster {
    Roster { limit, holders: holders.iter().map(|id| SessionId::from(*id)).collect() }
}

fn entry(index: u64, value: Vec<u8>) -> Entry {
    Entry { session: None, modify_index: index, lock_index: 0, flags: SEMAPHORE_FLAGS, value }
}

/// A read of a semaphore with the limit 2.
fn found(index: u64, holders: &[&str]) -> Seen {
    Seen::Found { entry: entry(index, roster(2, holders).to_bytes()), index }
}

/// A listing in which these of the holders have locked their own entries.
fn listing(index: u64, holders: &[&str], living: &[&str]) -> Listed {
    let mut entries = vec![("jobs/.lock".into(), entry(index, roster(2, holders).to_bytes()))];
    for (id, modify_index) in living.iter().zip(3..) {
        let session = Some(SessionId::from(*id));
        let own = Entry { session, ..entry(modify_index, Vec::new()) };
        entries.push((format!("jobs/{id}").into(), own));
    }
    Listed::Found { entries, index }
}

/// A machine stepped by hand.
struct Bench {
    permit: Permit,
    now: Moment,
}

impl Bench {
    fn new() -> Self {
        Self { permit: Permit::new("jobs/", 2, 1), now: at(0) }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.permit.handle(self.now, event, &mut effects);
        effects
    }

    fn lock(&mut self, event: lock::Event) -> Vec<Effect> {
        self.step(Event::Lock(event))
    }

    fn demand(&mut self, demand: Demand) -> Vec<Effect> {
        self.lock(lock::Event::Demand(demand))
    }

    /// A machine with a session and a caller, and the ticket of its first read.
    fn asking(demand: Demand) -> (Self, Ticket) {
        let mut bench = Self::new();
        bench.lock(lock::Event::Session(Notice::Opened(view(1))));
        let effects = bench.demand(demand);
        let [Effect::Lock(lock::Effect::Read { ticket })] = effects[..] else {
            panic!("no read comes first: {effects:?}");
        };
        (bench, ticket)
    }

    /// What follows from a first read.
    fn after(demand: Demand, seen: Seen) -> (Self, Vec<Effect>) {
        let (mut bench, ticket) = Self::asking(demand);
        let effects = bench.lock(lock::Event::Read { ticket, answer: seen });
        (bench, effects)
    }

    /// A machine that waits for two others, and the ticket of its first listing.
    fn waiting_for(holders: &[&str]) -> (Self, Ticket) {
        let (bench, effects) = Self::after(waiting(), found(9, holders));
        (bench, list_ticket(&effects))
    }

    /// A machine whose attempt to join another holder had no clear answer and was voided, and
    /// the ticket of the read that follows.
    fn unclear() -> (Self, Ticket) {
        let (mut bench, effects) = Self::after(waiting(), found(9, &["a"]));
        let (ticket, ..) = join(&effects);
        let answer = Locked::Unknown(Trouble::Timeout(Duration::from_secs(2)));
        bench.lock(lock::Event::Locked { ticket, answer });
        let notice = Notice::Fenced { generation: 1, fence: Fence::At(11) };
        let effects = bench.lock(lock::Event::Session(notice));
        let [Effect::Lock(lock::Effect::Read { ticket })] = effects[..] else {
            panic!("{effects:?}")
        };
        (bench, ticket)
    }

    /// A machine that joined these holders, at index 10.
    fn owning_beside(holders: &[&str]) -> Self {
        let seen = if holders.is_empty() { Seen::Missing { index: 9 } } else { found(9, holders) };
        let (mut bench, effects) = Self::after(waiting(), seen);
        let (ticket, ..) = join(&effects);
        let effects = bench.lock(lock::Event::Locked { ticket, answer: Locked::At(10) });
        let [Effect::Lock(lock::Effect::Own { index: 10, .. })] = effects[..] else {
            panic!("not owned: {effects:?}");
        };
        assert_eq!(bench.demand(Demand { keep: true, ..Demand::default() }), []);
        bench
    }

    fn listed(&mut self, ticket: Ticket, answer: Listed) -> Vec<Effect> {
        self.step(Event::Listed { ticket, answer })
    }

    /// Lets time pass until the next listing, and returns its ticket.
    fn list_again(&mut self) -> Ticket {
        for _ in 0..10 {
            self.now = self.permit.next_wakeup().expect("nothing is due").max(self.now);
            let effects = self.lock(lock::Event::Tick);
            if let [.., Effect::List { ticket, .. }] = effects[..] {
                return ticket;
            }
        }
        panic!("no listing is due");
    }

    /// Answers every listing that follows, until the machine is quiet.
    fn list_until_quiet(&mut self, answer: &Listed) {
        for _ in 0..10 {
            if self.permit.is_quiet() {
                return;
            }
            let ticket = self.list_again();
            self.listed(ticket, answer.clone());
        }
        panic!("it goes on listing");
    }

    /// Answers the questions for sessions with this lock-delay.
    fn tell_lock_delay(&mut self, effects: &[Effect], lock_delay: Duration) {
        for effect in effects {
            let Effect::Lock(lock::Effect::AskSession { ticket, .. }) = effect else { continue };
            let (name, node) = ("other".to_owned(), "n".to_owned());
            let answer = SessionSeen::Exists { name, node, lock_delay, ttl: None };
            assert_eq!(self.lock(lock::Event::SessionSeen { ticket: *ticket, answer }), []);
        }
    }
}

fn join(effects: &[Effect]) -> (Ticket, Expect, Roster, Vec<u8>) {
    match effects {
        [.., Effect::Join { ticket, expect, roster, .. }] => {
            let parsed = Roster::parse(roster).unwrap().unwrap();
            (*ticket, *expect, parsed, roster.clone())
        }
        other => panic!("no join is sent: {other:?}"),
    }
}

fn list_ticket(effects: &[Effect]) -> Ticket {
    match effects {
        [.., Effect::List { ticket, .. }] => *ticket,
        other => panic!("no listing is sent: {other:?}"),
    }
}

fn watch_ticket(effects: &[Effect]) -> Ticket {
    let watch = effects.iter().find_map(|effect| match effect {
        Effect::Lock(lock::Effect::Watch { ticket, .. }) => Some(*ticket),
        _ => None,
    });
    watch.expect("no watch")
}

fn failure(effects: &[Effect]) -> Obstacle {
    match effects {
        [Effect::Lock(lock::Effect::Failed(obstacle))] => obstacle.clone(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_first_permit_creates_the_semaphore_and_a_further_one_joins_it() {
    let (_, effects) = Bench::after(waiting(), Seen::Missing { index: 9 });
    let (_, expect, joined, _) = join(&effects);
    assert_eq!((expect, joined), (Expect::Missing, roster(2, &[OURS])));

    let (_, effects) = Bench::after(waiting(), found(9, &["a"]));
    let (_, expect, joined, _) = join(&effects);
    assert_eq!((expect, joined), (Expect::Index(9), roster(2, &["a", OURS])));
}

#[test]
fn a_full_semaphore_is_watched_and_a_freed_permit_is_taken() {
    let (mut bench, effects) = Bench::after(waiting(), found(9, &["a", "b"]));
    let watch = effects.iter().find_map(|effect| match effect {
        Effect::Lock(lock::Effect::Watch { ticket, after: 9, holder: None }) => Some(*ticket),
        _ => None,
    });
    let ticket = watch.expect("no watch");
    let effects = bench.lock(lock::Event::Watched { ticket, answer: found(12, &["b"]) });
    let (_, expect, joined, _) = join(&effects);
    assert_eq!((expect, joined), (Expect::Index(12), roster(2, &["b", OURS])));
}

#[test]
fn a_caller_that_does_not_wait_is_refused_while_all_permits_are_taken() {
    let (mut bench, effects) = Bench::after(trying(), found(9, &["a", "b"]));
    assert!(matches!(&effects[0], Effect::Lock(lock::Effect::Obstructed(Obstacle::Held(_)))));
    let ticket = list_ticket(&effects);
    bench.demand(Demand::default());
    assert!(!bench.permit.is_quiet(), "it looks for ended holders first");
    bench.listed(ticket, listing(9, &["a", "b"], &["a", "b"]));
    assert!(bench.permit.is_quiet(), "all holders live");
}

#[test]
fn a_release_leaves_the_others_in_the_semaphore() {
    let mut bench = Bench::owning_beside(&["a"]);
    let effects = bench.demand(Demand::default());
    let [Effect::Leave { ticket, index: 10, own: Some(10), left, .. }] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(*left, roster(2, &["a"]));
    let effects = bench.lock(lock::Event::Released { ticket: *ticket, answer: Released::Done });
    assert_eq!(effects, [Effect::Lock(lock::Effect::Released)]);
    assert!(bench.permit.is_quiet());
}

#[test]
fn a_release_follows_the_entry_that_others_have_changed() {
    let mut bench = Bench::owning_beside(&["a"]);
    let effects = bench.demand(Demand::default());
    let [Effect::Leave { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    let answer = Released::FenceFailed;
    let effects = bench.lock(lock::Event::Released { ticket, answer });
    let [Effect::Lock(lock::Effect::Read { ticket })] = effects[..] else { panic!("{effects:?}") };
    let effects = bench.lock(lock::Event::Read { ticket, answer: found(14, &["b", OURS]) });
    // Our own entry may be missing.
    let [Effect::Leave { index: 14, own: None, left, ticket, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(*left, roster(2, &["b"]));
    // Others go on changing it: the next release again follows a read at once.
    let answer = Released::FenceFailed;
    assert_eq!(bench.lock(lock::Event::Released { ticket: *ticket, answer }), []);
    bench.now = bench.permit.next_wakeup().expect("a read is due");
    let effects = bench.lock(lock::Event::Tick);
    let [Effect::Lock(lock::Effect::Read { ticket })] = effects[..] else { panic!("{effects:?}") };
    let effects = bench.lock(lock::Event::Read { ticket, answer: found(16, &["b", OURS]) });
    assert!(matches!(effects[..], [Effect::Leave { index: 16, .. }]), "{effects:?}");
}

#[test]
fn a_permit_is_lost_when_the_entry_no_longer_names_us() {
    for gone in [found(14, &["a"]), Seen::Found { entry: entry(14, b"junk".to_vec()), index: 14 }] {
        let mut bench = Bench::owning_beside(&["a"]);
        bench.now = at(2_000);
        let effects = bench.lock(lock::Event::Tick);
        let [Effect::Lock(lock::Effect::Watch { ticket, .. })] = effects[..] else {
            panic!("{effects:?}");
        };
        // Others come and go without a loss.
        let answer = found(12, &[OURS]);
        let effects = bench.lock(lock::Event::Watched { ticket, answer });
        let [Effect::Lock(lock::Effect::Watch { ticket, .. })] = effects[..] else {
            panic!("{effects:?}");
        };
        let effects = bench.lock(lock::Event::Watched { ticket, answer: gone });
        assert_eq!(effects[0], Effect::Lock(lock::Effect::Revoke));
    }
}

#[test]
fn a_semaphore_that_is_not_ours_is_refused_with_the_reason() {
    let refused = |entry| failure(&Bench::after(waiting(), Seen::Found { entry, index: 9 }).1);
    let other = entry(9, roster(3, &[]).to_bytes());
    assert_eq!(refused(other), Obstacle::LimitDiffers { asked: 2, found: 3 });
    let nil = entry(9, roster(0, &[]).to_bytes());
    assert_eq!(refused(nil), Obstacle::LimitDiffers { asked: 2, found: 0 });
    assert!(matches!(refused(entry(9, b"[1]".to_vec())), Obstacle::NoSemaphore { .. }));
    for flags in [0, 7] {
        let lock = Entry { flags, session: Some("a".into()), ..entry(9, Vec::new()) };
        assert_eq!(refused(lock), Obstacle::Foreign { flags });
    }
    let (_, effects) = Bench::after(waiting(), Seen::Denied("r".into()));
    let right = "r".to_owned();
    assert_eq!(failure(&effects), Obstacle::Trouble(Error::Denied { right }));
}

#[test]
fn an_entry_that_names_us_already_is_written_anew_for_a_token_of_its_own() {
    let (mut bench, effects) = Bench::after(waiting(), found(9, &[OURS]));
    let (ticket, expect, joined, bytes) = join(&effects);
    assert_eq!((expect, &joined), (Expect::Index(9), &roster(2, &[OURS])));
    assert_ne!(bytes, joined.to_bytes(), "an unchanged entry keeps its index");
    // Our own entry was not changed, and its index is not known.
    bench.lock(lock::Event::Locked { ticket, answer: Locked::At(10) });
    let effects = bench.demand(Demand::default());
    assert!(matches!(effects[..], [Effect::Leave { index: 10, own: None, .. }]), "{effects:?}");
}

/// A read of a semaphore with other settings than ours.
fn altered(index: u64, limit: u64, flags: u64, holders: &[&str]) -> Seen {
    let entry = Entry { flags, ..entry(index, roster(limit, holders).to_bytes()) };
    Seen::Found { entry, index }
}

#[test]
fn a_leftover_permit_of_another_limit_is_given_back_before_its_callers_are_refused() {
    let cases = [
        (3, SEMAPHORE_FLAGS, Obstacle::LimitDiffers { asked: 2, found: 3 }),
        (2, 0, Obstacle::Foreign { flags: 0 }),
    ];
    for (limit, flags, why) in cases {
        let (mut bench, ticket) = Bench::unclear();
        let answer = altered(12, limit, flags, &["a", OURS]);
        let effects = bench.lock(lock::Event::Read { ticket, answer });
        let [Effect::Lock(lock::Effect::Failed(failed)), Effect::Leave { index: 12, left, .. }] =
            &effects[..]
        else {
            panic!("{effects:?}")
        };
        assert_eq!((failed, left), (&why, &roster(limit, &["a"])));
    }
}

#[test]
fn a_permit_is_kept_whatever_limit_or_flags_are_written() {
    for (limit, flags) in [(3, SEMAPHORE_FLAGS), (2, 0)] {
        let mut bench = Bench::owning_beside(&["a"]);
        bench.now = at(2_000);
        let effects = bench.lock(lock::Event::Tick);
        let [Effect::Lock(lock::Effect::Watch { ticket, .. })] = effects[..] else {
            panic!("{effects:?}");
        };
        let answer = altered(12, limit, flags, &["a", OURS]);
        let effects = bench.lock(lock::Event::Watched { ticket, answer });
        assert!(matches!(effects[..], [Effect::Lock(lock::Effect::Watch { .. })]), "{effects:?}");
        let effects = bench.demand(Demand::default());
        let [Effect::Leave { index: 12, left, .. }] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(*left, roster(limit, &["a"]));
    }
}

#[test]
fn an_attempt_of_unknown_outcome_is_voided_and_then_read() {
    let (mut bench, ticket) = Bench::unclear();
    // The attempt took effect, and the caller has gone.
    bench.demand(Demand::default());
    let answer = found(12, &["a", OURS]);
    let effects = bench.lock(lock::Event::Read { ticket, answer });
    let [Effect::Leave { index: 12, left, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*left, roster(2, &["a"]));
}

#[test]
fn an_ended_holder_is_removed_only_after_its_lock_delay() {
    let (mut bench, ticket) = Bench::waiting_for(&["a", "b"]);
    let effects = bench.listed(ticket, listing(9, &["a", "b"], &["a", "b"]));
    bench.tell_lock_delay(&effects, Duration::from_secs(15));
    let ticket = bench.list_again();
    let seen_at = bench.now;
    let (all, living) = (["a", "b"], ["b"]);
    let mut effects = bench.listed(ticket, listing(9, &all, &living));
    while effects.is_empty() {
        let ticket = bench.list_again();
        effects = bench.listed(ticket, listing(9, &all, &living));
    }
    let waited = bench.now.since(seen_at);
    assert!(waited >= Duration::from_millis(16_500), "{waited:?}");
    assert!(waited < Duration::from_secs(19), "{waited:?}");
    let [Effect::Prune { ticket, index: 9, left, ended }] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!((left, &ended[..]), (&roster(2, &["b"]), &[(SessionId::from("a"), None)][..]));
    bench.step(Event::Pruned { ticket: *ticket, answer: Pruned::Done });
}

#[test]
fn a_holder_of_unknown_lock_delay_is_waited_for_a_minute() {
    let (mut bench, ticket) = Bench::waiting_for(&["a", "b"]);
    let mut effects = bench.listed(ticket, listing(9, &["a", "b"], &[]));
    while effects.is_empty() {
        let ticket = bench.list_again();
        effects = bench.listed(ticket, listing(9, &["a", "b"], &[]));
    }
    let waited = bench.now.since(at(0));
    assert!(waited >= Duration::from_secs(66) && waited < Duration::from_secs(69), "{waited:?}");
    assert!(matches!(&effects[..], [Effect::Prune { ended, .. }] if ended.len() == 2));
}

#[test]
fn holders_are_listed_again_after_the_entry_had_foreign_flags() {
    let (mut bench, ticket) = Bench::waiting_for(&["a", "b"]);
    let foreign = Entry { flags: 7, ..entry(10, roster(2, &["a", "b"]).to_bytes()) };
    let entries = vec![("jobs/.lock".into(), foreign)];
    assert_eq!(bench.listed(ticket, Listed::Found { entries, index: 10 }), []);
    bench.list_again();
}

#[test]
fn a_holder_that_turns_out_to_live_is_waited_for_anew() {
    let (mut bench, ticket) = Bench::waiting_for(&["a", "b"]);
    bench.listed(ticket, listing(9, &["a", "b"], &["b"]));
    bench.now = at(60_000);
    let ticket = bench.list_again();
    bench.listed(ticket, listing(9, &["a", "b"], &["a", "b"]));
    bench.now = at(70_000);
    let ticket = bench.list_again();
    let effects = bench.listed(ticket, listing(9, &["a", "b"], &["b"]));
    assert!(!effects.iter().any(|it| matches!(it, Effect::Prune { .. })), "{effects:?}");
}

#[test]
fn our_own_ended_session_is_removed_at_once() {
    let mut bench = Bench::owning_beside(&["a"]);
    let reason = LossReason::DeadlinePassed;
    let effects = bench.lock(lock::Event::Session(Notice::Closed { generation: 1, reason }));
    assert_eq!(effects[0], Effect::Lock(lock::Effect::Lost { reason }));
    let ticket = list_ticket(&effects);
    bench.demand(Demand::default());
    let effects = bench.listed(ticket, listing(10, &["a", OURS], &["a"]));
    let prune = effects.iter().find_map(|effect| match effect {
        Effect::Prune { ticket, left, .. } => Some((*ticket, left.clone())),
        _ => None,
    });
    let (ticket, left) = prune.expect("not pruned");
    assert_eq!(left, roster(2, &["a"]));
    bench.step(Event::Pruned { ticket, answer: Pruned::Done });
    bench.list_until_quiet(&listing(12, &["a"], &["a"]));
}

/// A machine whose session ended while its join was in flight, the ticket of that join, and
/// the ticket of the listing that follows. Nobody waits.
fn ended_while_joining() -> (Bench, Ticket, Ticket) {
    let (mut bench, effects) = Bench::after(waiting(), found(9, &["a"]));
    let (joining, ..) = join(&effects);
    let reason = LossReason::DeadlinePassed;
    let effects = bench.lock(lock::Event::Session(Notice::Closed { generation: 1, reason }));
    let listing = list_ticket(&effects);
    bench.demand(Demand::default());
    (bench, joining, listing)
}

#[test]
fn the_limit_does_not_change_while_a_join_or_what_it_may_have_taken_has_the_present_one() {
    let (mut bench, joining, listing_ticket) = ended_while_joining();
    assert!(!bench.permit.may_change_limit(), "its join may take effect");
    let answer = Locked::Unknown(Trouble::Timeout(Duration::from_secs(2)));
    bench.lock(lock::Event::Locked { ticket: joining, answer });
    assert!(!bench.permit.may_change_limit(), "it may have taken effect");
    bench.listed(listing_ticket, listing(9, &["a"], &["a"]));
    bench.list_until_quiet(&listing(9, &["a"], &["a"]));
    assert!(bench.permit.may_change_limit());
}

#[test]
fn a_denied_listing_does_not_forget_the_lock_delay_of_a_holder_that_lived() {
    let mut roll = roll::Roll::default();
    let (session, ticket) = (SessionId::from("a"), Tickets::default().next());
    assert!(roll.lives(&session));
    roll.asks(&session, ticket);
    let (name, node) = (String::new(), String::new());
    let (lock_delay, ttl) = (Duration::from_secs(15), None);
    roll.answered(ticket, &SessionSeen::Exists { name, node, lock_delay, ttl });
    roll.ended(at(0), &session, None);
    roll.forget_ended();
    assert!(!roll.has_ended());
    roll.ended(at(4_000), &session, None);
    assert_eq!(roll.next(), Some(at(4_000) + lock_delay.mul_f64(1.1)));
}

/// The sessions that are removed.
fn pruned(effects: &[Effect]) -> Vec<&str> {
    let ended = effects.iter().find_map(|effect| match effect {
        Effect::Prune { ended, .. } => Some(ended),
        _ => None,
    });
    ended.into_iter().flatten().map(|(session, _)| session.as_str()).collect()
}

#[test]
fn our_ended_session_is_removed_although_its_join_takes_effect_after_the_listing() {
    let (mut bench, ticket, listing_ticket) = ended_while_joining();
    bench.listed(listing_ticket, listing(9, &["a"], &["a"]));
    let effects = bench.lock(lock::Event::Locked { ticket, answer: Locked::At(12) });
    let effects = bench.listed(list_ticket(&effects), listing(12, &["a", OURS], &["a"]));
    assert_eq!(pruned(&effects), [OURS]);

    // Without an answer, it is looked for once more.
    let (mut bench, ticket, listing_ticket) = ended_while_joining();
    let answer = Locked::Unknown(Trouble::Timeout(Duration::from_secs(2)));
    bench.lock(lock::Event::Locked { ticket, answer });
    bench.listed(listing_ticket, listing(9, &["a"], &["a"]));
    let listing_ticket = bench.list_again();
    let effects = bench.listed(listing_ticket, listing(12, &["a", OURS], &["a"]));
    assert_eq!(pruned(&effects), [OURS]);
    let Some(Effect::Prune { ticket, .. }) = effects.last() else { panic!("{effects:?}") };
    bench.step(Event::Pruned { ticket: *ticket, answer: Pruned::Done });
    bench.list_until_quiet(&listing(14, &["a"], &["a"]));
}

#[test]
fn our_ended_session_is_looked_for_until_a_listing_shows_that_it_has_gone() {
    let unknown = Listed::Unknown(Trouble::Timeout(Duration::from_secs(2)));
    // Served before the session is destroyed, or before the join takes effect, or not at all.
    let living = listing(9, &["a", OURS], &["a", OURS]);
    for answers in [vec![unknown.clone(); 4], vec![living; 4], vec![listing(9, &["a"], &["a"])]] {
        let (mut bench, _, ticket) = ended_while_joining();
        let mut next = Some(ticket);
        for answer in answers {
            let ticket = next.take().unwrap_or_else(|| bench.list_again());
            bench.listed(ticket, answer);
        }
        let ticket = bench.list_again();
        let effects = bench.listed(ticket, listing(12, &["a", OURS], &["a"]));
        assert_eq!(pruned(&effects), [OURS]);
    }
}

#[test]
fn our_ended_session_is_left_to_others_if_no_listing_is_answered() {
    let timeout = Trouble::Timeout(Duration::from_secs(2));
    for (trouble, most) in [(Trouble::TooLong, 1), (timeout, 1_000)] {
        let (mut bench, _, ticket) = ended_while_joining();
        let (mut next, mut listings) = (Some(ticket), 0);
        while !bench.permit.is_quiet() {
            let ticket = next.take().unwrap_or_else(|| bench.list_again());
            bench.listed(ticket, Listed::Unknown(trouble.clone()));
            listings += 1;
            assert!(listings <= most, "it goes on listing");
        }
    }
}

#[test]
fn our_ended_session_is_looked_for_although_a_listing_was_in_flight_when_it_ended() {
    let (mut bench, effects) = Bench::after(waiting(), found(9, &["a", "b"]));
    let (watch, listing_ticket) = (watch_ticket(&effects), list_ticket(&effects));
    let effects = bench.lock(lock::Event::Watched { ticket: watch, answer: found(12, &["b"]) });
    join(&effects);
    let reason = LossReason::DeadlinePassed;
    bench.lock(lock::Event::Session(Notice::Closed { generation: 1, reason }));
    bench.demand(Demand::default());
    // Both were served before the join took effect.
    let effects = bench.listed(listing_ticket, listing(9, &["a", "b"], &["a", "b"]));
    bench.listed(list_ticket(&effects), listing(12, &["b"], &["b"]));
    let ticket = bench.list_again();
    let effects = bench.listed(ticket, listing(13, &["b", OURS], &["b"]));
    assert_eq!(pruned(&effects), [OURS]);
}

#[test]
fn a_holder_that_is_reported_while_the_holders_are_listed_is_not_listed_for_again_at_once() {
    let (mut bench, effects) = Bench::after(waiting(), found(9, &["a", "b"]));
    let (ticket, listing_ticket) = (watch_ticket(&effects), list_ticket(&effects));
    bench.lock(lock::Event::Watched { ticket, answer: found(12, &["b", "c"]) });
    let effects = bench.listed(listing_ticket, listing(12, &["b", "c"], &["b", "c"]));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::List { .. })), "{effects:?}");
    bench.list_again();
}

#[test]
fn our_ended_session_is_not_waited_for_when_rights_or_the_entry_come_back() {
    let denied = Listed::Denied("key:list".into());
    let foreign = Entry { flags: 7, ..entry(10, roster(2, &["a", OURS]).to_bytes()) };
    let foreign = Listed::Found { entries: vec![("jobs/.lock".into(), foreign)], index: 10 };
    for answer in [denied, foreign, listing(9, &["a"], &["a"])] {
        let (mut bench, _, ticket) = ended_while_joining();
        bench.demand(waiting());
        bench.listed(ticket, answer);
        let ticket = bench.list_again();
        let effects = bench.listed(ticket, listing(12, &["a", OURS], &["a"]));
        assert_eq!(pruned(&effects), [OURS]);
    }
}

#[test]
fn an_ended_holder_is_removed_although_nobody_waits_any_more() {
    let (mut bench, effects) = Bench::after(trying(), found(9, &["a", "b"]));
    let ticket = list_ticket(&effects);
    bench.demand(Demand::default());
    let mut effects = bench.listed(ticket, listing(9, &["a", "b"], &["b"]));
    while !effects.iter().any(|effect| matches!(effect, Effect::Prune { .. })) {
        assert!(!bench.permit.is_quiet());
        let ticket = bench.list_again();
        effects = bench.listed(ticket, listing(9, &["a", "b"], &["b"]));
    }
    assert!(bench.permit.lock().is_quiet(), "a shutdown does not wait for this");
}

#[test]
fn without_the_right_to_list_or_to_remove_nothing_is_repeated_for_nobody() {
    let (mut bench, effects) = Bench::after(trying(), found(9, &["a", "b"]));
    let ticket = list_ticket(&effects);
    bench.demand(Demand::default());
    bench.listed(ticket, Listed::Denied("key:list".into()));
    assert!(bench.permit.is_quiet());

    let (mut bench, ticket) = Bench::waiting_for(&["a", "b"]);
    let mut effects = bench.listed(ticket, listing(9, &["a", "b"], &[]));
    bench.demand(Demand::default());
    while effects.is_empty() {
        let ticket = bench.list_again();
        effects = bench.listed(ticket, listing(9, &["a", "b"], &[]));
    }
    let [Effect::Prune { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    bench.step(Event::Pruned { ticket, answer: Pruned::Denied("key:write".into()) });
    assert!(bench.permit.is_quiet());
}

#[test]
fn after_the_death_of_its_actor_the_machine_reads_before_it_decides() {
    let mut bench = Bench::owning_beside(&["a"]);
    let mut effects = Vec::new();
    bench.permit.recover(bench.now, 10, &mut effects);
    let reason = LossReason::RuntimeFailed;
    assert_eq!(effects[0], Effect::Lock(lock::Effect::Lost { reason }));
    let notice = Notice::Fenced { generation: 1, fence: Fence::At(11) };
    let effects = bench.lock(lock::Event::Session(notice));
    let [Effect::Lock(lock::Effect::Read { ticket })] = effects[..] else { panic!("{effects:?}") };
    let effects = bench.lock(lock::Event::Read { ticket, answer: found(10, &["a", OURS]) });
    assert!(matches!(effects[..], [Effect::Leave { index: 10, .. }]), "{effects:?}");
}
