//! The cost of a hand-over when many processes wait for one key.
//!
//! Fifty runtimes, each with its own session, connections and thread, take turns on
//! one key of a real Consul. For each hold time, the bench prints the requests of all
//! runtimes per hand-over, the time from a release to the next grant, and the longest
//! wait. `DSYNC_BENCH_RUNTIMES=2,50` sets the numbers of runtimes,
//! `DSYNC_BENCH_SECONDS` the least duration for each hold time.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on may say so by a panic")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests; a bench needs a part of it")]
mod support;

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use actix_dsync::{Acquire, Dsync, FencingToken, Key, Release};
use support::consul::Agent;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// The number of requests to Consul, by purpose.
#[derive(Debug, Default)]
struct Counts {
    transactions: AtomicU64,
    reads: AtomicU64,
    watches: AtomicU64,
    others: AtomicU64,
}

impl Counts {
    fn now(&self) -> [u64; 4] {
        [&self.transactions, &self.reads, &self.watches, &self.others].map(|n| n.load(Relaxed))
    }
}

/// Counts the crate's log events about requests.
struct Counter(Arc<Counts>);

impl Subscriber for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "actix_dsync::consul::client"
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Target(&self.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Target<'a>(&'a Counts);

impl Visit for Target<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "target" {
            return;
        }
        let target = format!("{value:?}");
        let kind = if target == "/v1/txn" {
            &self.0.transactions
        } else if target.contains("&wait=") {
            &self.0.watches
        } else if target.starts_with("/v1/kv/") {
            &self.0.reads
        } else {
            &self.0.others
        };
        kind.fetch_add(1, Relaxed);
    }
}

/// One ownership of the key.
#[derive(Clone, Copy)]
struct Turn {
    token: FencingToken,
    waited: Duration,
    granted_at: Instant,
    released_at: Instant,
}

async fn take_turns(dsync: Dsync, hold: Duration, until: Instant, turns: Arc<Mutex<Vec<Turn>>>) {
    let key = Key::new("k").unwrap();
    while Instant::now() < until {
        let asked_at = Instant::now();
        let lease = dsync.send(Acquire::new(key.clone())).await.unwrap();
        let granted_at = Instant::now();
        if !hold.is_zero() {
            tokio::time::sleep(hold).await;
        }
        let (token, released_at) = (lease.token(), Instant::now());
        let turn = Turn { token, waited: granted_at - asked_at, granted_at, released_at };
        turns.lock().unwrap().push(turn);
        let _ = dsync.send(Release(lease)).await.unwrap();
    }
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3
}

async fn measure(agent: &Agent, counts: &Counts, runtimes: usize, hold: Duration, span: Duration) {
    let prefix = format!("herd-{runtimes}-{}", hold.as_millis());
    let start = || Dsync::builder("bench").address(agent.url()).prefix(&prefix).start().unwrap();
    let all: Vec<Dsync> = (0..runtimes).map(|_| start()).collect();
    for dsync in &all {
        dsync.ready().await.unwrap();
    }
    // Allow a third of the time for the herd to form.
    let (begun, turns) = (Instant::now(), Arc::default());
    let until = begun + span + span / 3;
    let tasks: Vec<_> = all
        .iter()
        .map(|dsync| tokio::spawn(take_turns(dsync.clone(), hold, until, Arc::clone(&turns))))
        .collect();
    tokio::time::sleep(span / 3).await;
    let (from, before) = (Instant::now(), counts.now());
    tokio::time::sleep_until(until.into()).await;
    let (to, after) = (Instant::now(), counts.now());
    for task in tasks {
        task.await.unwrap();
    }

    let mut turns: Vec<Turn> = std::mem::take(&mut *turns.lock().unwrap());
    turns.sort_by_key(|turn| turn.token);
    let measured: Vec<_> =
        turns.windows(2).filter(|two| (from..to).contains(&two[1].granted_at)).collect();
    let mut gaps: Vec<Duration> = measured
        .iter()
        .map(|two| two[1].granted_at.saturating_duration_since(two[0].released_at))
        .collect();
    let each = |n: usize| (after[n] - before[n]) as f64 / measured.len() as f64;
    let waits = measured.iter().map(|two| two[1].waited);
    println!(
        "| {runtimes} | {hold:?} | {} | {:.1} | {:.1} + {:.1} + {:.1} + {:.1} | {:.2} / {:.2} | {:.0} |",
        measured.len(),
        (0..4).map(each).sum::<f64>(),
        each(0),
        each(1),
        each(2),
        each(3),
        percentile(&mut gaps, 50),
        percentile(&mut gaps, 99),
        waits.max().unwrap().as_secs_f64() * 1e3,
    );
    for dsync in all {
        dsync.shutdown(Duration::from_secs(30)).await.unwrap();
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let counts = Arc::new(Counts::default());
    tracing::subscriber::set_global_default(Counter(Arc::clone(&counts))).unwrap();
    // All runtimes connect from one address, each with a few connections.
    let limits = "limits { http_max_conns_per_client = 4000 }";
    let agent = Agent::builder().config(limits.to_owned()).start();
    let runtimes = std::env::var("DSYNC_BENCH_RUNTIMES").unwrap_or("2,50".into());
    let seconds = std::env::var("DSYNC_BENCH_SECONDS").map_or(6, |text| text.parse().unwrap());
    println!(
        "| processes | hold | hand-overs | requests each | = txn + read + watch + other | release to grant p50 / p99, ms | longest wait, ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    for runtimes in runtimes.split(',') {
        for hold in [0, 5, 50].map(Duration::from_millis) {
            // Each process asks once about the session of each other holder. Within a few
            // hundred hand-overs, this is no longer most of what is counted.
            let span = Duration::from_secs(seconds).max(hold * 400);
            measure(&agent, &counts, runtimes.parse().unwrap(), hold, span).await;
        }
    }
}
