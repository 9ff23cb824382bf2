//! Several keys at once: many callers of several runtimes with overlapping sets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_dsync::{Acquire, AcquireAll, Dsync, Error, Key, ReleaseAll, Released};

use crate::locks::{Stretch, agent, assert_exclusive, boot_nanos, key, rounds, runtime};
use crate::support::operator::Operator;

const KEYS: u64 = 10;
/// No wait comes near to it unless callers block each other.
const LIMIT: Duration = Duration::from_secs(120);

/// A xorshift sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Two to eight of the keys.
    fn set(&mut self) -> Vec<Key> {
        let mut names: Vec<u64> = (0..KEYS).collect();
        let count = 2 + self.below(7);
        (0..count)
            .map(|_| names.swap_remove(self.below(names.len() as u64) as usize))
            .map(|name| key(&format!("k{name}")))
            .collect()
    }
}

/// What the callers observed.
#[derive(Default)]
struct Seen {
    stretches: HashMap<Key, Vec<Stretch>>,
    granted: u32,
    longest: Duration,
}

async fn take_a_set(dsync: &Dsync, keys: Vec<Key>, seen: &Mutex<Seen>) {
    let asked = Instant::now();
    let set = dsync.send(AcquireAll::new(keys).within(LIMIT)).await.expect("the set in time");
    let (first, waited) = (boot_nanos(), asked.elapsed());
    tokio::time::sleep(Duration::from_millis(2)).await;
    let last = boot_nanos();
    let is_valid = set.is_valid();
    {
        let mut seen = seen.lock().expect("no task panicked");
        seen.granted += 1;
        seen.longest = seen.longest.max(waited);
        for (key, token) in set.tokens().filter(|_| is_valid) {
            let stretch = Stretch { token: token.as_u64(), first, last };
            seen.stretches.entry(key.clone()).or_default().push(stretch);
        }
    }
    let _ = dsync.send(ReleaseAll(set)).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_sets_of_many_callers_exclude_each_other_and_all_progress() {
    let runtimes: Vec<Dsync> = (0..4).map(|_| runtime("sets")).collect();
    for dsync in &runtimes {
        dsync.ready().await.expect("a session");
    }
    let (seen, began) = (Arc::new(Mutex::new(Seen::default())), Instant::now());
    let lasts = Duration::from_secs(rounds(4, 60) as u64);
    let tasks: Vec<_> = (0..20_usize)
        .map(|number| {
            let (dsync, seen) = (runtimes[number % 4].clone(), seen.clone());
            tokio::spawn(async move {
                let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1));
                // Everybody is served at least once, however slow the machine is.
                loop {
                    take_a_set(&dsync, random.set(), &seen).await;
                    if began.elapsed() >= lasts {
                        return;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task that was served");
    }
    let Seen { stretches, granted, longest } =
        std::mem::take(&mut *seen.lock().expect("no task panicked"));
    let rate = f64::from(granted) / began.elapsed().as_secs_f64();
    println!("{granted} sets of 2 to 8 of 10 keys, {rate:.0} a second; longest wait {longest:.1?}");
    assert_eq!(stretches.len() as u64, KEYS);
    stretches.into_values().for_each(assert_exclusive);
    for dsync in runtimes {
        dsync.shutdown(Duration::from_secs(5)).await.expect("in time");
    }
    assert_eq!(agent().operator().kv_keys("sets/"), Vec::<String>::new());
}

#[tokio::test]
async fn the_largest_set_is_one_transaction_that_consul_accepts() {
    let dsync = runtime("largest-set");
    let keys = || (0..AcquireAll::MOST_KEYS).map(|n| key(&format!("k{n:02}")));
    // Near the limit of a transaction's length, and a name that JSON prolongs.
    let asked = AcquireAll::new(keys().chain([])).value(vec![0xFF; 12_000]);
    let set = dsync.send(asked.within(LIMIT)).await.expect("a set");
    let tokens: Vec<u64> = set.tokens().map(|(_, token)| token.as_u64()).collect();
    assert_eq!((tokens.len(), tokens[0]), (31, tokens[30]), "one write");
    assert_eq!(dsync.send(ReleaseAll(set)).await, Ok(Released::Confirmed));
    let asked = AcquireAll::new(keys()).value(vec![0xFF; 13_000]);
    assert!(matches!(dsync.send(asked).await, Err(Error::Invalid { field: "keys", .. })));
    dsync.shutdown(Duration::from_secs(5)).await.expect("in time");
}

#[tokio::test]
async fn a_waiting_set_leaves_its_free_keys_to_others_and_gets_them_all_at_once() {
    let (one, other) = (runtime("waiting-set"), runtime("waiting-set"));
    let taken = other.send(Acquire::new(key("b")).within(LIMIT)).await.expect("a lock");
    let waiting = tokio::spawn({
        let one = one.clone();
        async move { one.send(AcquireAll::new(["a", "b"].map(key)).within(LIMIT)).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held = |operator: &Operator, name: &str| {
        operator.kv_get(&format!("waiting-set/{name}")).is_some_and(|it| it.session.is_some())
    };
    let operator = agent().operator();
    assert!(!held(&operator, "a") && held(&operator, "b"));
    for dsync in [&one, &other] {
        drop(dsync.send(Acquire::new(key("a")).within(LIMIT)).await.expect("it is free"));
    }
    drop(taken);
    let set = waiting.await.expect("no panic").expect("a set");
    assert!(set.is_valid() && held(&operator, "a") && held(&operator, "b"));
    for dsync in [one, other] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("in time");
    }
    assert!(!set.is_valid());
}
