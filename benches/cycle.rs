//! One uncontended acquire and release, beside the raw calls in the same run.
//!
//! The floor is `PUT ?acquire` and `PUT ?release` over one connection that is
//! kept open. Between it and ours lie two others, which show where the time goes:
//! the transactions that this crate sends, over such a connection; and the same
//! through awc, without anything of this crate around it. All are measured in
//! turns; only their ratios mean something.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

mod support;

use std::time::Duration;

use actix_dsync::{Acquire, Dsync, Key, Release, Released};
use criterion::{Criterion, criterion_group, criterion_main};
use support::{
    Times,
    consul::Agent,
    raw::{Raw, Txns},
    timed,
};
use tokio::{runtime::Runtime, task::LocalSet};

const WARM_UP: usize = 200;
const ROUNDS: usize = 2_000;

/// `PUT ?acquire`, `PUT ?release`.
struct Puts {
    raw: Raw,
    session: String,
}

impl Puts {
    fn cycle(&mut self) {
        assert!(self.raw.acquire(&self.session, "raw/key"));
        self.raw.release(&self.session, "raw/key");
    }
}

/// The transactions over a connection of ours.
struct RawTxns {
    raw: Raw,
    txns: Txns,
}

impl RawTxns {
    fn cycle(&mut self) {
        let locked = self.raw.ask("PUT", "/v1/txn", &self.txns.lock()).1;
        self.raw.txn(&self.txns.release(locked.as_bytes()));
    }
}

/// The transactions through awc, on the thread that waits for them.
struct Awc {
    client: awc::Client,
    url: String,
    txns: Txns,
}

impl Awc {
    async fn cycle(&self) {
        let locked = self.put(self.txns.lock()).await;
        self.put(self.txns.release(&locked)).await;
    }

    async fn put(&self, body: String) -> Vec<u8> {
        let mut answer = self.client.put(&self.url).send_body(body).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.body().await.unwrap().into()
    }
}

async fn ours(dsync: &Dsync, key: &Key) {
    let lease = dsync.send(Acquire::new(key.clone())).await.unwrap();
    assert_eq!(dsync.send(Release(lease)).await.unwrap(), Released::Confirmed);
}

fn cycle(c: &mut Criterion) {
    let agent = Agent::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dsync = Dsync::builder("bench").address(agent.url()).start().unwrap();
    runtime.block_on(dsync.ready()).unwrap();
    let key = Key::new("bench/cycle").unwrap();

    let mut raw = Raw::new(agent.http_addr());
    let session = raw.session("0s");
    let mut txns =
        RawTxns { raw: Raw::new(agent.http_addr()), txns: Txns::new("txn/key", &session) };
    let awc = Awc {
        client: awc::Client::builder().no_default_headers().finish(),
        url: format!("{}/v1/txn", agent.url()),
        txns: Txns::new("awc/key", &session),
    };
    let mut puts = Puts { raw, session };

    let tasks = LocalSet::new();
    let awc_cycle = |runtime: &Runtime| tasks.block_on(runtime, awc.cycle());
    let (mut floor, mut by_txns, mut by_awc, mut by_us) =
        (Times::default(), Times::default(), Times::default(), Times::default());
    for round in 0..WARM_UP + ROUNDS {
        let took = [
            timed(|| puts.cycle()).1,
            timed(|| txns.cycle()).1,
            timed(|| awc_cycle(&runtime)).1,
            timed(|| runtime.block_on(ours(&dsync, &key))).1,
        ];
        if round >= WARM_UP {
            let kinds = [&mut floor, &mut by_txns, &mut by_awc, &mut by_us];
            kinds.into_iter().zip(took).for_each(|(times, took)| times.add(took));
        }
    }
    let percents = [50, 90, 99];
    by_txns.report("cycle.txn", &mut floor, &percents);
    by_awc.report("cycle.awc", &mut floor, &percents);
    by_us.report("cycle", &mut floor, &percents);

    let mut group = c.benchmark_group("cycle");
    group.bench_function("raw", |b| b.iter(|| puts.cycle()));
    group.bench_function("ours", |b| b.iter(|| runtime.block_on(ours(&dsync, &key))));
    group.finish();
    runtime.block_on(dsync.shutdown(Duration::from_secs(5))).unwrap();
}

criterion_group!(benches, cycle);
criterion_main!(benches);
