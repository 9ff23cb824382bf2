//! The watch machine's rules, one per test.

#[cfg(feature = "embedded")]
mod world;

use super::{singles::AT_ONCE, *};
use crate::consul::fact::{Entry, Listed, SessionId};

fn at(millis: u64) -> Moment {
    Moment::default() + Duration::from_secs(1_000) + Duration::from_millis(millis)
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn entry(index: u64) -> Entry {
    let session = Some(theirs());
    Entry { session, modify_index: index, lock_index: 0, flags: 7, value: Vec::new() }
}

fn theirs() -> SessionId {
    "theirs".into()
}

fn found(index: u64) -> Seen {
    Seen::Found { entry: entry(index), index }
}

fn shows(entries: &[(&str, u64)], index: u64) -> Listed {
    let entries = entries.iter().map(|(key, index)| ((*key).into(), entry(*index))).collect();
    Listed::Found { entries, index }
}

fn broken() -> Trouble {
    Trouble::Broken("reset".into())
}

/// A machine stepped by hand.
struct Bench {
    watches: Watches,
    now: Moment,
    tickets: u64,
    probes: usize,
    waits: Vec<Duration>,
}

impl Bench {
    fn new(slots: usize) -> Self {
        Self {
            watches: Watches::new(slots, 1),
            now: at(0),
            tickets: 0,
            probes: 0,
            waits: Vec::new(),
        }
    }

    /// A machine without room for single reads. Its group of these keys has been listed
    /// once and is now in a blocking listing.
    fn grouped(keys: &[(&str, u64)], index: u64) -> (Self, Ticket) {
        let mut bench = Self::new(2);
        for (key, after) in keys {
            assert_eq!(bench.watch(key, *after), []);
        }
        let read = list(&bench.pass(50), None);
        assert_eq!(bench.listed(read, shows(keys, index)), []);
        let read = list(&bench.pass(1_000), Some(index));
        (bench, read)
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.watches.handle(self.now, event, &mut effects);
        if let Some(next) = self.watches.next_wakeup() {
            assert!(next > self.now, "it would tick for ever: {:?}", self.watches);
        }
        effects
    }

    fn watch(&mut self, name: &str, after: u64) -> Vec<Effect> {
        self.ask(name, after, false)
    }

    fn ask(&mut self, name: &str, after: u64, held: bool) -> Vec<Effect> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let holder = Some(theirs());
        self.step(Event::Watch { key: key(name), ticket, after, holder, held })
    }

    fn seen(&mut self, read: Ticket, answer: Seen) -> Vec<Effect> {
        self.step(Event::Seen { read, answer })
    }

    fn listed(&mut self, read: Ticket, answer: Listed) -> Vec<Effect> {
        self.step(Event::Listed { read, answer })
    }

    /// Advances time, with a tick whenever one is due.
    fn pass(&mut self, millis: u64) -> Vec<Effect> {
        let end = self.now + Duration::from_millis(millis);
        let mut effects = Vec::new();
        while let Some(due) = self.watches.next_wakeup().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            for effect in self.step(Event::Tick) {
                match effect {
                    // The agent accepts the connection.
                    Effect::Probe { read } => {
                        self.probes += 1;
                        effects.extend(self.step(Event::Probed { read, refused: false }));
                    }
                    effect => effects.push(effect),
                }
            }
        }
        self.now = end;
        effects
    }

    fn answered(&self, name: &str, ticket: u64, answer: Seen) -> Effect {
        Effect::Answer { key: key(name), ticket: Ticket(ticket), answer }
    }
}

/// Expects a blocking read as the only effect.
fn read(effects: &[Effect]) -> Ticket {
    let [Effect::Read { read, .. }] = effects else { panic!("{effects:?}") };
    *read
}

/// Expects a listing as the only effect.
fn list(effects: &[Effect], from: Option<u64>) -> Ticket {
    let [Effect::List { read, after, .. }] = effects else { panic!("{effects:?}") };
    assert_eq!(*after, from);
    *read
}

/// Expects a check of the key as the only effect.
fn check(effects: &[Effect], name: &str) -> Ticket {
    let [Effect::Check { read, key }] = effects else { panic!("{effects:?}") };
    assert_eq!(key.as_str(), name);
    *read
}

