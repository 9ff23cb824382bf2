//! Breadth-first search through all histories of a scope, by the number of choices.
//!
//! What happens by itself costs nothing: the next message, and the passing of time. All
//! histories with one choice are searched, then all with two, and so on. A state is
//! searched once, whichever way it was reached.
//!
//! A state is reached again by repeating its history, since machines that share channels
//! and locks cannot be copied. After a choice, the search runs on from where it is.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{choice::Choice, scope::Scope, stage::Stage};
use crate::protocol::mutation::Mutation;

/// A state: the one before it, and the choice that led here.
#[derive(Clone, Copy)]
struct Node {
    before: u32,
    choice: Choice,
}

/// The state before the first choice.
const ROOT: u32 = u32::MAX;

/// The result of an exploration.
pub(super) struct Explored {
    pub(super) scope: String,
    /// Different states.
    pub(super) states: usize,
    /// Steps between them.
    pub(super) steps: u64,
    /// States from which the end was played, with all faults ended.
    pub(super) ends: u64,
    /// All histories with up to this many choices were searched.
    pub(super) choices: usize,
    /// The search ended early, at the limit of states or a broken guarantee.
    pub(super) is_cut_short: bool,
    /// No history of the scope has more choices.
    pub(super) is_whole: bool,
    pub(super) found: Option<Found>,
    pub(super) took: Duration,
}

/// A broken guarantee.
pub(super) struct Found {
    pub(super) what: String,
    /// The choices that led to it, without what happens by itself.
    pub(super) choices: Vec<Choice>,
    /// The history as text.
    pub(super) trace: String,
}

struct Search<'a> {
    scope: &'a Scope,
    mutation: Option<Mutation>,
    most: usize,
    nodes: Mutex<Vec<Node>>,
    seen: Vec<Mutex<HashSet<u128>>>,
    states: AtomicUsize,
    steps: AtomicU64,
    ends: AtomicU64,
    stop: AtomicBool,
    found: Mutex<Option<Found>>,
}

const SHARDS: usize = 64;

/// Explores all histories of a scope with up to `most_choices`, but at most `most` states.
pub(super) fn explore(
    scope: &Scope,
    mutation: Option<Mutation>,
    most_choices: usize,
    most: usize,
) -> Explored {
    let began = Instant::now();
    let search = Search {
        scope,
        mutation,
        most,
        nodes: Mutex::default(),
        seen: (0..SHARDS).map(|_| Mutex::default()).collect(),
        states: AtomicUsize::new(0),
        steps: AtomicU64::new(0),
        ends: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        found: Mutex::default(),
    };
    let mut tasks = vec![None];
    let mut levels = 0;
    while !tasks.is_empty() && !search.is_stopped() && levels <= most_choices {
        tasks = search.level(tasks);
        levels += usize::from(!search.is_stopped());
    }
    let is_cut_short = search.is_stopped();
    let found = search.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    Explored {
        scope: scope.text.clone(),
        is_cut_short,
        states: search.states.into_inner(),
        steps: search.steps.into_inner(),
        ends: search.ends.into_inner(),
        choices: levels.max(1) - 1,
        is_whole: tasks.is_empty() && !is_cut_short,
        found,
        took: began.elapsed(),
    }
}

/// A choice to take in a state; `None` stands for the beginning.
type Task = Option<(u32, Choice)>;

