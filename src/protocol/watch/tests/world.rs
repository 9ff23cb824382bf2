//! Runs the watch machine against an embedded Consul, with keys that appear and
//! disappear, late and lost reads, and random changes.

use super::*;
use crate::{
    consul::{
        Answer,
        ask::{Ask as _, Keyspace, List, Watch},
        wire::{Method, WireReply, WireRequest},
    },
    embedded::{
        api::{Api, Parked, Response},
        engine::{PutMode, Settings},
    },
};

/// The load and the faults of one run.
#[derive(Clone, Copy, Debug)]
struct Weather {
    slots: usize,
    /// How many reads a connection carries after 30 s.
    carries_later: Option<usize>,
    keys: usize,
    /// Percentage of lost reads.
    lost: u64,
    reset: u64,
    /// Whether the store is replaced occasionally.
    replaced: bool,
    /// Whether changes come in bursts. After a burst, nothing else wakes a read that
    /// missed a change.
    bursts: bool,
    /// The time limit for reporting a change.
    bound: Duration,
}

const CALM: Weather = Weather {
    slots: 22,
    carries_later: None,
    keys: 100,
    lost: 0,
    reset: 0,
    replaced: false,
    bursts: false,
    bound: Duration::from_millis(2_500),
};

/// The watcher of a key.
#[derive(Debug)]
struct Watcher {
    ticket: Ticket,
    after: u64,
    held: bool,
    /// Since when the key differs from the watch's index.
    outdated: Option<Moment>,
}

#[derive(Debug)]
enum Item {
    Arrives(Asked, WireRequest),
    Returns(Event),
    /// Keys change.
    Change,
    /// A key's watch starts or ends.
    Turn,
    /// A key that was read gets watched.
    Watch(Key, u64),
    /// A connection carries more reads.
    Carries(usize),
}

#[derive(Clone, Debug)]
enum Asked {
    Key(Ticket, Watch),
    Prefix(Ticket, List),
}

struct World {
    weather: Weather,
    now: Moment,
    random: u64,
    api: Api,
    watches: Watches,
    agenda: BTreeMap<(Moment, u64), Item>,
    scheduled: u64,
    parked: Vec<(Asked, Parked, bool)>,
    under_way: BTreeSet<Ticket>,
    watchers: BTreeMap<Key, Watcher>,
    tickets: Tickets,
    answers: usize,
    kinds: [usize; 4],
}

impl World {
    fn new(weather: Weather, seed: u64) -> Self {
        let now = Moment::default() + Duration::from_secs(3_600);
        let mut world = Self {
            weather,
            now,
            random: seed,
            api: Api::new(Settings::default()),
            watches: Watches::new(weather.slots, seed),
            agenda: BTreeMap::new(),
            scheduled: 0,
            parked: Vec::new(),
            under_way: BTreeSet::new(),
            watchers: BTreeMap::new(),
            tickets: Tickets::default(),
            answers: 0,
            kinds: [0; 4],
        };
        for n in 0..weather.keys {
            world.write(&world.name(n));
        }
        world.after(Duration::ZERO, Item::Change);
        world.after(Duration::ZERO, Item::Turn);
        if let Some(reads) = weather.carries_later {
            world.after(Duration::from_secs(30), Item::Carries(reads));
        }
        world
    }