#[test]
fn a_key_has_a_read_of_its_own_while_there_is_room() {
    let mut bench = Bench::new(22);
    let reads: Vec<_> = (0..10).map(|n| read(&bench.watch(&format!("k{n}"), 5))).collect();
    assert_eq!(bench.watch("k-more", 5), []);
    // The end of a read makes room.
    let answered = bench.seen(reads[0], found(9));
    assert_eq!(answered, [bench.answered("k0", 1, found(9))]);
    read(&bench.watch("k0", 9));
}

#[test]
fn the_end_of_a_wait_is_told_although_nothing_changed() {
    let mut bench = Bench::new(22);
    let ticket = read(&bench.watch("k", 5));
    assert_eq!(bench.seen(ticket, found(5)), [bench.answered("k", 1, found(5))]);
    assert_eq!(bench.pass(200_000), []);
}

#[test]
fn a_later_watch_of_a_key_uses_the_read_under_way_and_hears_only_newer_news() {
    let mut bench = Bench::new(22);
    let first = read(&bench.watch("k", 5));
    assert_eq!(bench.watch("k", 8), []);
    let second = read(&bench.seen(first, found(8)));
    assert_eq!(bench.seen(second, found(9)), [bench.answered("k", 2, found(9))]);
}

#[test]
fn a_watch_from_before_the_read_under_way_gets_another_and_the_old_one_counts_on() {
    let mut bench = Bench::new(4);
    let first = read(&bench.watch("k", 50));
    // The only place for such a read is taken.
    assert_eq!(bench.watch("k", 5), []);
    list(&bench.pass(50), None);
    assert_eq!(bench.seen(first, found(6)), []);
}

#[test]
fn keys_without_a_read_of_their_own_are_listed_together_and_then_waited_for() {
    let (mut bench, ticket) = Bench::grouped(&[("jobs/1", 5), ("jobs/2", 6)], 6);
    let told = bench.listed(ticket, shows(&[("jobs/1", 5), ("jobs/2", 9)], 9));
    assert_eq!(told, [bench.answered("jobs/2", 2, found(9))]);
    list(&bench.pass(50), Some(9));
}

#[test]
fn another_holder_at_the_watched_index_is_checked_and_told() {
    let (mut bench, ticket) = Bench::grouped(&[("jobs/1", 5), ("jobs/2", 6)], 6);
    let other = Entry { session: Some("another".into()), ..entry(5) };
    let entries = vec![("jobs/1".into(), other.clone()), ("jobs/2".into(), entry(6))];
    let ticket = check(&bench.listed(ticket, Listed::Found { entries, index: 7 }), "jobs/1");
    let answer = Seen::Found { entry: other, index: 5 };
    assert_eq!(bench.seen(ticket, answer.clone()), [bench.answered("jobs/1", 1, answer)]);
}

#[test]
fn what_changed_before_the_first_listing_is_told_by_it() {
    let mut bench = Bench::new(2);
    bench.watch("jobs/1", 5);
    bench.watch("jobs/2", 6);
    let ticket = list(&bench.pass(50), None);
    let told = bench.listed(ticket, shows(&[("jobs/1", 7)], 8));
    let missing = Seen::Missing { index: 8 };
    assert_eq!(told, [bench.answered("jobs/1", 1, found(7)), bench.answered("jobs/2", 2, missing)]);
}

#[test]
fn an_older_index_is_news_of_another_history() {
    let (mut bench, ticket) = Bench::grouped(&[("jobs/1", 500), ("jobs/2", 600)], 600);
    // The store was replaced: the wait ended at a lower index.
    let told = bench.listed(ticket, shows(&[("jobs/1", 50), ("jobs/2", 60)], 60));
    assert_eq!(told.len(), 2, "{told:?}");
    bench.watch("jobs/3", 70);
    list(&bench.pass(50), None);
}

#[test]
fn a_listing_sent_before_a_watch_tells_nothing_from_before_it() {
    let (mut bench, ticket) = Bench::grouped(&[("jobs/1", 5), ("jobs/2", 6)], 6);
    // The key was created or changed after the listing in flight.
    bench.watch("jobs/1", 20);
    bench.watch("jobs/3", 21);
    assert_eq!(bench.listed(ticket, shows(&[("jobs/1", 5), ("jobs/2", 6)], 12)), []);
    let ticket = list(&bench.pass(50), Some(12));
    let all = shows(&[("jobs/1", 20), ("jobs/2", 6), ("jobs/3", 22)], 22);
    assert_eq!(bench.listed(ticket, all), [bench.answered("jobs/3", 4, found(22))]);
}

