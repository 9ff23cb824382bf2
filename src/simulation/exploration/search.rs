//! Breadth-first search through all histories of a scope.
//!
//! A state is reached again by taking its choices again, since machines with channels
//! and locks cannot be copied. A state is searched once, whichever way it was reached.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    scope::Scope,
    stage::{Choice, Stage},
};
use crate::protocol::mutation::Mutation;

/// A state: the one before it, and the choice that led here.
#[derive(Clone, Copy)]
struct Node {
    before: u32,
    choice: u16,
}

const ROOT: u32 = u32::MAX;

/// The result of an exploration.
pub(super) struct Explored {
    pub(super) scope: &'static str,
    /// Different states.
    pub(super) states: usize,
    /// Choices taken.
    pub(super) steps: u64,
    /// States from which the end was played after all faults had ended.
    pub(super) ends: u64,
    /// The most choices of a history.
    pub(super) depth: usize,
    /// Whether every state of the scope was reached.
    pub(super) is_whole: bool,
    pub(super) found: Option<Found>,
    pub(super) took: Duration,
}

/// A broken guarantee.
pub(super) struct Found {
    pub(super) what: String,
    pub(super) choices: Vec<Choice>,
    /// The history as text.
    pub(super) trace: String,
}

struct Search<'a> {
    scope: &'a Scope,
    nodes: Vec<Node>,
    seen: Vec<Mutex<HashSet<u128>>>,
    steps: AtomicU64,
    ends: AtomicU64,
    stop: AtomicBool,
}

const SHARDS: usize = 64;

/// Explores a scope, up to `most` states.
pub(super) fn explore(scope: &Scope, mutation: Option<Mutation>, most: usize) -> Explored {
    let began = Instant::now();
    let mut search = Search {
        scope,
        nodes: Vec::new(),
        seen: (0..SHARDS).map(|_| Mutex::default()).collect(),
        steps: AtomicU64::new(0),
        ends: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let mut frontier = vec![ROOT];
    let (mut depth, mut found) = (0, None);
    while !frontier.is_empty() && search.nodes.len() < most && found.is_none() {
        let (children, violation) = search.level(&frontier, mutation, most);
        found = violation;
        let first = search.nodes.len() as u32;
        search.nodes.extend(children);
        frontier = (first..search.nodes.len() as u32).collect();
        depth += usize::from(!frontier.is_empty());
    }
    let is_whole = frontier.is_empty() && found.is_none();
    Explored {
        scope: scope.name,
        states: search.nodes.len() + 1,
        steps: search.steps.into_inner(),
        ends: search.ends.into_inner(),
        depth,
        is_whole,
        found,
        took: began.elapsed(),
    }
}

impl Search<'_> {
    /// The choices that lead to a node.
    fn path(&self, mut node: u32) -> Vec<u16> {
        let mut path = Vec::new();
        while let Some(Node { before, choice }) = self.nodes.get(node as usize).copied() {
            path.push(choice);
            node = before;
        }
        path.reverse();
        path
    }

    /// Searches all states of one depth. Returns the new ones behind them.
    fn level(
        &self,
        frontier: &[u32],
        mutation: Option<Mutation>,
        most: usize,
    ) -> (Vec<Node>, Option<Found>) {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
        let (next, made) = (AtomicUsize::new(0), AtomicUsize::new(self.nodes.len()));
        let worker = || {
            Mutation::choose(mutation);
            let (mut children, mut found) = (Vec::new(), None);
            while !self.stop.load(Ordering::Relaxed) {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(&node) = frontier.get(place) else { break };
                let before = children.len();
                if let Some(violation) = self.expand(node, &mut children) {
                    self.stop.store(true, Ordering::Relaxed);
                    found = Some(violation);
                }
                let new = children.len() - before;
                if made.fetch_add(new, Ordering::Relaxed) > most {
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
            (children, found)
        };
        let parts: Vec<_> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            handles.into_iter().map(|it| it.join().expect("a history panicked")).collect()
        });
        let (mut children, mut found) = (Vec::new(), None);
        for (some, violation) in parts {
            children.extend(some);
            found = found.or(violation);
        }
        (children, found)
    }

    /// Takes every choice in a state.
    fn expand(&self, node: u32, children: &mut Vec<Node>) -> Option<Found> {
        let path = self.path(node);
        let mut stage = Some(self.replay(&path, false));
        let choices = stage.as_ref().map(Stage::choices).unwrap_or_default();
        for (place, choice) in choices.iter().enumerate() {
            let mut stage = stage.take().unwrap_or_else(|| self.replay(&path, false));
            stage.take(*choice);
            self.steps.fetch_add(1, Ordering::Relaxed);
            let path = || [&path[..], &[place as u16]].concat();
            if let Some(what) = stage.violation() {
                return Some(self.found(what.into(), &path(), false));
            }
            let hash = stage.hash();
            let shard = &self.seen[hash as usize % SHARDS];
            if !shard.lock().unwrap_or_else(PoisonError::into_inner).insert(hash) {
                continue;
            }
            children.push(Node { before: node, choice: place as u16 });
            if stage.is_at_rest() {
                self.ends.fetch_add(1, Ordering::Relaxed);
                if let (Some(what), _) = stage.heal() {
                    return Some(self.found(what, &path(), true));
                }
            }
        }
        None
    }

    fn replay(&self, path: &[u16], readable: bool) -> Stage {
        let mut stage = Stage::new(self.scope, readable);
        for place in path {
            let choice = stage.choices()[usize::from(*place)];
            stage.take(choice);
        }
        stage
    }

    fn found(&self, what: String, path: &[u16], heals: bool) -> Found {
        let mut stage = Stage::new(self.scope, true);
        let mut choices = Vec::new();
        for place in path {
            let choice = stage.choices()[usize::from(*place)];
            choices.push(choice);
            stage.take(choice);
        }
        let trace = if heals { stage.heal().1 } else { stage.trace() };
        Found { what, choices, trace }
    }
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, states, steps, ends, depth, is_whole, found, took } = self;
        let extent = if *is_whole { "all" } else { "the first" };
        let seconds = took.as_secs_f64();
        write!(
            f,
            "{scope}: {extent} {states} states, up to {depth} choices deep; {steps} choices \
             taken, {ends} ends played, {seconds:.0} s"
        )?;
        if let Some(found) = found {
            write!(f, "\nFOUND {}\nafter", found.what)?;
            for choice in &found.choices {
                write!(f, "\n  {choice:?}")?;
            }
        }
        Ok(())
    }
}
