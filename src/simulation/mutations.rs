//! Tests that the simulation finds every mutation.

use super::{
    focus::Focus,
    plan::Plan,
    runs::{Seeds, many_histories, variable},
};
use crate::protocol::mutation::Mutation;

/// The most histories searched for one mutation.
const SEEDS: u64 = 20_000;

/// Seeds that showed the rarest mutations. When the simulation changes, a seed
/// gives another history; the search then prints a new one.
const SHOWN_BY: [(Mutation, u64); 2] =
    [(Mutation::StaleTicketGranted, 639), (Mutation::LentUnfenced, 23_858)];

/// Whether a plan is of a certain kind.
type Kind = fn(&Plan) -> bool;

/// The mutations that only histories of a certain kind show. Only those are searched.
const KINDS: [(Mutation, Kind); 11] = [
    (Mutation::LeaseFromResponse, |plan| plan.focus == Some(Focus::SlowRenewals)),
    (Mutation::LateLockedBelieved, |plan| plan.focus == Some(Focus::LateAnswers)),
    (Mutation::LeftoverForgotten, |plan| plan.focus == Some(Focus::LostLocks)),
    (Mutation::DeniedReadForgotten, |plan| plan.focus == Some(Focus::LostLocks)),
    (Mutation::SuspicionNotRepeated, |plan| plan.focus == Some(Focus::DeadActors)),
    (Mutation::OtherStoreIgnored, |plan| plan.focus == Some(Focus::Rewinds)),
    (Mutation::TakenUnkept, |plan| plan.focus == Some(Focus::Takeovers)),
    (Mutation::BatchSurvivorForgotten, |plan| plan.turns == 1),
    (Mutation::RefusalIgnored, |plan| plan.connections.is_some()),
    (Mutation::PermitCountedTwice, |plan| plan.semaphore.is_some()),
    (Mutation::PrunedEarly, |plan| plan.semaphore.is_some()),
];

/// The number of a mutation's first random history that shows it, and its place among the
/// histories of the kind that is searched, counted from 1.
pub(super) fn first_history(mutation: Mutation) -> Option<(u64, u64)> {
    let like = kind(mutation);
    let seeds = Seeds { first: 0, count: SEEDS, like };
    // Every history before the first that was found has been played.
    let (_, found) = many_histories(seeds, 1, Some(mutation), false);
    let (seed, _) = found.first()?;
    let of_kind = (0..=*seed).filter(|seed| like(&Plan::of(*seed))).count();
    Some((seed + 1, of_kind as u64))
}

fn kind(mutation: Mutation) -> Kind {
    let kind = KINDS.iter().find(|(shown, _)| *shown == mutation);
    kind.map_or(|_| true, |(_, like)| *like)
}

/// `DSYNC_SEEDS` counts in how many of that many histories each mutation is found.
/// `DSYNC_MUTATION` restricts the search to one mutation.
#[test]
fn every_mutation_is_found() {
    let mut missed = Vec::new();
    let only = std::env::var("DSYNC_MUTATION").ok();
    let asked =
        |mutation: &Mutation| only.as_ref().is_none_or(|only| *only == format!("{mutation:?}"));
    for mutation in Mutation::ALL.into_iter().filter(asked) {
        let table = variable("DSYNC_SEEDS");
        let (count, enough) = table.map_or((SEEDS, 1), |count| (count, usize::MAX));
        let shown_by = SHOWN_BY.iter().find(|(shown, _)| *shown == mutation).map(|(_, seed)| *seed);
        let like = kind(mutation);
        let near = shown_by.filter(|_| table.is_none()).map(|seed| (seed.saturating_sub(20), 40));
        let search = |(first, count)| {
            many_histories(Seeds { first, count, like }, enough, Some(mutation), false)
        };
        let (stats, found) = near
            .map(search)
            .filter(|(_, found)| !found.is_empty())
            .unwrap_or_else(|| search((0, count)));
        let (times, of) = (found.len(), stats.histories);
        println!("{mutation:?}: in {times} of {of} histories");
        if let Some((seed, how)) = found.first() {
            println!("    seed {seed}: {how}");
        }
        if found.is_empty() {
            missed.push(mutation);
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
