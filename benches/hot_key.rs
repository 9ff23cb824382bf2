//! One hot key, wanted by a hundred tasks in one process, and in each of two processes,
//! compared with the raw calls in the same run.
//!
//! The floor is `PUT ?acquire` and `PUT ?release` by one client over one persistent
//! connection. Two processes are also measured while they wait for so many other keys
//! that the hot key is watched through a listing. `DSYNC_BENCH_SECONDS` sets the
//! duration of each measurement.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on may say so by a panic")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests; a bench needs a part of it")]
mod support;

use std::{
    cell::Cell,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use actix_dsync::{Acquire, Dsync, Key, Reply, config::HASHICORP_LOCK_FLAGS};
use support::consul::Agent;

const TASKS: usize = 100;
/// The number of other keys that each process waits for to make watches scarce.
const OTHERS: usize = 100;

fn put(stream: &mut BufReader<TcpStream>, target: &str) {
    let head = format!("PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    assert!(body.starts_with(b"true"), "{}", String::from_utf8_lossy(&body));
}

/// Cycles per second with the raw calls.
fn floor(agent: &Agent, span: Duration) -> f64 {
    let body = serde_json::json!({"TTL": "86400s", "NodeChecks": []});
    let session = agent.operator().create_session(&body).unwrap();
    let stream = TcpStream::connect(agent.http_addr()).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    let (begun, mut cycles) = (Instant::now(), 0);
    while begun.elapsed() < span {
        put(&mut stream, &format!("/v1/kv/floor?acquire={session}"));
        put(&mut stream, &format!("/v1/kv/floor?release={session}"));
        cycles += 1;
    }
    f64::from(cycles) / begun.elapsed().as_secs_f64()
}

/// Takes part for `span` after `go` completes; returns the number of grants.
async fn take_part(url: &str, prefix: &str, scarce: bool, go: impl FnOnce() -> Duration) -> u64 {
    let mut limits = actix_dsync::config::Limits::default();
    limits.connections = scarce.then_some(16);
    let dsync = Dsync::builder("bench").address(url).prefix(prefix).limits(limits);
    let dsync: Dsync = dsync.start().unwrap();
    dsync.ready().await.unwrap();
    let others: Vec<Reply<Acquire>> = (0..if scarce { OTHERS } else { 0 })
        .map(|n| dsync.send(Acquire::new(Key::new(other(n)).unwrap())))
        .collect();
    if scarce {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let until = Instant::now() + go();
    let grants = Rc::new(Cell::new(0));
    let local = tokio::task::LocalSet::new();
    for _ in 0..TASKS {
        let (dsync, grants) = (dsync.clone(), Rc::clone(&grants));
        local.spawn_local(async move {
            let key = Key::new("jobs/hot").unwrap();
            while Instant::now() < until {
                let lease = dsync.send(Acquire::new(key.clone())).await.unwrap();
                if Instant::now() < until {
                    grants.set(grants.get() + 1);
                }
                drop(lease);
            }
        });
    }
    local.await;
    drop(others);
    dsync.shutdown(Duration::from_secs(10)).await.unwrap();
    grants.get()
}

fn other(n: usize) -> String {
    format!("jobs/{n}")
}

/// Starts a process that takes part once it reads a line from its standard input.
fn start(agent: &Agent, prefix: &str, scarce: bool) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env("DSYNC_BENCH_JOB", format!("{},{prefix},{scarce}", agent.url()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn line_of(child: &mut BufReader<std::process::ChildStdout>) -> String {
    let mut line = String::new();
    child.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

fn job(job: &str) {
    let parts: Vec<&str> = job.split(',').collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let grants = runtime.block_on(take_part(parts[0], parts[1], parts[2] == "true", || {
        println!("ready");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        Duration::from_millis(line.trim().parse().unwrap())
    }));
    println!("{grants}");
}

fn measure(agent: &Agent, processes: usize, scarce: bool, span: Duration) {
    let prefix = format!("bench-{processes}-{scarce}");
    if scarce {
        let operator = agent.operator();
        let body = serde_json::json!({"TTL": "86400s", "NodeChecks": []});
        let session = operator.create_session(&body).unwrap();
        let stream = TcpStream::connect(agent.http_addr()).unwrap();
        let mut stream = BufReader::new(stream);
        for n in 0..OTHERS {
            let name = other(n);
            let flags = HASHICORP_LOCK_FLAGS;
            put(&mut stream, &format!("/v1/kv/{prefix}/{name}?acquire={session}&flags={flags}"));
        }
    }
    let floor_before = floor(agent, span / 4);
    let mut children: Vec<Child> = (0..processes).map(|_| start(agent, &prefix, scarce)).collect();
    let mut lines: Vec<_> =
        children.iter_mut().map(|child| BufReader::new(child.stdout.take().unwrap())).collect();
    for line in &mut lines {
        assert_eq!(line_of(line), "ready");
    }
    for child in &mut children {
        let millis = format!("{}\n", span.as_millis());
        child.stdin.as_mut().unwrap().write_all(millis.as_bytes()).unwrap();
    }
    let grants: Vec<u64> = lines.iter_mut().map(|line| line_of(line).parse().unwrap()).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let floor = (floor_before + floor(agent, span / 4)) / 2.0;
    let all: u64 = grants.iter().sum();
    let rate = all as f64 / span.as_secs_f64();
    let shares: Vec<String> =
        grants.iter().map(|own| format!("{:.0} %", *own as f64 / all as f64 * 100.0)).collect();
    println!(
        "| {processes} | {} | {rate:.0} | {floor:.0} | {:.1} | {} |",
        if scarce { "one of a listing" } else { "by a read of its own" },
        rate / floor,
        shares.join(" / "),
    );
}

fn main() {
    if let Ok(text) = std::env::var("DSYNC_BENCH_JOB") {
        return job(&text);
    }
    let seconds = std::env::var("DSYNC_BENCH_SECONDS").map_or(6, |text| text.parse().unwrap());
    let (agent, span) = (Agent::start(), Duration::from_secs(seconds));
    println!("| processes | watched | grants / s | raw cycles / s | ratio | shares |");
    println!("|---|---|---|---|---|---|");
    measure(&agent, 1, false, span);
    measure(&agent, 2, false, span);
    measure(&agent, 2, true, span);
}
