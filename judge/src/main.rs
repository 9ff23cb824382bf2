//! Prints for each history of a folder whether it is that of a fenced mutex: `judge FOLDER`.
//!
//! The decision is stateright's: its linearizability tester searches for an order of all operations
//! that agrees with their times and with the model in `mutex.rs`. `README.md` documents the files.

mod history;
mod mutex;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::ExitCode;

use history::{Operation, Outcome};
use mutex::{Act, Mutex, Owner, Said};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

/// A thread of the tester has one operation at a time; a process may have several.
type Lane = (usize, usize);

/// The tester calls itself once an operation, and copies the rest of the history each time. A longer
/// history of a key is therefore judged in parts, each of which begins in the middle of the one before.
const PART: usize = 200;
const STACK: usize = 1 << 30;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: judge FOLDER");
        return ExitCode::from(2);
    };
    let judge = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        for (name, operations) in history::of_folder(&folder) {
            let mut verdict = "good";
            for (key, operations) in history::by_key(operations) {
                if !parts(&operations).all(is_of_a_mutex) {
                    verdict = "bad";
                    eprintln!("{name}: no order of the {} operations on {key}", operations.len());
                    break;
                }
            }
            println!("{name} {verdict}");
        }
    });
    let judged = judge.expect("a thread").join();
    if judged.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The parts of a key's history, each with the beginning of every ownership that acts in it. What is
/// left out of a part makes nothing in it impossible.
fn parts(operations: &[Operation]) -> impl Iterator<Item = Vec<Operation>> {
    let mut grants: HashMap<Owner, Vec<Operation>> = HashMap::new();
    for operation in operations {
        if let Act::Acquire(owner) = operation.act {
            grants.entry(owner).or_default().push(*operation);
        }
    }
    let starts = (0..operations.len()).step_by(PART / 2);
    starts.filter_map(move |start| {
        let end = operations.len().min(start + PART);
        if start > 0 && end - start <= PART / 2 {
            return None;
        }
        let part = &operations[start..end];
        let owners: HashSet<Owner> = part.iter().map(|operation| operation.act.owner()).collect();
        let acts = part.iter().filter(|operation| !matches!(operation.act, Act::Acquire(_)));
        let grants = owners.iter().filter_map(|owner| grants.get(owner)).flatten();
        Some(grants.chain(acts).copied().collect())
    })
}

/// Whether some order of these operations agrees with their times and with the model.
fn is_of_a_mutex(mut operations: Vec<Operation>) -> bool {
    operations.sort_by_key(|operation| operation.from);
    let mut lanes: Vec<Vec<Option<u64>>> = Vec::new();
    let mut steps = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        if lanes.len() <= operation.process {
            lanes.resize(operation.process + 1, Vec::new());
        }
        let lanes = &mut lanes[operation.process];
        let free = |until: &Option<u64>| until.is_some_and(|until| until < operation.from);
        let place = lanes.iter().position(free).unwrap_or_else(|| {
            lanes.push(None);
            lanes.len() - 1
        });
        let ended = operation.ended.map(|(at, _)| at);
        lanes[place] = ended;
        let lane = (operation.process, place);
        steps.push((operation.from, false, lane, number));
        steps.extend(ended.map(|at| (at, true, lane, number)));
    }
    // An end and a beginning at the same time may be in either order: the beginning comes first.
    steps.sort_unstable();
    let mut tester: LinearizabilityTester<Lane, Mutex> =
        LinearizabilityTester::new(Mutex::default());
    for (_, ends, lane, number) in steps {
        let operation = &operations[number];
        let accepted = match operation.ended {
            Some((_, said)) if ends => tester.on_return(lane, said).map(drop),
            _ => tester.on_invoke(lane, operation.act).map(drop),
        };
        accepted.expect("a lane that has one operation at a time");
    }
    tester.is_consistent()
}

/// What an operation means for the model; `None` if it means nothing.
///
/// A request of which no lease came names no token. Nobody acts as its owner, so that it makes no
/// other operation possible, and an order with it is an order without it.
fn act_of(outcome: &Outcome) -> Option<(Act, Option<Said>)> {
    use history::{Function, Kind};
    let owner = (outcome.process, outcome.token?);
    let said = |yes| if yes { Said::Yes } else { Said::No };
    Some(match (outcome.function, outcome.kind) {
        (Function::Acquire, Some(Kind::Ok)) => (Act::Acquire(owner), Some(Said::Yes)),
        (Function::Acquire, _) => return None,
        (Function::Check, Some(_)) => (Act::Check(owner), Some(said(outcome.valid?))),
        (Function::Check, None) => (Act::Check(owner), None),
        (Function::Release, Some(Kind::Ok)) => (Act::Release(owner), Some(Said::Yes)),
        (Function::Release, Some(Kind::Fail)) => (Act::Release(owner), Some(Said::No)),
        (Function::Release, _) => (Act::Release(owner), None),
    })
}
