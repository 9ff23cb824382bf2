//! The scopes, and what must hold in them.

use super::{
    super::{mutations::first_history, runs::variable},
    scope::Scope,
    search::{Explored, explore},
};
use crate::mutation::Mutation;

/// The scopes that every run explores, and up to how many choices.
const SCOPES: [(&str, usize); 30] = [
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
    ("held sweeps=1 callers=1 delays=1 leaps=4", 2),
    ("processes=3 contended cuts=1 leaps=8", 1),
    ("keys=2 held callers=1 leaves=1 delays=1 leaps=2", 2),
    ("keys=2 sets=1 callers=1 leaves=1 leaps=2", 2),
    ("held writes=1 callers=1 leaves=1 delays=1 leaps=2", 2),
    ("drift=10 contended ends=1 cuts=1 leaps=8", 1),
    ("stands=2 delays=1 losses=1 leaps=3", 2),
    ("contended takes=1 cuts=1 leaps=8", 2),
    ("semaphore=1 contended severs=1 leaps=8", 1),
    ("semaphore=1 held callers=1 leaves=1 losses=1 leaps=3", 2),
    ("semaphore=1 held callers=1 leaves=1 delays=1 leaps=3", 2),
    ("semaphore=1 held stores=1 callers=1 leaves=1 leaps=3", 2),
    ("keys=3 connections=2 leading ends=1 leaps=3", 1),
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

/// Scopes of which `scripts/explore table` makes the table in `docs/safety.md`.
const LARGE: [(&str, usize); 8] = [
    ("contended ends=1 cuts=1 leaps=8", 3),
    ("held callers=1 leaves=1 losses=1 delays=1 leaps=3", 3),
    ("held deaths=1 callers=1 leaves=1 leaps=3", 3),
    ("processes=3 contended ends=1 cuts=1 leaps=8", 2),
    ("processes=3 held callers=1 leaves=1 delays=1 leaps=3", 2),
    ("keys=2 held callers=1 leaves=1 ends=1 delays=1 leaps=3", 3),
    ("keys=2 held sets=1 callers=1 leaves=1 ends=1 leaps=3", 3),
    ("drift=10 contended ends=1 cuts=1 leaps=8", 2),
];

/// A mutation that breaks a guarantee within a scope, and with up to how many choices.
type ShownBy = (Mutation, usize, &'static str);

const SHOWN_BY: [ShownBy; 37] = [
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
    (Mutation::StaleTicketGranted, 3, "processes=1 callers=1 delays=1 ends=1 leaps=3"),
    (Mutation::OtherStoreIgnored, 3, "processes=1 gap callers=1 leaves=1 stores=1 leaps=1"),
    (Mutation::BatchSentAgain, 4, "processes=1 callers=1 leaves=1 delays=1 leaps=3"),
    (Mutation::WriteUnfenced, 3, "processes=1 held writes=1 callers=1 leaves=1 delays=1 leaps=3"),
    (Mutation::WrittenHandedOver, 3, "processes=1 held writes=1 callers=2 leaves=1 leaps=1"),
    (Mutation::SuspicionNotRepeated, 4, "processes=1 callers=1 losses=1 denials=1 fuses=1 leaps=3"),
    (Mutation::SetTakenPartly, 2, "keys=2 callers=1 sets=1 leaps=3"),
    (Mutation::SetHandedOneKey, 2, "processes=1 keys=2 held sets=1 leaves=1 leaps=3"),
    (Mutation::SetPartlyLeft, 2, "processes=1 keys=2 held sets=1 leaves=1 leaps=2"),
    (Mutation::SetPartlyReleased, 1, "processes=1 keys=2 sets=1 leaps=1"),
    (Mutation::LeaseFromResponse, 3, "renewing severs=1 waits=1 leaps=3"),
    (Mutation::TakenUnkept, 2, "contended takes=1 cuts=1 leaps=2"),
    (Mutation::PermitCountedTwice, 2, "semaphore=1 callers=1 leaps=2"),
    (Mutation::PrunedEarly, 1, "semaphore=1 contended severs=1 leaps=3"),
];

/// Mutations that need a scope too large for every run. The simulation finds these, too, in
/// every run.
const SHOWN_BY_LARGE: [ShownBy; 4] = [
    (Mutation::LentUnfenced, 5, "processes=1 callers=1 leaves=1 delays=1 sweeps=1 leaps=3"),
    (Mutation::LateLockedBelieved, 5, "processes=1 callers=1 delays=1 ends=1 losses=1 leaps=2"),
    (Mutation::BatchSurvivorForgotten, 4, "keys=3 turns=1 callers=1 leaps=1"),
    (Mutation::RefusalIgnored, 2, "keys=4 connections=2 leading ends=1 cuts=1 leaps=4"),
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

/// Mutations that undo the repair of a fault that this crate once had.
const FAULTS: [(Mutation, &str); 6] = [
    (Mutation::ErrorsSearched, "a key's words decided"),
    (Mutation::LeftoverForgotten, "a lock that leaked"),
    (Mutation::DeniedReadForgotten, "a lock that leaked"),
    (Mutation::OtherStoreIgnored, "a store that went back"),
    (Mutation::LentUnfenced, "a deleted fence entry"),
    (Mutation::SuspicionNotRepeated, "a dead actor"),
];

fn explored_by(mutation: Mutation) -> ShownBy {
    let mut all = SHOWN_BY.into_iter().chain(SHOWN_BY_LARGE);
    all.find(|(shown, ..)| *shown == mutation).expect("a scope that shows it")
}

/// The beginning of a mutation's row in the table.
fn row_of(mutation: Mutation) -> String {
    let fault = FAULTS.iter().find(|(undoes, _)| *undoes == mutation);
    let fault = fault.map(|(_, what)| format!(" ({what})")).unwrap_or_default();
    let (_, choices, text) = explored_by(mutation);
    format!("| `{mutation:?}`{fault} | `{text}` | {choices} |")
}

/// Prints the tables of `docs/safety.md`.
#[test]
#[ignore = "explores for many minutes"]
fn table() {
    println!("| scope | choices | states | steps | ends played | s |\n|---|---|---|---|---|---|");
    for (text, choices) in SCOPES.into_iter().chain(LARGE) {
        let explored = explore(&Scope::of(text), None, choices, MOST_STATES);
        println!("{}", explored.row());
        assert!(explored.found.is_none(), "{explored}");
    }
    println!("\n| rule | scope | choices | states | histories | of its kind |");
    println!("|---|---|---|---|---|---|");
    for mutation in Mutation::ALL {
        let (_, choices, text) = explored_by(mutation);
        let broken = explore(&Scope::of(text), Some(mutation), choices, MOST_STATES);
        assert!(broken.found.is_some(), "{mutation:?} was not found");
        let (histories, of_kind) = first_history(mutation).expect("a history that shows it");
        println!("{} {} | {histories} | {of_kind} |", row_of(mutation), broken.states);
    }
}

#[test]
fn the_safety_page_has_a_row_for_every_scope_of_every_run_and_every_mutation() {
    let page = include_str!("../../../docs/safety.md");
    for (text, choices) in SCOPES {
        let row = format!("| `{text}` | {choices} |");
        assert!(page.contains(&row), "no row {row:?}; scripts/explore table prints all");
    }
    for row in Mutation::ALL.map(row_of) {
        assert!(page.contains(&row), "no row {row:?}; scripts/explore table prints all");
    }
}

/// Explores the scope `DSYNC_SCOPE`, or all of the above, up to `DSYNC_CHOICES`.
#[test]
#[ignore = "explores as much as a person asks for"]
fn larger() {
    let choices = variable("DSYNC_CHOICES").unwrap_or(3) as usize;
    let states = variable("DSYNC_STATES").unwrap_or(50_000_000) as usize;
    let mutation = Mutation::asked_for();
    match std::env::var("DSYNC_SCOPE") {
        Ok(text) => check(&explore(&Scope::of(&text), mutation, choices, states)),
        Err(_) => SCOPES
            .iter()
            .for_each(|(text, _)| check(&explore(&Scope::of(text), mutation, choices, states))),
    }
}
