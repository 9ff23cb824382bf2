//! Many processes on one agent: `scripts/crowd`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_dsync::{Acquire, AcquireAll, Dsync, Key, ReleaseAll, events::LockLost};
use futures::StreamExt as _;
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use crate::player::lines;
use crate::random::Random;
use crate::record::boot_nanos;
use crate::support::consul::Agent;

/// What a member is to do, as JSON.
pub(crate) const MEMBER: &str = "DSYNC_CROWD_MEMBER";

const OWN: usize = 5;
const SHARED: usize = 100;
/// How long a shared key is held, and how long a task rests after that.
const TURN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);
/// The tasks of a process that acquire sets, and the keys of which these consist.
const TASKS: usize = 5;
const SET: usize = 3;
const SET_KEYS: usize = 8;
const SET_TURN: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    Keys,
    Sets,
}

#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    url: String,
    number: usize,
    what: What,
}

/// A time during which a key was held: its token, and when the lease was surely valid.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Turn {
    key: String,
    token: u64,
    first: u64,
    last: u64,
}

/// What a member did.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Deeds {
    /// The shared keys, or the sets, that it got.
    grants: usize,
    /// The keys of its own that it holds at the end.
    own: usize,
    losses: Vec<String>,
    failures: Vec<String>,
    longest_wait: Duration,
    turns: Vec<Turn>,
}

type Noted = Arc<Mutex<Deeds>>;

