//! One uncontended acquire and release, compared with the raw calls in the same run.
//!
//! The floor is `PUT ?acquire` and `PUT ?release` over one persistent connection. Three
//! intermediate measurements show where the time goes: this crate's transactions over
//! such a connection, and the same transactions through awc without this crate, on the
//! caller's thread and on a thread of its own. A fourth puts [`PAUSE`] between the raw
//! calls, in which the server's threads fall asleep.
//!
//! All are measured in turns, so that other load on the machine affects them equally,
//! after a rest each, and back to back, like a busy caller. Each runs against an agent in
//! memory and against the leader of three servers on disk. Only the ratios are meaningful.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

mod support;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use actix_dsync::{Acquire, Dsync, Key, Release, Released};
use support::{
    Times,
    consul::{Agent, Cluster},
    own_thread::{Calls, OwnThread},
    raw::{Raw, Txns},
    timed,
};
use tokio::{runtime::Runtime, task::LocalSet};

/// About the time from a reply to this crate's next request: two threads wake each other.
const PAUSE: Duration = Duration::from_micros(100);
/// The rest before each turn. Otherwise each would share the cores with what the one before
/// leaves behind: this crate's thread stays awake for a while, and the server works on.
const REST: Duration = Duration::from_millis(2);
const WARM_UP: usize = 200;
const ROUNDS: usize = 2_000;
/// The number of back-to-back blocks of each way.
const BLOCKS: usize = 10;

/// `PUT ?acquire`, `PUT ?release`.
struct Puts {
    raw: Raw,
    session: String,
}

impl Puts {
    /// Returns the time of both calls, without the pauses between them.
    fn cycle(&mut self, pause: Duration) -> Duration {
        let locked = timed(|| assert!(self.raw.acquire(&self.session, "raw/key"))).1;
        stay_awake(pause);
        let released = timed(|| self.raw.release(&self.session, "raw/key")).1;
        stay_awake(pause);
        locked + released
    }
}

fn stay_awake(pause: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < pause {
        std::hint::spin_loop();
    }
}

/// The transactions over a raw connection.
struct RawTxns {
    raw: Raw,
    txns: Txns,
}

impl RawTxns {
    fn cycle(&mut self) {
        let locked = self.raw.ask("PUT", "/v1/txn", self.txns.lock()).1;
        self.raw.txn(&self.txns.release(&locked));
    }
}

/// The transactions through awc, on the waiting thread.
struct Awc {
    calls: Calls,
    txns: Txns,
}

impl Awc {
    async fn cycle(&self) {
        let locked = self.calls.txn(self.txns.lock().to_owned()).await.unwrap();
        self.calls.txn(self.txns.release(&locked)).await.unwrap();
    }
}

async fn on_own_thread(thread: &OwnThread) {
    thread.lock().await.unwrap();
    thread.release().await.unwrap();
}

async fn ours(dsync: &Dsync, key: &Key) {
    let lease = dsync.send(Acquire::new(key.clone())).await.unwrap();
    assert_eq!(dsync.send(Release(lease)).await.unwrap(), Released::Confirmed);
}

/// Every way of locking, against one server.
struct Ways {
    puts: Puts,
    txns: RawTxns,
    awc: Awc,
    own_thread: OwnThread,
    runtime: Runtime,
    tasks: LocalSet,
    dsync: Dsync,
    key: Key,
}

#[derive(Clone, Copy)]
enum Way {
    Puts,
    PausedPuts,
    Txns,
    Awc,
    OwnThread,
    Ours,
}

const WAYS: [Way; 6] = [Way::Puts, Way::PausedPuts, Way::Txns, Way::Awc, Way::OwnThread, Way::Ours];

impl Ways {
    fn new(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dsync = Dsync::builder("bench").address(format!("http://{address}")).start().unwrap();
        runtime.block_on(dsync.ready()).unwrap();
        let mut raw = Raw::new(address);
        let session = raw.session("0s");
        Self {
            txns: RawTxns { raw: Raw::new(address), txns: Txns::new("txn/key", &session) },
            awc: Awc { calls: Calls::new(address), txns: Txns::new("awc/key", &session) },
            own_thread: OwnThread::new(address, "thread/key", &session),
            puts: Puts { raw, session },
            runtime,
            tasks: LocalSet::new(),
            dsync,
            key: Key::new("bench/cycle").unwrap(),
        }
    }

    /// Returns the time of one cycle.
    fn cycle(&mut self, way: Way) -> Duration {
        match way {
            Way::Puts => self.puts.cycle(Duration::ZERO),
            Way::PausedPuts => self.puts.cycle(PAUSE),
            Way::Txns => timed(|| self.txns.cycle()).1,
            Way::Awc => timed(|| self.tasks.block_on(&self.runtime, self.awc.cycle())).1,
            Way::OwnThread => timed(|| self.runtime.block_on(on_own_thread(&self.own_thread))).1,
            Way::Ours => timed(|| self.runtime.block_on(ours(&self.dsync, &self.key))).1,
        }
    }

    /// Measures every way in `blocks` blocks of `cycles` consecutive cycles, and prints
    /// the figures under `name`.
    fn measure(&mut self, name: &str, blocks: usize, cycles: usize) {
        let mut times = WAYS.map(|_| Times::default());
        for way in WAYS {
            for _ in 0..WARM_UP {
                self.cycle(way);
            }
        }
        for _ in 0..blocks {
            for (way, times) in WAYS.into_iter().zip(&mut times) {
                std::thread::sleep(REST);
                (0..cycles).for_each(|_| times.add(self.cycle(way)));
            }
        }
        let [mut floor, mut paused, mut txns, mut awc, mut thread, mut ours] = times;
        let percents = [50, 90, 99];
        paused.report(&format!("{name}.paused"), &mut floor, &percents);
        txns.report(&format!("{name}.txn"), &mut floor, &percents);
        awc.report(&format!("{name}.awc"), &mut floor, &percents);
        thread.report(&format!("{name}.thread"), &mut floor, &percents);
        ours.report(name, &mut floor, &percents);
    }

    fn end(self) {
        self.own_thread.end();
        self.runtime.block_on(self.dsync.shutdown(Duration::from_secs(5))).unwrap();
    }
}

fn main() {
    let agent = Agent::start();
    let mut ways = Ways::new(agent.http_addr());
    ways.measure("cycle", ROUNDS, 1);
    ways.measure("cycle.back", BLOCKS, ROUNDS / BLOCKS);
    ways.end();
    drop(agent);

    let cluster = Cluster::start();
    let mut ways = Ways::new(cluster.http_addr(cluster.leader()));
    ways.measure("cycle.cluster", ROUNDS / 4, 1);
    ways.measure("cycle.cluster.back", BLOCKS, ROUNDS / 4 / BLOCKS);
    ways.end();
}
