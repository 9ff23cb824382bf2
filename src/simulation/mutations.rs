//! Whether the simulation can fail: each broken rule is found.

use super::runs::{many_histories, variable};
use crate::protocol::mutation::Mutation;

/// As many histories as a run for a change has.
const SEEDS: u64 = 20_000;

/// `DSYNC_SEEDS` asks in how many of that many histories each is found.
#[test]
fn every_mutation_is_found() {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        let table = variable("DSYNC_SEEDS");
        let (count, enough) = table.map_or((SEEDS, 1), |count| (count, usize::MAX));
        let (stats, found) = many_histories((0, count), enough, Some(mutation), false);
        let (times, of) = (found.len(), stats.histories);
        let how = found.first().map_or("-", |(_, what)| what.as_str());
        println!("{mutation:?}: in {times} of {of} histories; {how}");
        if found.is_empty() {
            missed.push(mutation);
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
