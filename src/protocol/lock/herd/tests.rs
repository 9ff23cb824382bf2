//! Simulates herds of waiters without a lock.

use super::*;

fn at(millis: u64) -> Moment {
    Moment::default() + Duration::from_secs(1_000) + Duration::from_millis(millis)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The cost of a herd after its first third.
#[derive(Debug)]
struct Cost {
    /// The mean number of watchers at a hand-over.
    watching: f64,
    /// Reads of the key during rests, per hand-over.
    looks: f64,
    /// The share of time in which the key was free.
    idle: f64,
    /// The longest wait, in hand-overs.
    longest: f64,
}

struct Chance(u64);

impl Chance {
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.share() * end as f64) as usize).min(end - 1)
    }
}

/// `members` take `turns` turns, each holding the key for `hold`. One of the
/// watchers wins the race `reaction` after a release.
fn herd(members: usize, hold: Duration, turns: u64) -> Cost {
    let reaction = millis(2);
    let mut chance = Chance(7);
    let mut herds: Vec<Herd> = (0..members).map(|_| Herd::default()).collect();
    let mut asked = vec![at(0); members];
    // When each member reads again; watchers do not.
    let mut looks: Vec<Option<Moment>> = vec![None; members];
    let (mut now, mut holder) = (at(0), 0);
    let mut begun = now;
    let (mut watching, mut looked, mut idle, mut longest) = (0, 0, Duration::ZERO, Duration::ZERO);
    for turn in 0..turns {
        if turn == turns / 3 {
            (begun, watching, looked, idle, longest) = (now, 0, 0, Duration::ZERO, Duration::ZERO);
        }
        for (member, herd) in herds.iter_mut().enumerate() {
            if member != holder && looks[member].is_none() {
                looks[member] = herd.look_again(now, turn, chance.share());
            }
        }
        let released = now + hold;
        let due = |looks: &[Option<Moment>], by: Moment| {
            let (at, member) =
                looks.iter().enumerate().filter_map(|(n, at)| Some(((*at)?, n))).min()?;
            (at <= by).then_some((at, member))
        };
        while let Some((at, member)) = due(&looks, released) {
            looked += 1;
            looks[member] = herds[member].look_again(at, turn, chance.share());
        }
        let racing: Vec<usize> =
            (0..members).filter(|member| *member != holder && looks[*member].is_none()).collect();
        watching += racing.len();
        let (won, winner) = if racing.is_empty() {
            let (at, first) = due(&looks, at(u64::MAX / 2_000_000)).expect("somebody rests");
            idle += at.since(released);
            (at + reaction, first)
        } else {
            (released + reaction, racing[chance.below(racing.len())])
        };
        herds[winner].won(won);
        longest = longest.max(won.since(asked[winner]));
        asked[holder] = won;
        (now, holder, looks[winner]) = (won, winner, None);
    }
    let turns = (turns - turns / 3) as f64;
    let span = now.since(begun).as_secs_f64();
    Cost {
        watching: watching as f64 / turns,
        looks: f64::from(looked) / turns,
        idle: idle.as_secs_f64() / span,
        longest: longest.as_secs_f64() / (span / turns),
    }
}

#[test]
fn of_fifty_about_ten_watch_and_the_key_does_not_lie_free() {
    for hold in [0, 5, 50].map(millis) {
        let cost = herd(50, hold, 5_000);
        assert!(cost.watching < 15.0 && cost.looks < 5.0, "{hold:?}: {cost:?}");
        assert!(cost.idle < 0.01, "{hold:?}: {cost:?}");
    }
}

#[test]
fn nobody_waits_for_many_times_a_fair_turn() {
    for members in [3, 10, 50] {
        let cost = herd(members, millis(5), 5_000);
        assert!(cost.longest < members as f64 * 12.0, "{members}: {cost:?}");
    }
}

#[test]
fn with_two_rivals_hardly_anybody_rests() {
    let cost = herd(3, millis(5), 5_000);
    assert!(cost.watching > 1.7, "{cost:?}");
    let cost = herd(2, millis(5), 5_000);
    assert!(cost.watching == 1.0 && cost.looks == 0.0, "{cost:?}");
}

/// A waiter that knows of a herd: it won after 40 hand-overs 10 ms apart.
fn one_of_many() -> Herd {
    let mut herd = Herd { rest: millis(350), learned_at: at(0), wait: None };
    assert!(herd.look_again(at(0), 1, 0.0).is_some());
    for turn in 0..5 {
        assert_eq!(herd.look_again(at(350 + 10 * turn), 30 + turn, 0.0), None);
    }
    herd.won(at(400));
    herd
}

#[test]
fn who_waited_long_in_a_herd_rests_for_most_of_that_before_it_watches() {
    let mut herd = one_of_many();
    let again = herd.look_again(at(400), 50, 0.5).expect("it rests");
    assert!(again > at(550) && again < at(800), "{again:?}");
    assert_eq!(herd.look_again(again, 70, 0.5), None);
}

#[test]
fn a_herd_of_long_ago_is_forgotten() {
    let mut herd = one_of_many();
    assert_eq!(herd.look_again(at(1_000), 50, 1.0), None);
    let mut herd = one_of_many();
    herd.won(at(500));
    assert_eq!(herd.look_again(at(500), 50, 1.0), None);
}

#[test]
fn the_key_is_looked_at_every_second_however_long_the_rest() {
    let mut herd = Herd { rest: Duration::from_secs(5), learned_at: at(0), wait: None };
    let (mut now, mut looks) = (at(0), 0);
    while let Some(again) = herd.look_again(now, 1, 1.0) {
        assert!(again > now && again <= now + UNSEEN);
        (now, looks) = (again, looks + 1);
    }
    assert_eq!((now, looks), (at(5_000), 5));
}

#[test]
fn a_wait_that_was_long_for_other_reasons_costs_seconds_at_most() {
    let mut herd = Herd::default();
    for turn in 0..7 {
        assert_eq!(herd.look_again(at(turn * 10_000_000), turn, 1.0), None);
    }
    herd.won(at(70_000_000));
    assert!(herd.rest <= LONGEST);
}