fn note(deeds: &Noted, what: impl FnOnce(&mut Deeds)) {
    what(&mut deeds.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Plays a member until the input ends, and prints what it did.
pub(crate) fn play(orders: &str) {
    // No member outlives the crowd, whatever happens to it.
    set_parent_process_death_signal(Some(Signal::KILL)).expect("Linux");
    let orders: Orders = serde_json::from_str(orders).expect("orders of this program's own");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let deeds = runtime.expect("a runtime").block_on(run(orders));
    println!("{}", serde_json::to_string(&deeds).expect("plain text"));
}

async fn run(orders: Orders) -> Deeds {
    let builder = Dsync::builder(format!("crowd-{}", orders.number)).address(orders.url);
    let dsync = builder.prefix("crowd").start().expect("valid settings");
    let deeds = Noted::default();
    let mut losses = dsync.events::<LockLost>(actix_dsync::events::Filter::All);
    let noted = deeds.clone();
    tokio::spawn(async move {
        while let Some(lost) = losses.next().await {
            note(&noted, |deeds| deeds.losses.push(format!("{}: {}", lost.key, lost.reason)));
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    let own = Arc::new(AtomicUsize::new(0));
    match orders.what {
        What::Keys => {
            for n in 0..SHARED {
                tasks.spawn(take_turns(dsync.clone(), key(&format!("shared/{n}")), deeds.clone()));
            }
            for n in 0..OWN {
                let key = key(&format!("own/{}/{n}", orders.number));
                tasks.spawn(hold(dsync.clone(), key, own.clone(), deeds.clone()));
            }
        }
        What::Sets => {
            for n in 0..TASKS {
                let random = Random::new((orders.number * TASKS + n) as u64);
                tasks.spawn(take_sets(dsync.clone(), random, deeds.clone()));
            }
        }
    }
    let mut input = lines();
    while input.recv().await.is_some() {}
    note(&deeds, |deeds| deeds.own = own.load(Ordering::Relaxed));
    let deeds = std::mem::take(&mut *deeds.lock().unwrap_or_else(PoisonError::into_inner));
    tasks.shutdown().await;
    let _ = dsync.shutdown(Duration::from_secs(20)).await;
    deeds
}

fn key(name: &str) -> Key {
    Key::new(name).expect("a valid key")
}

async fn hold(dsync: Dsync, key: Key, own: Arc<AtomicUsize>, deeds: Noted) {
    loop {
        match dsync.send(Acquire::new(key.clone())).await {
            Ok(lease) => {
                own.fetch_add(1, Ordering::Relaxed);
                lease.lost().await;
                own.fetch_sub(1, Ordering::Relaxed);
            }
            Err(error) => {
                note(&deeds, |deeds| deeds.failures.push(error.to_string()));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn take_turns(dsync: Dsync, key: Key, deeds: Noted) {
    loop {
        let asked = Instant::now();
        match dsync.send(Acquire::new(key.clone())).await {
            Ok(lease) => {
                let (waited, first) = (asked.elapsed(), boot_nanos());
                tokio::time::sleep(TURN).await;
                let last = boot_nanos();
                let turn = lease.is_valid().then(|| Turn {
                    key: key.to_string(),
                    token: lease.token().as_u64(),
                    first,
                    last,
                });
                drop(lease);
                note(&deeds, |deeds| {
                    deeds.grants += 1;
                    deeds.longest_wait = deeds.longest_wait.max(waited);
                    deeds.turns.extend(turn);
                });
            }
            Err(error) => note(&deeds, |deeds| deeds.failures.push(error.to_string())),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn take_sets(dsync: Dsync, mut random: Random, deeds: Noted) {
    loop {
        let mut names: Vec<usize> = (0..SET_KEYS).collect();
        let keys = (0..SET).map(|_| {
            let name = names.swap_remove(random.below(names.len() as u64) as usize);
            key(&format!("set/{name}"))
        });
        let asked = Instant::now();
        match dsync.send(AcquireAll::new(keys.collect::<Vec<_>>())).await {
            Ok(set) => {
                let (waited, first) = (asked.elapsed(), boot_nanos());
                tokio::time::sleep(SET_TURN).await;
                let last = boot_nanos();
                let is_valid = set.is_valid();
                let turns = set.tokens().filter(|_| is_valid).map(|(key, token)| Turn {
                    key: key.to_string(),
                    token: token.as_u64(),
                    first,
                    last,
                });
                let turns: Vec<_> = turns.collect();
                let released = dsync.send(ReleaseAll(set)).await;
                note(&deeds, |deeds| {
                    deeds.grants += 1;
                    deeds.longest_wait = deeds.longest_wait.max(waited);
                    deeds.turns.extend(turns);
                    deeds.failures.extend(released.err().map(|error| error.to_string()));
                });
            }
            Err(error) => {
                note(&deeds, |deeds| deeds.failures.push(error.to_string()));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Plays `keys|sets PROCESSES SECONDS`.
pub(crate) fn run_all(plan: &str) -> ExitCode {
    let words: Vec<&str> = plan.split(' ').collect();
    let [what, processes, seconds] = words[..] else { panic!("keys|sets PROCESSES SECONDS") };
    let what = if what == "sets" { What::Sets } else { What::Keys };
    let processes: usize = processes.parse().expect("a number of processes");
    let span = Duration::from_secs(seconds.parse().expect("seconds"));
    let agent = Agent::start();
    let mut members: Vec<Child> = (0..processes).map(|n| start(&agent, n, what)).collect();
    std::thread::sleep(span);
    // Ends their inputs at one moment, as nearly as that can be.
    members.iter_mut().for_each(|member| drop(member.stdin.take()));
    let deeds: Vec<Deeds> = members.into_iter().map(said).collect();
    report(what, &deeds)
}

fn start(agent: &Agent, number: usize, what: What) -> Child {
    let orders = Orders { url: agent.url(), number, what };
    Command::new(std::env::current_exe().expect("this program has a path"))
        .env(MEMBER, serde_json::to_string(&orders).expect("plain text"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program can be run")
}

fn said(mut member: Child) -> Deeds {
    let output = BufReader::new(member.stdout.take().expect("piped"));
    let line = output.lines().map_while(Result::ok).find(|line| line.starts_with('{'));
    let status = member.wait().expect("our own child");
    assert!(status.success(), "{status}");
    serde_json::from_str(&line.expect("its deeds")).expect("its deeds")
}

fn report(what: What, deeds: &[Deeds]) -> ExitCode {
    let mut grants: Vec<usize> = deeds.iter().map(|deeds| deeds.grants).collect();
    grants.sort_unstable();
    let (least, median, most) = (grants[0], grants[grants.len() / 2], grants[grants.len() - 1]);
    let longest = deeds.iter().map(|deeds| deeds.longest_wait).max().unwrap_or_default();
    let own: usize = deeds.iter().map(|deeds| deeds.own).sum();
    let losses: Vec<&String> = deeds.iter().flat_map(|deeds| &deeds.losses).collect();
    let failures: Vec<&String> = deeds.iter().flat_map(|deeds| &deeds.failures).collect();
    let overlaps = overlaps(deeds);
    println!("{} processes: {} grants", deeds.len(), grants.iter().sum::<usize>());
    println!("grants per process: {least} at least, {median} the median, {most} at most");
    println!("the longest wait for a grant: {longest:.1?}");
    println!("own keys held at the end: {own}");
    println!("lost: {}, failed requests: {}, overlaps: {overlaps}", losses.len(), failures.len());
    let shown = losses.iter().chain(&failures).take(20);
    shown.for_each(|text| println!("  {text}"));
    let _ = std::io::stdout().flush();
    let all_own = what == What::Sets || own == deeds.len() * OWN;
    let good = losses.is_empty() && overlaps == 0 && least > 0 && all_own;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How often a turn at a key began before the former one had ended.
fn overlaps(deeds: &[Deeds]) -> usize {
    let mut by_key: BTreeMap<&str, Vec<&Turn>> = BTreeMap::new();
    for turn in deeds.iter().flat_map(|deeds| &deeds.turns) {
        by_key.entry(&turn.key).or_default().push(turn);
    }
    let of_key = |turns: &mut Vec<&Turn>| {
        turns.sort_unstable_by_key(|turn| turn.token);
        turns.windows(2).filter(|pair| pair[1].first <= pair[0].last).count()
    };
    by_key.values_mut().map(of_key).sum()
}