    fn name(&self, n: usize) -> Key {
        // Several branches, a key that is the stem of others, and one with dots.
        let name = match n % 11 {
            0 => format!("jobs/{n:04}/lock"),
            1 => format!("größe/{n}"),
            2 => format!("a/..{n}"),
            3 => "jobs/0".to_owned(),
            _ => format!("jobs/{n:04}"),
        };
        Key::new(name).expect("a valid key")
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.draw(below))
    }

    fn after(&mut self, pause: Duration, item: Item) {
        self.scheduled += 1;
        self.agenda.insert((self.now + pause, self.scheduled), item);
    }

    fn index_of(&self, key: &Key) -> Option<u64> {
        self.api.engine.pair(key.as_str().as_bytes()).map(|pair| pair.modify_index)
    }

    fn write(&mut self, key: &Key) {
        let value = self.draw(1 << 40).to_string().into_bytes();
        let _ = self.api.engine.put(self.now, key.as_str().as_bytes(), value, 7, PutMode::Plain);
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let wakeup = self.watches.next_wakeup();
            let item = self.agenda.keys().next().map(|(at, _)| *at);
            let deadline = self.parked.iter().map(|(_, parked, _)| parked.deadline()).min();
            let next = [wakeup, item, deadline].into_iter().flatten().min();
            let next = next.expect("changes go on");
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if wakeup == Some(next) {
                self.feed(Event::Tick);
                assert!(self.watches.next_wakeup() > Some(self.now), "it ticks for ever");
            } else if let Some(entry) = self.agenda.first_entry().filter(|e| e.key().0 == next) {
                let item = entry.remove();
                self.happen(item);
            }
            self.unpark();
            self.check();
        }
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Arrives(asked, request) => self.arrive(asked, &request),
            Item::Returns(event) => {
                match &event {
                    Event::Seen { read, .. } | Event::Listed { read, .. } => {
                        assert!(self.under_way.remove(read));
                    }
                    Event::Probed { .. } => {}
                    _ => unreachable!(),
                }
                self.feed(event);
            }
            Item::Change => {
                for _ in 0..=self.draw(3) {
                    let n = self.draw(self.weather.keys as u64 * 2) as usize;
                    let key = self.name(n);
                    if self.draw(4) == 0 {
                        self.api.engine.delete(self.now, key.as_str().as_bytes(), None);
                    } else {
                        self.write(&key);
                    }
                }
                if self.weather.replaced && self.draw(200) == 0 {
                    self.api.engine.restart_empty(self.now);
                    for n in 0..self.weather.keys {
                        self.write(&self.name(n));
                    }
                }
                let pause = match (self.weather.bursts, self.draw(20)) {
                    (false, _) => self.millis(400),
                    (true, 0) => Duration::from_secs(6),
                    (true, _) => self.millis(15),
                };
                self.after(pause, Item::Change);
            }
            Item::Turn => {
                let n = self.draw(self.weather.keys as u64) as usize;
                let key = self.name(n);
                if self.watchers.remove(&key).is_none() || self.draw(3) > 0 {
                    self.watch(key);
                }
                let pause = self.millis(60);
                self.after(pause, Item::Turn);
            }
            Item::Watch(key, after) => self.ask(key, after),
            Item::Carries(reads) => {
                self.weather.slots *= reads;
                self.feed(Event::Carries(reads));
            }
        }
    }

    /// Watches an existing key from its current index, a little later, because its
    /// state must be read first.
    fn watch(&mut self, key: Key) {
        let Some(after) = self.index_of(&key) else { return };
        let later = self.millis(40);
        self.after(later, Item::Watch(key, after));
    }

    fn ask(&mut self, key: Key, after: u64) {
        let (ticket, held) = (self.tickets.next(), self.draw(3) == 0);
        let watcher = Watcher { ticket, after, held, outdated: None };
        self.watchers.insert(key.clone(), watcher);
        self.feed(Event::Watch { key, ticket, after, holder: None, held });
    }

    fn feed(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.watches.handle(self.now, event, &mut effects);
        for effect in effects {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        let asked = match effect {
            Effect::Read { read, key, after, wait } => {
                self.kinds[0] += 1;
                Asked::Key(read, Watch { key, after: Some(after), wait })
            }
            Effect::Check { read, key } => {
                self.kinds[1] += 1;
                Asked::Key(read, Watch { key, after: None, wait: Duration::ZERO })
            }
            Effect::List { read, prefix, after, wait } => {
                self.kinds[2 + usize::from(after.is_some())] += 1;
                Asked::Prefix(read, List { prefix, after, wait })
            }
            Effect::Probe { read } => {
                let refused = self.draw(100) < self.weather.reset;
                let later = self.millis(3_000);
                return self.after(later, Item::Returns(Event::Probed { read, refused }));
            }
            Effect::Answer { key, ticket, answer } => return self.answered(key, ticket, &answer),
            Effect::Unchanged { key, ticket } => {
                let is_its = |watcher: &&mut Watcher| watcher.ticket == ticket;
                if let Some(watcher) = self.watchers.get_mut(&key).filter(is_its) {
                    let (after, held, ticket) = (watcher.after, watcher.held, self.tickets.next());
                    watcher.ticket = ticket;
                    self.feed(Event::Watch { key, ticket, after, holder: None, held });
                }
                return;
            }
        };
        let keys = Keyspace::default();
        let (read, request) = match &asked {
            Asked::Key(read, ask) => (read, ask.request(&keys)),
            Asked::Prefix(read, ask) => (read, ask.request(&keys)),
        };
        assert!(self.under_way.insert(*read));
        // With a single slot, short reads use other connections.
        assert!(self.under_way.len() <= self.weather.slots.max(2), "{:?}", self.watches);
        let lot = self.draw(100);
        if lot < self.weather.lost {
            let limit = Duration::from_secs(if request.blocks { 34 } else { 2 });
            self.after(limit, Item::Returns(failed(&asked, Trouble::Timeout(limit))));
        } else if lot < self.weather.lost + self.weather.reset {
            let later = self.millis(3_000);
            let trouble = if lot & 1 == 0 {
                Trouble::Broken("reset".into())
            } else {
                Trouble::Refused("full".into())
            };
            self.after(later, Item::Returns(failed(&asked, trouble)));
        } else {
            let later = self.millis(20);
            assert_eq!(request.method, Method::Get);
            self.after(later, Item::Arrives(asked, request));
        }
    }

    fn arrive(&mut self, asked: Asked, request: &WireRequest) {
        match self.api.respond(self.now, request) {
            Response::Now(reply) => self.reply(&asked, &reply),
            Response::Parked(parked) => self.parked.push((asked, parked, false)),
        }
    }

    fn unpark(&mut self) {
        for place in (0..self.parked.len()).rev() {
            if let Some(reply) = self.api.recheck(self.now, &self.parked[place].1) {
                let (asked, ..) = self.parked.swap_remove(place);
                self.reply(&asked, &reply);
            }
        }
    }

    fn reply(&mut self, asked: &Asked, reply: &WireReply) {
        let (answer, keys) = (Answer::new(reply, None), Keyspace::default());
        let event = match asked {
            Asked::Key(read, ask) => Event::Seen { read: *read, answer: ask.read(&keys, answer) },
            Asked::Prefix(read, ask) => {
                Event::Listed { read: *read, answer: ask.read(&keys, answer) }
            }
        };
        let later = self.millis(20);
        self.after(later, Item::Returns(event));
    }

    fn answered(&mut self, key: Key, ticket: Ticket, answer: &Seen) {
        let is_its = |watcher: &&Watcher| watcher.ticket == ticket;
        let Some(watcher) = self.watchers.get(&key).filter(is_its) else { return };
        self.answers += 1;
        if let Seen::Missing { .. } = answer
            && watcher.held
        {
            assert!(watcher.outdated.is_some(), "{key} is there");
        }
        self.watchers.remove(&key);
        // An answered watcher reads the key and watches it again.
        self.watch(key);
    }

    /// Asserts that every change is reported in time.
    fn check(&mut self) {
        for (key, watcher) in &mut self.watchers {
            let pair = self.api.engine.pair(key.as_str().as_bytes());
            if pair.map(|pair| pair.modify_index) == Some(watcher.after) {
                watcher.outdated = None;
            } else {
                let since = *watcher.outdated.get_or_insert(self.now);
                assert!(
                    self.now.since(since) <= self.weather.bound,
                    "{key} changed {:?} ago: {watcher:?} {:?}",
                    self.now.since(since),
                    self.watches
                );
            }
        }
    }
}

