//! The leader's work in processes that are stopped, cut off, killed and replaced: one seed, one
//! plan.
//!
//! It runs the real actors and futures, on an embedded Consul and Tokio's paused clock, so a
//! history can differ a little from run to run: the time of day at its start is the real one.

mod plan;
mod process;
mod witness;
mod work;
mod world;

use std::collections::BTreeMap;

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
            panic!("seed {seed}: {wrong}\n{:?}", Plan::of(seed));
        }
        for (what, times) in seen.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    println!("{reached:#?}");
    let missed = Reached::ALL.into_iter().filter(|what| !reached.contains_key(what));
    assert!(count < ENOUGH || missed.clone().next().is_none(), "{:?}", missed.collect::<Vec<_>>());
}

/// The rules that are broken on purpose, and the kind of work that must show it.
const BROKEN: [(Mutation, Kind); 4] = [
    (Mutation::WorkOutlivesTerm, Kind::Every),
    (Mutation::WorkOutlivesTerm, Kind::Singleton),
    (Mutation::WorkOutlivesTerm, Kind::WhileLeading),
    (Mutation::TurnRepeated, Kind::Every),
];

#[test]
fn every_broken_rule_of_the_leaders_work_is_found() {
    for (mutation, kind) in BROKEN {
        Mutation::choose(Some(mutation));
        let seeds = (0..ENOUGH).filter(|seed| Plan::of(*seed).kind == kind);
        let found = seeds.into_iter().find_map(|seed| Some((seed, history(seed).wrong?)));
        Mutation::choose(None);
        let (seed, wrong) = found.unwrap_or_else(|| panic!("{mutation:?} is not found"));
        println!("{mutation:?}, {kind:?}: seed {seed}: {wrong}");
    }
}
