//! The scopes, and what must hold in them.

use super::{
    scope::{Budget, Scope, Start},
    search::{Explored, explore},
};
use crate::{config::Retention, mutation::Mutation};

const NOTHING: Budget = Budget {
    leaps: 0,
    waits: 0,
    callers: 0,
    impatient: 0,
    leaves: 0,
    stands: 0,
    losses: 0,
    delays: 0,
    repeats: 0,
    unsent: 0,
    cuts: 0,
    pauses: 0,
    ends: 0,
    deaths: 0,
    stops: 0,
    stores: 0,
    denials: 0,
    meddlings: 0,
};

fn scopes() -> Vec<Scope> {
    let base = Budget { leaps: 3, callers: 1, leaves: 2, ..NOTHING };
    let far = Budget { leaps: 8, callers: 1, leaves: 1, ..NOTHING };
    let prompt = |name, start, budget| Scope::new(name, start, budget).prompt();
    vec![
        Scope::new("every order", Start::Open, Budget { callers: 1, leaps: 1, leaves: 1, ..NOTHING }),
        prompt("cold", Start::Cold, Budget { losses: 1, delays: 1, ..base }),
        prompt("losses", Start::Open, Budget { losses: 1, delays: 1, repeats: 1, ..base }),
        prompt("delays", Start::Held, Budget { delays: 2, waits: 1, ..base }),
        prompt("cuts", Start::Contended, Budget { cuts: 1, delays: 1, ..far }),
        prompt("pauses", Start::Contended, Budget { pauses: 1, delays: 1, ..far }),
        prompt("ends", Start::Contended, Budget { ends: 1, delays: 1, waits: 2, ..far }),
        prompt("ends of cut off", Start::Contended, Budget { ends: 1, cuts: 1, ..far }),
        prompt("deaths", Start::Held, Budget { deaths: 1, delays: 1, leaps: 4, ..base }),
        prompt("stops", Start::Held, Budget { stops: 1, delays: 1, ..base }),
        prompt("stores", Start::Held, Budget { stores: 1, delays: 1, leaps: 4, ..base }),
        prompt("denials", Start::Open, Budget { denials: 1, losses: 1, unsent: 1, ..base }),
        prompt("meddlings", Start::Contended, Budget { meddlings: 1, delays: 1, leaps: 4, ..base }),
        prompt("elections", Start::Open, Budget { stands: 2, delays: 1, callers: 0, ..base }),
        Scope { retention: Retention::Keep, ..prompt("kept", Start::Held, Budget { losses: 1, delays: 1, callers: 2, ..base }) },
        Scope { hostile_names: true, ..prompt("hostile names", Start::Contended, Budget { ends: 1, ..base }) },
    ]
}

#[test]
fn probe() {
    let states = super::super::runs::variable("DSYNC_STATES").unwrap_or(2_000) as usize;
    let only = std::env::var("DSYNC_SCOPE").ok();
    for scope in scopes().iter().filter(|it| only.as_ref().is_none_or(|only| only == it.name)) {
        let explored = explore(scope, None, states);
        println!("{explored}");
        if let Some(found) = explored.found {
            println!("{}", found.trace);
        }
    }
}

#[test]
fn mutations() {
    let states = super::super::runs::variable("DSYNC_STATES").unwrap_or(1_000) as usize;
    let only = std::env::var("DSYNC_MUTATION").ok();
    let mut all = Mutation::ALL.to_vec();
    all.extend([
        Mutation::LeaseFromResponse,
        Mutation::LateLockedBelieved,
        Mutation::LeftoverForgotten,
        Mutation::DeniedReadForgotten,
        Mutation::OtherStoreIgnored,
    ]);
    for mutation in all {
        if only.as_ref().is_some_and(|only| *only != format!("{mutation:?}")) {
            continue;
        }
        let mut sum = 0;
        let mut by: Option<Explored> = None;
        for scope in scopes() {
            let explored = explore(&scope, Some(mutation), states);
            sum += explored.states;
            if explored.found.is_some() {
                by = Some(explored);
                break;
            }
        }
        match by {
            Some(by) => {
                let what = by.found.as_ref().map_or("", |it| &it.what);
                println!("{mutation:?}: {} after {} states ({sum} in all): {what}", by.scope, by.states);
            }
            None => println!("{mutation:?}: NOT FOUND in {sum} states"),
        }
    }
}
