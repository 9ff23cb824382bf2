//! One uncontended acquire and release, beside the raw calls in the same run.
//!
//! The floor is `PUT ?acquire` and `PUT ?release` over one connection that is
//! kept open. Both are measured in turns, so that a noisy machine disturbs both
//! alike; only their ratio means something.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests; a bench needs a part of it")]
mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use actix_dsync::{Acquire, Dsync, Key, Release, Released};
use criterion::{Criterion, criterion_group, criterion_main};
use support::consul::Agent;

/// One keep-alive connection without any client library.
struct Raw {
    stream: BufReader<TcpStream>,
    session: String,
}

impl Raw {
    fn new(agent: &Agent) -> Self {
        let address = agent.http_addr();
        let body = serde_json::json!({"TTL": "86400s", "NodeChecks": []});
        let session = agent.operator().create_session(&body).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), session }
    }

    fn put(&mut self, target: &str) {
        let head = format!("PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}");
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        assert!(body.starts_with(b"true"), "{}", String::from_utf8_lossy(&body));
    }

    fn cycle(&mut self) -> Duration {
        let begun = Instant::now();
        let session = self.session.clone();
        self.put(&format!("/v1/kv/raw/key?acquire={session}"));
        self.put(&format!("/v1/kv/raw/key?release={session}"));
        begun.elapsed()
    }
}

async fn lease(dsync: &Dsync, key: &Key) -> Duration {
    let begun = Instant::now();
    let lease = dsync.send(Acquire::new(key.clone())).await.unwrap();
    assert_eq!(dsync.send(Release(lease)).await.unwrap(), Released::Confirmed);
    begun.elapsed()
}

fn cycle(c: &mut Criterion) {
    let agent = Agent::start();
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dsync = Dsync::builder("bench").address(agent.url()).start().unwrap();
    threads.block_on(dsync.ready()).unwrap();
    let key = Key::new("bench/cycle").unwrap();
    let mut raw = Raw::new(&agent);

    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for round in 0..2_200 {
        let (one, other) = (raw.cycle(), threads.block_on(lease(&dsync, &key)));
        if round >= 200 {
            floor.push(one);
            ours.push(other);
        }
    }
    floor.sort_unstable();
    ours.sort_unstable();
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let place = (floor.len() as f64 * share) as usize;
        let ratio = ours[place].as_secs_f64() / floor[place].as_secs_f64();
        println!("cycle {name}: raw {:?}, ours {:?}, ratio {ratio:.2}", floor[place], ours[place]);
    }

    let mut group = c.benchmark_group("cycle");
    group.bench_function("raw", |b| b.iter(|| raw.cycle()));
    group.bench_function("ours", |b| b.iter(|| threads.block_on(lease(&dsync, &key))));
    group.finish();
    threads.block_on(dsync.shutdown(Duration::from_secs(5))).unwrap();
}

criterion_group!(benches, cycle);
criterion_main!(benches);
