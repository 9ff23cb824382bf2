//! Runs many histories, and replays one.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{
    plan::Plan,
    reached::{self, ENOUGH},
    report::Stats,
    world::{Outcome, World},
};
use crate::protocol::mutation::Mutation;

fn history(seed: u64, readable: bool) -> Outcome {
    World::new(Plan::of(seed), readable).run()
}

/// Describes a failed history so that it can be read and replayed.
fn account(seed: u64) -> String {
    let outcome = history(seed, true);
    let what = outcome.violation.unwrap_or_else(|| "nothing, this time".into());
    format!(
        "{}\nseed {seed}: {what}\nreplay it: DSYNC_SEED={seed} cargo test --lib \
         simulation::runs::replay -- --ignored --nocapture",
        outcome.trace.tail(80)
    )
}

pub(crate) fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds of a search.
#[derive(Clone, Copy)]
pub(super) struct Seeds {
    pub(super) first: u64,
    pub(super) count: u64,
    /// Only those whose plans are like this.
    pub(super) like: fn(&Plan) -> bool,
}

/// Runs histories on all processors. Returns their totals and up to `enough` failed
/// seeds.
pub(super) fn many_histories(
    Seeds { first, count, like }: Seeds,
    enough: usize,
    mutation: Option<Mutation>,
    talks: bool,
) -> (Stats, Vec<(u64, String)>) {
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    let (next, stop) = (AtomicU64::new(first), AtomicBool::new(false));
    let began = Instant::now();
    let worker = |talks: bool| {
        Mutation::choose(mutation);
        let mut stats = Stats::default();
        let mut failed = Vec::new();
        let mut told = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                break;
            }
            let plan = Plan::of(seed);
            if !like(&plan) {
                continue;
            }
            let outcome = World::new(plan, false).run();
            stats.add(&outcome.stats);
            if let Some(what) = outcome.violation {
                if mutation.is_none() {
                    println!("seed {seed}: {what}");
                }
                failed.push((seed, what));
                if failed.len() >= enough {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            if talks && told.elapsed() > Duration::from_secs(20) {
                told = Instant::now();
                let done = seed + 1 - first;
                let rate = done as f64 / began.elapsed().as_secs_f64();
                println!("{done} of {count} histories, {rate:.0} a second");
            }
        }
        (stats, failed)
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> =
            (0..threads).map(|place| scope.spawn(move || worker(talks && place == 0))).collect();
        handles.into_iter().map(|handle| handle.join().expect("a history panicked")).collect()
    });
    let (mut stats, mut failed) = (Stats::default(), Vec::new());
    for (part, failures) in parts {
        stats.add(&part);
        failed.extend(failures);
    }
    failed.sort();
    (stats, failed)
}

pub(super) fn assert_all_hold(first: u64, count: u64, talks: bool) -> Stats {
    let (stats, failed) = many_histories(Seeds { first, count, like: |_| true }, 20, None, talks);
    if let Some((seed, _)) = failed.first() {
        panic!("\n{}", account(*seed));
    }
    stats
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..100 {
        let (once, again, silent) =
            (history(seed, true), history(seed, true), history(seed, false));
        assert_eq!(once.trace.tail(usize::MAX), again.trace.tail(usize::MAX), "seed {seed}");
        assert_eq!(once.trace.hash(), silent.trace.hash(), "seed {seed}");
    }
}

/// Runs 5,000 histories, which must reach everything. `DSYNC_SEEDS` sets the number and `DSYNC_SEED` the first
/// seed.
#[test]
fn many() {
    let count = variable("DSYNC_SEEDS").unwrap_or(ENOUGH);
    let first = variable("DSYNC_SEED").unwrap_or(0);
    let began = Instant::now();
    let stats = assert_all_hold(first, count, variable("DSYNC_SEEDS").is_some());
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("{stats}violations        0\nspeed             {rate:.0} histories a second");
    assert_eq!(reached::unlisted(&stats), [""; 0], "on no list");
    if count >= ENOUGH {
        assert_eq!(reached::missed(&stats), [""; 0], "never reached");
    }
}

/// Writes the records of `DSYNC_SEEDS` histories, from `DSYNC_SEED` on, into the folder
/// `DSYNC_RECORDS`, with the rule `DSYNC_MUTATION` broken.
#[test]
#[ignore = "writes files; scripts/specify asks for it"]
fn records() {
    let folder = std::env::var("DSYNC_RECORDS").expect("DSYNC_RECORDS names a folder");
    let first = variable("DSYNC_SEED").unwrap_or(0);
    Mutation::choose(Mutation::asked_for());
    for seed in first..first + variable("DSYNC_SEEDS").unwrap_or(20) {
        let text = World::new(Plan::specified(seed), false).run().record.text();
        std::fs::write(format!("{folder}/{seed}.jsonl"), text).expect("a file is written");
    }
}

/// Replays and prints the history of `DSYNC_SEED`, with the rule `DSYNC_MUTATION` broken.
#[test]
#[ignore = "shows one history; a person asks for it"]
fn replay() {
    let seed = variable("DSYNC_SEED").expect("DSYNC_SEED names the history");
    let lines = variable("DSYNC_LINES").map_or(400, |lines| lines as usize);
    Mutation::choose(Mutation::asked_for());
    let outcome = history(seed, true);
    println!("{}{}", outcome.trace.tail(lines), outcome.stats);
    if let Some(what) = outcome.violation {
        panic!("seed {seed}: {what}");
    }
}
