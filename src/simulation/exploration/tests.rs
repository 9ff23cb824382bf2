//! The scopes, and what must hold in them.

use super::{
    super::runs::variable,
    scope::Scope,
    search::{Explored, explore},
};
use crate::mutation::Mutation;

/// The scopes that every run explores, and up to how many choices.
const SCOPES: [(&str, usize); 18] = [
    ("any-order callers=1 leaves=1 leaps=1", 2),
    ("inward callers=1 leaps=1", 2),
    ("cold callers=1 losses=1 delays=1 leaps=3", 2),
    ("callers=1 leaves=1 losses=1 repeats=1 leaps=3", 2),
    ("callers=1 leaves=1 delays=1 leaps=4", 2),
    ("held callers=1 leaves=1 delays=2 waits=1 leaps=3", 2),
    ("held callers=2 leaves=2 impatient=1 unsent=1 leaps=2", 2),
    ("contended cuts=1 delays=1 leaps=8", 2),
    ("contended pauses=1 delays=1 leaps=8", 2),
    ("contended ends=1 cuts=1 leaps=8", 2),
    ("contended ends=1 delays=1 waits=1 leaps=6", 2),
    ("contended ends=1 cuts=1 leaps=8 lock-delay=5", 2),
    ("held deaths=1 callers=1 leaves=1 leaps=4", 2),
    ("held stops=1 callers=1 delays=1 leaps=4", 2),
    ("held stores=1 callers=1 leaves=1 leaps=4", 2),
    ("callers=1 denials=1 losses=1 leaps=4", 2),
    ("contended meddlings=1 leaves=1 keep leaps=4", 2),
    ("stands=2 delays=1 losses=1 leaps=3", 2),
];

/// Far more than the scopes above have.
const MOST_STATES: usize = 2_000_000;

fn check(explored: &Explored) {
    println!("{explored}");
    if let Some(found) = &explored.found {
        panic!("\n{}\n{}", found.trace, found.what);
    }
}

#[test]
fn every_history_of_the_small_scopes_holds() {
    for (text, choices) in SCOPES {
        let explored = explore(&Scope::of(text), None, choices, MOST_STATES);
        check(&explored);
        assert!(!explored.is_cut_short, "{text}");
    }
}

/// A scope in which each mutation breaks a guarantee, and with up to how many choices.
///
/// No scope so small has shown the others. `LeaseFromResponse` needs an answer that is
/// late by a certain time, `StaleTicketGranted`, `LateLockedBelieved` and `LentUnfenced`
/// more late messages, `SuspicionNotRepeated` a death after a denial and a loss,
/// `OtherStoreIgnored` two ownerships before the store goes back; batches, sets and writes
/// need several keys. The simulation finds them.
const SHOWN_BY: [(Mutation, usize, &str); 23] = [
    (Mutation::TokenFromLockIndex, 1, "processes=1 callers=1"),
    (Mutation::SlotTwice, 2, "processes=1 callers=2"),
    (Mutation::CellRevived, 1, "contended cuts=1 leaps=8"),
    (Mutation::LossToldAfterRetry, 1, "contended cuts=1 leaps=8"),
    (Mutation::SessionGoesUntold, 1, "held cuts=1 leaps=8"),
    (Mutation::DoubleTtlAsDeadline, 2, "contended ends=1 cuts=1 leaps=8"),
    (Mutation::LockDelayLeftOut, 2, "contended ends=1 cuts=1 leaps=8 lock-delay=5"),
    (Mutation::LeftBehindForgotten, 2, "processes=1 held deaths=1 leaves=1 leaps=3"),
    (Mutation::WatchLossUntold, 1, "contended deaths=1 leaps=2"),
    (Mutation::RecoveredUnclean, 3, "processes=1 callers=1 leaves=1 deaths=1 leaps=2"),
    (Mutation::EndUnpublished, 1, "processes=1 held leaves=1 leaps=1"),
    (Mutation::SessionStopsFirst, 1, "processes=1 held stops=1 leaps=1"),
    (Mutation::TermOutlivesResignation, 2, "processes=1 stands=2 leaps=1"),
    (Mutation::CoolDownForgotten, 2, "processes=1 stands=2 leaps=1"),
    (Mutation::DeposedToldLate, 1, "processes=1 stands=1 leaps=3"),
    (Mutation::StaleOfferTaken, 3, "processes=1 callers=1 leaves=1 leaps=2"),
    (Mutation::SlotForgotten, 3, "processes=1 callers=1 leaves=1 losses=1 leaps=2"),
    (Mutation::RegrantAtSameIndex, 2, "processes=1 held callers=1 leaves=1 losses=1 leaps=3"),
    (Mutation::ReleaseUnfenced, 2, "processes=1 held callers=1 leaves=1 delays=1 leaps=3"),
    (Mutation::SuspectReplacedEarly, 4, "processes=1 callers=1 denials=1 losses=1 leaps=4"),
    (Mutation::ErrorsSearched, 1, "hostile-names contended ends=1 leaps=3"),
    (Mutation::LeftoverForgotten, 4, "processes=1 callers=1 leaves=1 losses=1 unsent=1 leaps=3"),
    (Mutation::DeniedReadForgotten, 4, "processes=1 callers=1 leaves=1 losses=1 denials=1 leaps=3"),
];

/// Each scope holds without the mutation, and breaks with it.
#[test]
fn every_mutation_that_a_small_scope_shows_is_found() {
    for (mutation, choices, text) in SHOWN_BY {
        let scope = Scope::of(text);
        let broken = explore(&scope, Some(mutation), choices, MOST_STATES);
        println!("{mutation:?}: {broken}");
        assert!(broken.found.is_some(), "{mutation:?} was not found");
        check(&explore(&scope, None, choices, MOST_STATES));
    }
}

/// Explores the scope `DSYNC_SCOPE`, or all of the above, up to `DSYNC_CHOICES`.
#[test]
#[ignore = "explores as much as a person asks for"]
fn larger() {
    let choices = variable("DSYNC_CHOICES").unwrap_or(3) as usize;
    let states = variable("DSYNC_STATES").unwrap_or(50_000_000) as usize;
    let mutation = std::env::var("DSYNC_MUTATION").ok();
    let mutation = mutation.map(|name| {
        let named = |it: &Mutation| format!("{it:?}") == name;
        Mutation::ALL.into_iter().find(named).expect("the name of a mutation")
    });
    match std::env::var("DSYNC_SCOPE") {
        Ok(text) => check(&explore(&Scope::of(&text), mutation, choices, states)),
        Err(_) => SCOPES
            .iter()
            .for_each(|(text, _)| check(&explore(&Scope::of(text), mutation, choices, states))),
    }
}