fn failed(asked: &Asked, trouble: Trouble) -> Event {
    match asked {
        Asked::Key(read, _) => Event::Seen { read: *read, answer: Seen::Unknown(trouble) },
        Asked::Prefix(read, _) => Event::Listed { read: *read, answer: Listed::Unknown(trouble) },
    }
}

fn play(weather: Weather, seeds: std::ops::Range<u64>) -> [usize; 4] {
    let mut kinds = [0; 4];
    for seed in seeds {
        let mut world = World::new(weather, seed);
        world.run(Duration::from_secs(120));
        assert!(world.answers > 20, "{weather:?} {seed}: {}", world.answers);
        kinds.iter_mut().zip(world.kinds).for_each(|(sum, kind)| *sum += kind);
    }
    kinds
}

#[test]
fn every_change_is_told_soon_and_no_more_reads_are_under_way_than_allowed() {
    for slots in [1, 2, 3, 5, 8, 22, 60] {
        let kinds = play(Weather { slots, ..CALM }, 0..2);
        assert!(slots < 4 || kinds.iter().all(|count| *count > 0), "{slots}: {kinds:?}");
    }
}

#[test]
fn what_changes_just_before_a_key_joins_a_listing_is_not_missed() {
    for slots in [2, 8, 22] {
        play(Weather { slots, bursts: true, ..CALM }, 0..4);
    }
}

#[test]
fn no_change_is_missed_when_keys_that_are_listed_get_reads_of_their_own() {
    for (slots, reads) in [(1, 22), (2, 30), (8, 50)] {
        play(Weather { slots, carries_later: Some(reads), bursts: true, ..CALM }, 0..4);
    }
}

#[test]
fn keys_by_the_hundred_are_told_of_as_well() {
    play(Weather { keys: 1_000, ..CALM }, 0..1);
}

#[test]
fn what_is_lost_or_reset_delays_the_news_and_loses_none() {
    for slots in [2, 8, 22] {
        let bound = Duration::from_secs(120);
        play(Weather { slots, lost: 3, reset: 6, bound, ..CALM }, 0..3);
    }
}

#[test]
fn another_store_with_lower_indexes_is_noticed() {
    for slots in [2, 8, 22] {
        let bound = Duration::from_secs(70);
        play(Weather { slots, replaced: true, bound, ..CALM }, 0..3);
    }
}
