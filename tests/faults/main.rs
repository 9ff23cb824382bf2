//! Real processes, a real Consul, real faults, and a checker: `scripts/test --test faults`.
//!
//! The cases take up to minutes, mostly waiting, so this binary has its own harness that plays them
//! concurrently. It accepts the filters and options of Rust's own harness.

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries, none of which uses all of it")]
mod support;

mod candidate;
mod cases;
mod checker;
mod checker_cases;
mod cluster;
mod crowd;
mod exchange;
mod harness;
mod history;
mod leadership;
mod namespace;
mod network;
mod observer;
mod player;
mod process;
mod random;
mod record;
mod session;
mod soak;
mod specified;
mod stage;
mod table;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    let variable = |name| std::env::var(name).ok();
    if let Some(orders) = variable(player::ORDERS) {
        player::play(&orders);
        return ExitCode::SUCCESS;
    }
    if let Some(orders) = variable(crowd::MEMBER) {
        crowd::play(&orders);
        return ExitCode::SUCCESS;
    }
    if let Some(run) = variable(namespace::INSIDE) {
        namespace::play(&run);
        return ExitCode::SUCCESS;
    }
    if let Some(folder) = variable("DSYNC_JUDGE") {
        return history::judge(folder.as_ref());
    }
    if let Some(plan) = variable("DSYNC_CROWD") {
        return crowd::run_all(&plan);
    }
    if let Some(plan) = variable("DSYNC_SOAK") {
        return soak::run(&plan);
    }
    let selection = harness::Selection::from_arguments();
    if variable(specified::RECORDS).is_some() {
        return harness::run(cases::recorded(), &selection);
    }
    let cases = match variable("DSYNC_TRIAL").map(|runs| runs.parse().expect("a number of runs")) {
        Some(runs) => {
            let clusters = 4;
            let mut cases = cases::main_faults(runs, clusters, true);
            cases.extend(cases::long_ones(clusters));
            cases
        }
        None => cases::all(),
    };
    harness::run(cases, &selection)
}