#[test]
fn a_key_that_joins_is_read_only_if_the_last_listing_knows_better() {
    let shown = [("jobs/1", 5), ("jobs/2", 60)];
    let (mut bench, _) = Bench::grouped(&shown, 60);
    // As listed, and changed since.
    assert_eq!(bench.watch("jobs/1", 5), []);
    assert_eq!(bench.watch("jobs/2", 61), []);
    // Created since.
    assert_eq!(bench.watch("jobs/22", 61), []);
    // Listed as newer than the watch, and as already missing.
    let newer = check(&bench.watch("jobs/2", 59), "jobs/2");
    assert_eq!(bench.watch("jobs/23", 40), []);
    let effects = bench.seen(newer, found(60));
    assert_eq!(effects[0], bench.answered("jobs/2", 6, found(60)));
    let missing = check(&effects[1..], "jobs/23");
    let told = bench.seen(missing, Seen::Missing { index: 60 });
    assert_eq!(told, [bench.answered("jobs/23", 7, Seen::Missing { index: 60 })]);
}

#[test]
fn an_owner_is_told_that_its_key_is_gone_only_by_a_read_of_the_key() {
    let mut bench = Bench::new(2);
    bench.ask("jobs/1", 5, true);
    let ticket = list(&bench.pass(50), None);
    let ticket = check(&bench.listed(ticket, shows(&[], 9)), "jobs/1");
    // The token may not list the prefix, so the key is read by itself.
    assert_eq!(bench.seen(ticket, found(5)), []);
    let ticket = check(&bench.pass(2_000), "jobs/1");
    let gone = Seen::Missing { index: 11 };
    assert_eq!(bench.seen(ticket, gone.clone()), [bench.answered("jobs/1", 1, gone)]);
}

#[test]
fn a_listing_that_fails_is_begun_anew_after_a_growing_pause_without_waiting() {
    let (mut bench, mut ticket) = Bench::grouped(&[("jobs/1", 5)], 5);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        assert_eq!(bench.listed(ticket, Listed::Unknown(broken())), []);
        let failed = bench.now;
        let due = bench.watches.next_wakeup().unwrap();
        pauses.push(due.since(failed));
        ticket = list(&bench.pass(8_000), None);
    }
    assert!(pauses[0] <= Duration::from_millis(250), "{pauses:?}");
    assert!(pauses[5] >= Duration::from_secs(4), "{pauses:?}");
    // Nothing changed meanwhile, so nothing is reported.
    assert_eq!(bench.listed(ticket, shows(&[("jobs/1", 5)], 5)), []);
    list(&bench.pass(1_000), Some(5));
}

#[test]
fn who_waits_hears_of_an_interruption_if_there_is_news_and_an_owner_hears_the_news() {
    let (mut bench, _) = Bench::grouped(&[("jobs/1", 5)], 5);
    bench.ask("jobs/1", 5, true);
    bench.watch("jobs/1x", 6);
    let ticket = bench.watches.lists.keys().next().copied().unwrap();
    assert_eq!(bench.listed(ticket, Listed::Unknown(broken())), []);
    let ticket = list(&bench.pass(500), None);
    let told = bench.listed(ticket, shows(&[("jobs/1", 8), ("jobs/1x", 9)], 9));
    assert_eq!(told[0], bench.answered("jobs/1", 2, found(8)));
    assert!(matches!(told[1], Effect::Answer { answer: Seen::Unknown(_), .. }), "{told:?}");
}

#[test]
fn a_single_read_that_fails_is_repeated_quietly() {
    let mut bench = Bench::new(22);
    let ticket = read(&bench.watch("k", 5));
    assert_eq!(bench.seen(ticket, Seen::Unknown(broken())), []);
    let ticket = read(&bench.pass(250));
    assert_eq!(bench.seen(ticket, found(5)), [bench.answered("k", 1, found(5))]);
}

#[test]
fn a_denial_is_told() {
    let mut bench = Bench::new(22);
    let ticket = read(&bench.watch("k", 5));
    let denial = Seen::Denied("key:read".into());
    assert_eq!(bench.seen(ticket, denial.clone()), [bench.answered("k", 1, denial)]);
}

