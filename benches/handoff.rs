//! The time from a release in one process to the grant in another that waits, compared
//! with the raw calls between the same two processes in the same run.
//!
//! The floor is `PUT ?release` in one process, the reply to the other's blocking read,
//! its `PUT ?acquire` and the reply. Each process has one connection for writes and one
//! for reads, and the roles alternate. Two intermediate measurements show where the time
//! goes: this crate's transactions over such connections, and through awc on a thread of
//! its own, without this crate. All are measured in turns and back to back, against an
//! agent in memory and against the leader of three servers on disk.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

mod support;

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use actix_dsync::{Acquire, Dsync, Key, Lease, Release, Reply};
use rustix::time::{ClockId, clock_gettime};
use support::{
    Times,
    consul::{Agent, Cluster},
    own_thread::OwnThread,
    raw::{Raw, Txns},
};
use tokio::{runtime::Runtime, sync::oneshot};

const WARM_UP: usize = 20;
const ROUNDS: usize = 200;
/// The number of back-to-back blocks of each way.
const BLOCKS: usize = 10;
/// How long a waiter gets to find the key held and to start watching it.
const SETTLE: Duration = Duration::from_millis(20);
const WAYS: [&str; 4] = ["ours", "thread", "txn", "raw"];

/// Reads a clock that all processes share.
fn now() -> Duration {
    clock_gettime(ClockId::Monotonic).try_into().unwrap()
}

/// One of the two processes. It owns the key, waits for it, or does neither.
trait Player {
    /// Starts waiting.
    fn want(&mut self);
    /// Waits for the grant; returns its time.
    fn granted(&mut self) -> Duration;
    /// Releases; returns the time of the call.
    fn release(&mut self) -> Duration;
}

struct Ours {
    runtime: Runtime,
    dsync: Dsync,
    asked: Option<Reply<Acquire>>,
    lease: Option<Lease>,
}

impl Ours {
    fn new(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dsync = Dsync::builder("bench").address(format!("http://{address}")).start().unwrap();
        runtime.block_on(dsync.ready()).unwrap();
        Self { runtime, dsync, asked: None, lease: None }
    }
}

impl Player for Ours {
    fn want(&mut self) {
        let key = Key::new("ours/key").unwrap();
        self.asked = Some(self.dsync.send(Acquire::new(key)));
    }

    fn granted(&mut self) -> Duration {
        let lease = self.runtime.block_on(self.asked.take().unwrap());
        let at = now();
        self.lease = Some(lease.unwrap());
        at
    }

    fn release(&mut self) -> Duration {
        let lease = self.lease.take().unwrap();
        let at = now();
        let _ = self.runtime.block_on(self.dsync.send(Release(lease))).unwrap();
        at
    }
}

/// The transactions through awc, on a thread of its own.
struct Threaded {
    runtime: Runtime,
    thread: OwnThread,
    asked: Option<oneshot::Receiver<()>>,
}

impl Threaded {
    fn new(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let session = Raw::new(address).session("0s");
        let thread = OwnThread::new(address, "thread/key", &session);
        Self { runtime, thread, asked: None }
    }
}

impl Player for Threaded {
    fn want(&mut self) {
        self.asked = Some(self.thread.lock());
    }

    fn granted(&mut self) -> Duration {
        self.runtime.block_on(self.asked.take().unwrap()).unwrap();
        now()
    }

    fn release(&mut self) -> Duration {
        let at = now();
        self.runtime.block_on(self.thread.release()).unwrap();
        at
    }
}

/// The transactions over raw connections.
struct RawTxns {
    reads: Raw,
    writes: Raw,
    txns: Txns,
    locked: String,
    release: String,
    watching: bool,
}

impl RawTxns {
    const KEY: &str = "txn/key";

    fn new(address: SocketAddr) -> Self {
        let mut writes = Raw::new(address);
        let txns = Txns::new(Self::KEY, &writes.session("0s"));
        let (locked, release) = (String::new(), String::new());
        Self { reads: Raw::new(address), writes, txns, locked, release, watching: false }
    }

    /// Locks the key; returns whether the session has it.
    fn lock(&mut self) -> bool {
        self.locked = self.writes.ask("PUT", "/v1/txn", self.txns.lock()).1;
        self.locked.contains("ModifyIndex")
    }
}

impl Player for RawTxns {
    fn want(&mut self) {
        while !self.watching && !self.lock() {
            self.watching = self.reads.watch(Self::KEY);
        }
    }

    fn granted(&mut self) -> Duration {
        if std::mem::take(&mut self.watching) {
            self.reads.receive();
            assert!(self.lock());
        }
        let at = now();
        self.release = self.txns.release(&self.locked);
        at
    }

    fn release(&mut self) -> Duration {
        let at = now();
        self.writes.txn(&self.release);
        at
    }
}

struct Floor {
    reads: Raw,
    writes: Raw,
    session: String,
    watching: bool,
}