impl Search<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Searches all histories whose last choice is one of the tasks. Returns the choices
    /// that may follow.
    fn level(&self, tasks: Vec<Task>) -> Vec<Task> {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
        let next = AtomicUsize::new(0);
        let worker = || {
            Mutation::choose(self.mutation);
            let mut following = Vec::new();
            while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut same = vec![*task];
                while let Some(task) = same.pop() {
                    if self.is_stopped() {
                        return following;
                    }
                    self.run(task, &mut same, &mut following);
                }
            }
            following
        };
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            let parts = handles.into_iter().map(|it| it.join().expect("a history panicked"));
            parts.flatten().collect()
        })
    }

    /// Takes a choice and runs on, as long as that leads to new states. `same` gets the
    /// other steps that cost nothing, `following` the choices.
    fn run(&self, task: Task, same: &mut Vec<Task>, following: &mut Vec<Task>) {
        let mut path = task.map_or_else(Vec::new, |(node, _)| self.path(node));
        let mut stage = self.replay(&path, false);
        let mut node = ROOT;
        let mut step = task;
        loop {
            if let Some((before, choice)) = step {
                stage.take(choice);
                path.push(choice);
                self.steps.fetch_add(1, Ordering::Relaxed);
                if let Some(what) = stage.violation() {
                    return self.find(what.into(), &path, false);
                }
                let Some(new) = self.enter(before, choice, &stage) else { return };
                node = new;
            } else if !self.is_new(&stage) {
                return;
            }
            let choices = stage.choices();
            step = None;
            for choice in choices {
                let task = Some((node, choice));
                match choice.is_free(self.scope.is_prompt) {
                    true if step.is_none() => step = task,
                    true => same.push(task),
                    false => following.push(task),
                }
            }
            if stage.is_at_rest() {
                self.ends.fetch_add(1, Ordering::Relaxed);
                let (violation, _) = stage.heal();
                if let Some(what) = violation {
                    return self.find(what, &path, true);
                }
                if step.is_none() {
                    return;
                }
                stage = self.replay(&path, false);
            }
            if step.is_none() || self.is_stopped() {
                return;
            }
        }
    }

    /// Notes a state. Returns its number if it is new.
    fn enter(&self, before: u32, choice: Choice, stage: &Stage) -> Option<u32> {
        if !self.is_new(stage) {
            return None;
        }
        let mut nodes = lock(&self.nodes);
        nodes.push(Node { before, choice });
        Some(nodes.len() as u32 - 1)
    }

    fn is_new(&self, stage: &Stage) -> bool {
        let hash = stage.hash();
        let is_new = lock(&self.seen[hash as usize % SHARDS]).insert(hash);
        if is_new && self.states.fetch_add(1, Ordering::Relaxed) + 1 >= self.most {
            self.stop.store(true, Ordering::Relaxed);
        }
        is_new
    }

    /// The choices that lead to a node.
    fn path(&self, mut node: u32) -> Vec<Choice> {
        let nodes = lock(&self.nodes);
        let mut path = Vec::new();
        while let Some(Node { before, choice }) = nodes.get(node as usize).copied() {
            path.push(choice);
            node = before;
        }
        path.reverse();
        path
    }

    fn replay(&self, path: &[Choice], is_readable: bool) -> Stage {
        let mut stage = Stage::new(self.scope, is_readable);
        path.iter().for_each(|choice| stage.take(*choice));
        stage
    }

    /// Notes a broken guarantee, unless one was noted.
    fn find(&self, what: String, path: &[Choice], is_healed: bool) {
        self.stop.store(true, Ordering::Relaxed);
        let stage = self.replay(path, true);
        let trace = if is_healed { stage.heal().1 } else { stage.trace() };
        let is_chosen = |choice: &Choice| !choice.is_free(self.scope.is_prompt);
        let choices = path.iter().copied().filter(is_chosen).collect();
        lock(&self.found).get_or_insert(Found { what, choices, trace });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Explored {
    /// As a row of a table.
    pub(super) fn row(&self) -> String {
        let Self { scope, choices, states, steps, ends, .. } = self;
        let seconds = self.took.as_secs_f64();
        format!("| `{scope}` | {choices} | {states} | {steps} | {ends} | {seconds:.0} |")
    }
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, states, steps, ends, choices, is_whole, found, .. } = self;
        let extent = if *is_whole { ", which is all of them," } else { "" };
        write!(
            f,
            "{scope}: up to {choices} choices{extent} {states} states, {steps} steps, \
             {ends} ends played, {:.0} s",
            self.took.as_secs_f64()
        )?;
        if let Some(found) = found {
            write!(f, "\nFOUND {}\nafter", found.what)?;
            found.choices.iter().try_for_each(|choice| write!(f, " {choice:?},"))?;
        }
        Ok(())
    }
}