#[test]
fn a_name_that_no_blocking_read_may_have_is_checked_from_time_to_time() {
    let refusal = Seen::NameRefused("status 400".into());
    for held in [false, true] {
        let mut bench = Bench::new(22);
        let ticket = read(&bench.ask("k", 5, held));
        let mut checked = check(&bench.seen(ticket, refusal.clone()), "k");
        for _ in 0..10 {
            assert_eq!(bench.seen(checked, found(5)), []);
            assert_eq!(bench.pass(900), [], "no sooner than a second later");
            checked = check(&bench.pass(1_100), "k");
        }
        assert_eq!(bench.seen(checked, found(6)), [bench.answered("k", 1, found(6))]);

        // The check meets the refusal, too.
        let ticket = read(&bench.ask("k", 6, held));
        let checked = check(&bench.seen(ticket, refusal.clone()), "k");
        let told = bench.answered("k", 2, refusal.clone());
        assert_eq!(bench.seen(checked, refusal.clone()), [told]);
    }
}

#[test]
fn what_may_not_be_listed_or_is_too_long_is_read_key_by_key() {
    for answer in [
        Listed::Denied("key:list".into()),
        Listed::NameRefused("status 400".into()),
        Listed::Unknown(Trouble::TooLong),
    ] {
        let mut bench = Bench::new(2);
        bench.watch("jobs/1", 5);
        bench.watch("jobs/2", 5);
        let ticket = list(&bench.pass(50), None);
        // There is room for only one read.
        let one = check(&bench.listed(ticket, answer), "jobs/1");
        let two = check(&bench.seen(one, found(5)), "jobs/2");
        assert_eq!(bench.seen(two, found(6)), [bench.answered("jobs/2", 2, found(6))]);
        check(&bench.pass(2_000), "jobs/1");
    }
}

#[test]
fn a_prefix_where_most_is_of_strangers_is_split() {
    let mut bench = Bench::new(8);
    // Room for listings of two prefixes and one more, and for three single reads.
    let names: Vec<String> = (0..6).map(|n| format!("jobs/{n}")).collect();
    let singles: Vec<_> = names.iter().flat_map(|name| bench.watch(name, 5)).collect();
    assert_eq!(singles.len(), 3, "{singles:?}");
    let ticket = list(&bench.pass(50), None);
    let strangers: Vec<String> = (0..1_000).map(|n| format!("jobs/5{n:04}")).collect();
    let mut entries: Vec<(&str, u64)> = strangers.iter().map(|name| (&**name, 4)).collect();
    entries.extend(names.iter().map(|name| (&**name, 5)));
    let effects = bench.listed(ticket, shows(&entries, 5));
    let prefixes: Vec<_> = effects
        .iter()
        .map(|effect| match effect {
            Effect::List { prefix, after, .. } => (&**prefix, *after),
            other => panic!("{other:?}"),
        })
        .collect();
    // One of them at a time: they do not block.
    assert_eq!(prefixes, [("jobs/3", None)]);
}

#[test]
fn many_keys_make_few_listings_each_of_its_own_prefix() {
    let mut bench = Bench::new(22);
    let mut started = Vec::new();
    for n in 0..2_000 {
        started.extend(bench.watch(&format!("jobs/{n:04}"), 5));
    }
    assert_eq!(started.len(), 10);
    let mut lists: Vec<Effect> = bench.pass(50);
    let mut prefixes = Vec::new();
    while let Some(Effect::List { read, prefix, after: None, .. }) = lists.pop() {
        prefixes.push(prefix.clone());
        let names: Vec<String> = (0..2_000).map(|n| format!("jobs/{n:04}")).collect();
        let under = names.iter().filter(|name| name.starts_with(&*prefix));
        let entries: Vec<(&str, u64)> = under.map(|name| (&**name, 5)).collect();
        lists.extend(bench.listed(read, shows(&entries, 5)));
    }
    // The ten single reads leave room for ten blocking listings, one fewer than there
    // are prefixes.
    prefixes.sort();
    assert_eq!(prefixes.len(), 11, "{prefixes:?}");
    assert!(bench.watches.blocking() <= 20);
}

#[test]
fn a_listing_rests_the_longer_the_more_it_showed() {
    let names: Vec<String> = (0..200).map(|n| format!("jobs/{n:03}")).collect();
    let mut entries: Vec<(&str, u64)> = names.iter().map(|name| (&**name, 5)).collect();
    let (mut bench, ticket) = Bench::grouped(&entries, 5);
    entries[7].1 = 9;
    assert_eq!(bench.listed(ticket, shows(&entries, 9)).len(), 1);
    assert_eq!(bench.pass(6), []);
    list(&bench.pass(1), Some(9));
}

