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

/// Explores the scope `DSYNC_SCOPE`, or all of the above, up to `DSYNC_CHOICES`.
#[test]
#[ignore = "explores as much as a person asks for"]
fn larger() {
    let choices = variable("DSYNC_CHOICES").unwrap_or(3) as usize;
    let states = variable("DSYNC_STATES").unwrap_or(50_000_000) as usize;
    let mutation = std::env::var("DSYNC_MUTATION").ok();
    let mutation = mutation.map(|name| {
        let named = |it: &Mutation| format!("{it:?}") == name;
        Mutation::ALL.into_iter().chain(Mutation::RARE).find(named).expect("the name of a mutation")
    });
    match std::env::var("DSYNC_SCOPE") {
        Ok(text) => check(&explore(&Scope::of(&text), mutation, choices, states)),
        Err(_) => SCOPES
            .iter()
            .for_each(|(text, _)| check(&explore(&Scope::of(text), mutation, choices, states))),
    }
}