impl Floor {
    const KEY: &str = "raw/key";

    fn new(address: SocketAddr) -> Self {
        let mut writes = Raw::new(address);
        let session = writes.session("0s");
        Self { reads: Raw::new(address), writes, session, watching: false }
    }
}

impl Player for Floor {
    fn want(&mut self) {
        while !self.watching && !self.writes.acquire(&self.session, Self::KEY) {
            self.watching = self.reads.watch(Self::KEY);
        }
    }

    fn granted(&mut self) -> Duration {
        if std::mem::take(&mut self.watching) {
            self.reads.receive();
            assert!(self.writes.acquire(&self.session, Self::KEY));
        }
        now()
    }

    fn release(&mut self) -> Duration {
        let at = now();
        self.writes.release(&self.session, Self::KEY);
        at
    }
}

/// The other process, controlled through its standard input.
struct Remote {
    process: Child,
    orders: ChildStdin,
    times: BufReader<ChildStdout>,
}

impl Remote {
    fn start(kind: &str, address: SocketAddr) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env("DSYNC_BENCH_PLAYER", format!("{kind} {address}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, times) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, orders, times: BufReader::new(times) }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    fn time(&mut self) -> Duration {
        let mut line = String::new();
        self.times.read_line(&mut line).unwrap();
        Duration::from_nanos(line.trim().parse().unwrap())
    }

    fn end(self) {
        let Self { mut process, orders, .. } = self;
        drop(orders);
        assert!(process.wait().unwrap().success());
    }
}

/// Executes the orders of a [`Remote`] in the other process.
fn obey(mut player: Box<dyn Player>) {
    for order in std::io::stdin().lines() {
        let at = match order.unwrap().as_str() {
            // The parent sends no further order: it waits for the time of the grant.
            "want" => {
                player.want();
                player.granted()
            }
            "release" => player.release(),
            other => panic!("{other:?} is no order"),
        };
        println!("{}", at.as_nanos());
    }
}

fn player(kind: &str, address: SocketAddr) -> Box<dyn Player> {
    match kind {
        "ours" => Box::new(Ours::new(address)),
        "thread" => Box::new(Threaded::new(address)),
        "txn" => Box::new(RawTxns::new(address)),
        _ => Box::new(Floor::new(address)),
    }
}

/// One key that alternates between the processes.
struct Match {
    here: Box<dyn Player>,
    there: Remote,
}

impl Match {
    fn new(kind: &str, address: SocketAddr) -> Self {
        let mut here = player(kind, address);
        here.want();
        here.granted();
        Self { here, there: Remote::start(kind, address) }
    }

    /// One hand-over in each direction.
    fn round(&mut self) -> [Duration; 2] {
        let Self { here, there } = self;
        there.order("want");
        std::thread::sleep(SETTLE);
        let released = here.release();
        let granted = there.time();
        let one = granted - released;

        here.want();
        std::thread::sleep(SETTLE);
        there.order("release");
        let granted = here.granted();
        let released = there.time();
        [one, granted - released]
    }

    fn end(self) {
        let Self { mut here, there } = self;
        here.release();
        there.end();
    }
}

fn main() {
    if let Ok(player_of) = std::env::var("DSYNC_BENCH_PLAYER") {
        let (kind, address) = player_of.split_once(' ').unwrap();
        return obey(player(kind, address.parse().unwrap()));
    }
    let agent = Agent::start();
    measure("handoff", agent.http_addr(), ROUNDS, 1);
    measure("handoff.back", agent.http_addr(), BLOCKS, ROUNDS / BLOCKS);
    drop(agent);
    let cluster = Cluster::start();
    let leader = cluster.http_addr(cluster.leader());
    measure("handoff.cluster", leader, ROUNDS / 2, 1);
    measure("handoff.cluster.back", leader, BLOCKS, ROUNDS / 2 / BLOCKS);
}

/// Measures every way in `blocks` blocks of `rounds` consecutive rounds, and prints
/// the figures under `name`.
fn measure(name: &str, address: SocketAddr, blocks: usize, rounds: usize) {
    let mut matches = WAYS.map(|kind| Match::new(kind, address));
    for players in &mut matches {
        for _ in 0..WARM_UP {
            players.round();
        }
    }
    let mut times = WAYS.map(|_| Times::default());
    for _ in 0..blocks {
        for (players, times) in matches.iter_mut().zip(&mut times) {
            for _ in 0..rounds {
                players.round().into_iter().for_each(|took| times.add(took));
            }
        }
    }
    let [mut ours, mut thread, mut txns, mut floor] = times;
    let percents = [50, 90, 99];
    txns.report(&format!("{name}.txn"), &mut floor, &percents);
    thread.report(&format!("{name}.thread"), &mut floor, &percents);
    ours.report(name, &mut floor, &percents);
    matches.into_iter().for_each(Match::end);
}
