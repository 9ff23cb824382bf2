//! Plays cases concurrently and reports their outcomes.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cases::{Case, Play, Verdict};
use crate::stage::Outcome;
use crate::support::consul::Cluster;
use crate::support::stalls::Stalls;
use crate::table;

/// The number of independent cases that run at the same time.
const SIDE_BY_SIDE: usize = 16;

/// The selection on the command line, with the options of Rust's own harness.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    list: bool,
    exact: bool,
    ignored: bool,
    filters: Vec<String>,
    skip: Vec<String>,
}

impl Selection {
    pub(crate) fn from_arguments() -> Self {
        let mut selection = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => selection.list = true,
                "--exact" => selection.exact = true,
                "--ignored" => selection.ignored = true,
                "--skip" => selection.skip.extend(words.next()),
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => {
                    words.next();
                }
                option if option.starts_with('-') => {}
                _ => selection.filters.push(word),
            }
        }
        selection
    }

    fn takes(&self, case: &Case) -> bool {
        let names = |filter: &String| {
            if self.exact { case.name == *filter } else { case.name.contains(filter.as_str()) }
        };
        (self.filters.is_empty() || self.filters.iter().any(names))
            && !self.skip.iter().any(names)
            && !self.ignored
    }
}

/// The end of a case.
struct End {
    case: Case,
    took: Duration,
    verdict: Option<Verdict>,
}

pub(crate) fn run(mut cases: Vec<Case>, selection: &Selection) -> ExitCode {
    cases.retain(|case| selection.takes(case));
    if selection.list {
        cases.iter().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    println!("\nrunning {} cases", cases.len());
    let stalls = Stalls::watch();
    let ends = play(cases);

    let mut outcomes: BTreeMap<&str, Vec<Outcome>> = BTreeMap::new();
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    for end in ends {
        match end.verdict {
            None => failed.push(end.case.name),
            Some(Verdict::Skipped(_)) => skipped += 1,
            Some(Verdict::Played(played)) => {
                passed += 1;
                if !played.is_empty() {
                    outcomes.entry(end.case.fault).or_default().extend(played);
                }
            }
        }
    }
    if !outcomes.is_empty() {
        println!("\n{}", table::of(&outcomes));
    }
    let stall = stalls.longest();
    println!("the machine stalled for up to {stall:?}");
    let late = table::too_late(&outcomes, stall);
    late.iter().for_each(|why| println!("too late: {why}"));
    failed.iter().for_each(|name| println!("failed: {name}"));
    let good = failed.is_empty() && late.is_empty();
    println!(
        "\ntest result: {}. {passed} passed; {} failed; {skipped} skipped; finished in {:.1} s\n",
        if good { "ok" } else { "FAILED" },
        failed.len() + late.len(),
        began.elapsed().as_secs_f64(),
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play(cases: Vec<Case>) -> Vec<End> {
    let mut clusters: BTreeMap<usize, Vec<Case>> = BTreeMap::new();
    let mut alone = Vec::new();
    for case in cases {
        match case.play {
            Play::Cluster(number, _) => clusters.entry(number).or_default().push(case),
            _ => alone.push(case),
        }
    }
    let places = Places { free: Mutex::new(SIDE_BY_SIDE), freed: Condvar::new() };
    let (ended, ends) = mpsc::channel();
    std::thread::scope(|scope| {
        for cases in clusters.into_values() {
            let ended = ended.clone();
            scope.spawn(move || {
                let mut cluster = None;
                for case in cases {
                    let _ = ended.send(play_one(case, &mut cluster));
                }
            });
        }
        for case in alone {
            let (ended, places) = (ended.clone(), &places);
            scope.spawn(move || {
                places.take();
                let end = play_one(case, &mut None);
                places.give_back();
                let _ = ended.send(end);
            });
        }
        drop(ended);
        ends.into_iter().inspect(tell).collect()
    })
}

fn play_one(case: Case, cluster: &mut Option<Cluster>) -> End {
    let began = Instant::now();
    let played = catch_unwind(AssertUnwindSafe(|| match case.play {
        Play::Check(check) => {
            check();
            None
        }
        Play::Alone(play) => Some(play(&case)),
        Play::Cluster(_, play) => Some(play(&case, cluster.get_or_insert_with(Cluster::start))),
    }));
    let verdict = match played {
        Ok(verdict) => Some(verdict.unwrap_or_else(|| Verdict::Played(Vec::new()))),
        Err(_) => {
            // The cluster's state is unknown.
            *cluster = None;
            None
        }
    };
    End { case, took: began.elapsed(), verdict }
}

fn tell(end: &End) {
    let how = match &end.verdict {
        None => "FAILED".into(),
        Some(Verdict::Skipped(why)) => format!("SKIPPED: {why}"),
        Some(_) => "ok".into(),
    };
    println!("test {} ... {how} ({:.1} s)", end.case.name, end.took.as_secs_f64());
}

/// Limits the number of concurrent cases.
struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Places {
    fn take(&self) {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
    }

    fn give_back(&self) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
    }
}
