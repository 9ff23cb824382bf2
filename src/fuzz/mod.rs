//! Hostile input: a seeded loop that changes the entries of a corpus and gives them to
//! everything that reads what others wrote.
//!
//! The corpus is in `tests/corpus/`, a folder per target. `replies/` was recorded from a
//! Consul 1.8.7 with ACLs, except for the entries from 50 on. `scripts/fuzz MINUTES` runs
//! for long; a short run is one of the tests. An input that fails is written to a file,
//! with the command that runs it again.

mod change;
mod targets;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use targets::Target;

use crate::simulation::random::Random;

/// The longest time for one input, of this thread's processor time.
const LONGEST: Duration = Duration::from_secs(5);
/// The most memory that the process may need, in MiB.
const MOST_MEMORY: u64 = 2_048;

/// A target with the inputs that are changed.
struct Campaign {
    target: Target,
    corpus: Vec<Vec<u8>>,
    executions: u64,
}

impl Campaign {
    fn new(target: Target) -> Self {
        let folder = Path::new("tests/corpus").join(target.name());
        let files = fs::read_dir(&folder).unwrap_or_else(|err| panic!("{folder:?}: {err}"));
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{folder:?} is empty");
        let corpus = files.iter().map(|file| fs::read(file).unwrap()).collect();
        Self { target, corpus, executions: 0 }
    }

    /// Runs the next input.
    fn step(&mut self, random: &mut Random) {
        let input = match usize::try_from(self.executions) {
            // First each entry as it is.
            Ok(place) if place < self.corpus.len() => self.corpus[place].clone(),
            _ => change::changed(&self.corpus, random),
        };
        self.executions += 1;
        execute(self.target, &input);
    }
}

/// Runs one input. If it fails, keeps it in a file.
fn execute(target: Target, input: &[u8]) {
    let begun = processor_time();
    let run = std::panic::AssertUnwindSafe(|| target.run(input));
    let failed = match std::panic::catch_unwind(run) {
        Err(_) => "it panicked",
        Ok(()) if processor_time() - begun > LONGEST => "it took too long",
        Ok(()) => return,
    };
    let file = std::env::temp_dir().join(format!("dsync-fuzz-{}", std::process::id()));
    fs::write(&file, input).unwrap();
    panic!(
        "{}: {failed}; run it again: DSYNC_FUZZ_TARGET={} DSYNC_FUZZ_FILE={} cargo test \
         --all-features --lib fuzz::again -- --ignored",
        target.name(),
        target.name(),
        file.display()
    );
}

/// How long this thread has run.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

/// The most memory that this process has needed, in MiB, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1_024)
}

fn campaigns() -> Vec<Campaign> {
    Target::ALL.into_iter().map(Campaign::new).collect()
}

#[test]
fn a_short_run_of_every_target_meets_no_panic_and_no_hang() {
    let mut random = Random::new(7);
    for mut campaign in campaigns() {
        for _ in 0..campaign.target.share() * 6 {
            campaign.step(&mut random);
        }
    }
}

#[test]
#[ignore = "runs for as long as scripts/fuzz says"]
fn long() {
    let variable = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let minutes = variable("DSYNC_FUZZ_MINUTES").expect("DSYNC_FUZZ_MINUTES");
    let seed = variable("DSYNC_SEED").unwrap_or(0);
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let mut random = Random::new(seed);
    let mut campaigns = campaigns();
    while Instant::now() < until {
        for campaign in &mut campaigns {
            (0..campaign.target.share()).for_each(|_| campaign.step(&mut random));
        }
        let memory = peak_memory().unwrap_or_default();
        assert!(memory < MOST_MEMORY, "{memory} MiB of memory");
    }
    let all: u64 = campaigns.iter().map(|campaign| campaign.executions).sum();
    println!("seed {seed}: {all} executions, at most {} MiB", peak_memory().unwrap_or_default());
    for Campaign { target, executions, .. } in &campaigns {
        println!("{executions:>12} {}", target.name());
    }
}

#[test]
#[ignore = "for one input that failed"]
fn again() {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let name = variable("DSYNC_FUZZ_TARGET");
    let target = Target::ALL.into_iter().find(|target| target.name() == name);
    let input = fs::read(variable("DSYNC_FUZZ_FILE")).unwrap();
    target.expect("the name of a target").run(&input);
}