#[test]
fn noise_of_strangers_is_listened_to_less_and_less_often() {
    let (mut bench, mut ticket) = Bench::grouped(&[("jobs/1", 5)], 5);
    for (round, gap) in [4, 8, 16, 32, 32].into_iter().enumerate() {
        let index = 10 + round as u64;
        bench.listed(ticket, shows(&[("jobs/1", 5), ("jobs/17", index)], index));
        assert_eq!(bench.pass(gap), []);
        ticket = list(&bench.pass(1), Some(index));
    }
}

#[test]
fn a_watch_without_news_ends_after_a_while_and_its_prefix_is_not_listed_for_ever() {
    let (mut bench, ticket) = Bench::grouped(&[("jobs/1", 5), ("jobs/2", 5)], 5);
    let over = bench.pass(120_000);
    assert_eq!(over.len(), 2, "{over:?}");
    assert!(over.iter().all(|effect| matches!(effect, Effect::Unchanged { .. })));
    assert_eq!(bench.listed(ticket, shows(&[("jobs/1", 5)], 5)), []);
    assert_eq!(bench.pass(200_000), []);
    assert!(bench.watches.groups.is_empty());
}

#[test]
fn held_keys_leave_the_reads_of_their_own_to_those_that_are_waited_for() {
    let mut bench = Bench::new(22);
    for n in 0..5 {
        read(&bench.ask(&format!("held/{n}"), 5, true));
    }
    assert_eq!(bench.ask("held/6", 5, true), []);
    for n in 0..5 {
        read(&bench.ask(&format!("wanted/{n}"), 5, false));
    }
    assert_eq!(bench.ask("wanted/6", 5, false), []);
}

#[test]
fn a_single_connection_waits_for_a_change_of_any_key() {
    let mut bench = Bench::new(1);
    bench.watch("jobs/1", 5);
    bench.watch("jobs/2", 5);
    let ticket = list(&bench.pass(50), None);
    let both = [("jobs/1", 5), ("jobs/2", 5)];
    assert_eq!(bench.listed(ticket, shows(&both, 5)), []);
    list(&bench.pass(30), Some(5));
}

#[test]
fn a_prefix_is_listed_from_time_to_time_while_another_listing_has_the_only_place() {
    let mut bench = Bench::new(1);
    bench.watch("jobs/1", 5);
    let first = list(&bench.pass(50), None);
    assert_eq!(bench.listed(first, shows(&[("jobs/1", 5)], 5)), []);
    let blocking = list(&bench.pass(30), Some(5));
    bench.watch("other/1", 5);
    let mut ticket = list(&bench.pass(50), None);
    let both = [("jobs/1", 5), ("other/1", 5)];
    for _ in 0..3 {
        assert_eq!(bench.listed(ticket, shows(&both, 5)), []);
        assert_eq!(bench.pass(990), []);
        ticket = list(&bench.pass(30), None);
    }
    assert_eq!(bench.listed(ticket, shows(&both, 5)), []);
    assert_eq!(bench.listed(blocking, shows(&[("jobs/1", 5)], 5)), []);
    list(&bench.pass(30), Some(5));
}

/// The number of single reads now in flight.
fn reads(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Read { .. })).count()
}

#[test]
fn more_room_is_used_at_once() {
    let mut bench = Bench::new(1);
    bench.watch("jobs/1", 5);
    read(&bench.step(Event::Carries(22)));
}

#[test]
fn keys_that_are_listed_for_want_of_room_have_reads_of_their_own_when_there_is_more() {
    let mut bench = Bench::new(38);
    let names: Vec<String> = (0..1_000).map(|n| format!("jobs/{n:03}")).collect();
    let singles: usize = names.iter().map(|name| reads(&bench.watch(name, 5))).sum();
    assert_eq!(singles, 17);
    bench.pass(50);
    let at_once = reads(&bench.step(Event::Carries(240)));
    assert_eq!(at_once, AT_ONCE);
    assert_eq!(17 + at_once + reads(&bench.pass(200)), 1_000);
    // The listings in flight no longer serve them.
    for read in bench.watches.lists.keys().copied().collect::<Vec<_>>() {
        assert_eq!(bench.listed(read, shows(&[("jobs/001", 9)], 9)), []);
    }
    assert_eq!(bench.pass(10_000), []);
    assert!(bench.watches.groups.is_empty());
}

