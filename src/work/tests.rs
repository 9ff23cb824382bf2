//! The leader's work in processes that are stopped, cut off, killed and replaced: one seed, one
//! plan.
//!
//! It runs the real actors and futures, on an embedded Consul and Tokio's paused clock. A seed gives
//! the same faults at the same times; what they meet differs from run to run, since the jitter of
//! each lock is random, and the time of day at the start is the real one.

mod plan;
mod process;
mod witness;
mod work;
mod world;

use std::{collections::BTreeMap, fmt, sync::OnceLock};

use tokio::time::Instant;
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

use self::{
    plan::{Kind, Plan},
    witness::{Reached, Seen},
    world::World,
};
use crate::{mutation::Mutation, simulation::runs::variable};

/// How many histories reach everything.
const ENOUGH: u64 = 1_000;

fn history(seed: u64) -> Seen {
    let system = actix_rt::System::new();
    system.block_on(async {
        tokio::time::pause();
        World::new(Plan::of(seed)).run().await
    })
}

/// Runs 1,000 histories, which must reach everything. `DSYNC_SEEDS` sets the number and
/// `DSYNC_SEED` the first seed.
#[test]
fn work_runs_only_in_its_term_once_at_each_due_time_and_goes_on_after_all_faults() {
    let first = variable("DSYNC_SEED").unwrap_or(0);
    let count = variable("DSYNC_SEEDS").unwrap_or(ENOUGH);
    let mut reached: BTreeMap<Reached, u64> = BTreeMap::new();
    for seed in first..first + count {
        let seen = history(seed);
        if let Some(wrong) = seen.wrong {
            panic!(
                "seed {seed}: {wrong}\n{:?}\nits log: DSYNC_SEED={seed} cargo test --all-features \
                 --lib work::tests::replay -- --ignored --nocapture",
                Plan::of(seed)
            );
        }
        for (what, times) in seen.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    println!("{reached:#?}");
    let missed = Reached::ALL.into_iter().filter(|what| !reached.contains_key(what));
    assert!(count < ENOUGH || missed.clone().next().is_none(), "{:?}", missed.collect::<Vec<_>>());
}

/// The rules that are broken on purpose, the kind of work that must show it, and how.
const BROKEN: [(Mutation, Kind, &str); 4] = [
    (Mutation::WorkOutlivesTerm, Kind::Every, "works after its term"),
    (Mutation::WorkOutlivesTerm, Kind::Singleton, "works after its term"),
    (Mutation::WorkOutlivesTerm, Kind::WhileLeading, "works after its term"),
    (Mutation::TurnRepeated, Kind::Every, "has a turn that was due"),
];

#[test]
fn every_broken_rule_of_the_leaders_work_is_found() {
    for (mutation, kind, how) in BROKEN {
        Mutation::choose(Some(mutation));
        let seeds = (0..ENOUGH).filter(|seed| Plan::of(*seed).kind == kind);
        let found = seeds.into_iter().find_map(|seed| {
            let wrong = history(seed).wrong.filter(|wrong| wrong.contains(how))?;
            Some((seed, wrong))
        });
        Mutation::choose(None);
        let (seed, wrong) = found.unwrap_or_else(|| panic!("{mutation:?} is not found"));
        println!("{mutation:?}, {kind:?}: seed {seed}: {wrong}");
    }
}

/// The paused clock, as the time of a log.
#[derive(Default)]
struct PausedClock(OnceLock<Instant>);

impl FormatTime for PausedClock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.3?}", self.0.get_or_init(Instant::now).elapsed())
    }
}

/// Prints the log of the history `DSYNC_SEED`.
#[test]
#[ignore = "prints one history"]
fn replay() {
    let seed = variable("DSYNC_SEED").unwrap_or(0);
    let log = tracing_subscriber::fmt().with_timer(PausedClock::default()).with_ansi(false);
    let log = log.with_max_level(tracing::Level::TRACE).with_test_writer().finish();
    tracing::subscriber::with_default(log, || println!("{:#?}", history(seed)));
}