#[test]
fn no_more_reads_are_begun_in_new_room_when_the_agent_refuses_one() {
    let mut bench = Bench::new(38);
    for n in 0..1_000 {
        bench.watch(&format!("jobs/{n:03}"), 5);
    }
    bench.pass(50);
    let first = bench.step(Event::Carries(16));
    assert_eq!(reads(&first), AT_ONCE);
    let Some(Effect::Read { read, .. }) = first.first() else { panic!("{first:?}") };
    let refused = Seen::Unknown(Trouble::Refused("full".into()));
    bench.seen(*read, refused);
    assert_eq!(reads(&bench.pass(1_000)), 0);
}

#[test]
fn keys_that_are_polled_have_reads_of_their_own_when_there_is_room() {
    let mut bench = Bench::new(2);
    bench.watch("jobs/1", 5);
    let ticket = list(&bench.pass(50), None);
    let ticket = check(&bench.listed(ticket, Listed::Denied("key:list".into())), "jobs/1");
    let single = read(&bench.step(Event::Carries(11)));
    assert_eq!(bench.seen(ticket, found(5)), []);
    assert_eq!(bench.pass(10_000), []);
    assert_eq!(bench.seen(single, found(6)), [bench.answered("jobs/1", 1, found(6))]);
}

#[test]
fn keys_listed_after_a_refusal_have_reads_of_their_own_when_it_has_been_quiet() {
    let mut bench = Bench::new(22);
    let first = read(&bench.watch("k0", 5));
    (1..8).for_each(|n| _ = read(&bench.watch(&format!("k{n}"), 5)));
    let refused = Seen::Unknown(Trouble::Refused("full".into()));
    assert_eq!(bench.seen(first, refused), []);
    assert_eq!(bench.watches.connections(), (4, 22));
    // The blocking reads continue, and none is started.
    assert_eq!(reads(&bench.watch("k9", 5)) + reads(&bench.pass(19_000)), 0);
    bench.pass(1_000);
    assert_eq!(bench.watches.connections(), (5, 22));
}

#[test]
fn an_agent_that_refuses_a_probe_or_a_renewal_is_full() {
    let mut bench = Bench::new(22);
    (0..8).for_each(|n| _ = read(&bench.watch(&format!("k{n}"), 5)));
    bench.step(Event::Refused);
    assert_eq!(bench.watches.connections().0, 4);
    let mut probe = None;
    while probe.is_none() {
        bench.now = bench.watches.next_wakeup().unwrap();
        let effects = bench.step(Event::Tick);
        probe = effects.iter().find_map(|effect| match effect {
            Effect::Probe { read } => Some(*read),
            _ => None,
        });
    }
    let before = bench.watches.connections().0;
    assert_eq!(bench.step(Event::Probed { read: probe.unwrap(), refused: true }), []);
    assert!(bench.watches.connections().0 < before);
}

#[test]
fn the_agent_is_probed_while_reads_stand_and_left_alone_otherwise() {
    let mut bench = Bench::new(22);
    let ticket = read(&bench.watch("k", 5));
    bench.pass(50_000);
    assert!((1..=2).contains(&bench.probes), "{}", bench.probes);
    bench.seen(ticket, found(9));
    let probes = bench.probes;
    bench.pass(200_000);
    assert_eq!(bench.probes, probes);
}

#[test]
fn reads_that_a_gateway_cuts_off_are_begun_anew_soon_and_then_wait_for_less() {
    let mut bench = Bench::new(22);
    let mut ticket = read(&bench.watch("k", 5));
    for _ in 0..3 {
        assert_eq!(bench.pass(5_000), []);
        let page = Trouble::NotConsul("status 504".into());
        assert_eq!(bench.seen(ticket, Seen::Unknown(page)), []);
        let again = bench.pass(250);
        ticket = read(&again);
        if let [Effect::Read { wait, .. }] = &again[..] {
            bench.waits.push(*wait);
        }
    }
    let [long, longer, short] = bench.waits[..] else { panic!("{:?}", bench.waits) };
    assert!(long == longer && short < Duration::from_secs(5), "{:?}", bench.waits);
    assert_eq!(bench.seen(ticket, found(5)), [bench.answered("k", 1, found(5))]);
}
