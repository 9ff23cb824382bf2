//! Many keys in one process: connections, memory, idle CPU, and the time from a release
//! to the grant, compared with the raw calls in the same run.
//!
//! The floor of a wake-up is a blocking read on its own connection, a `PUT ?release` by
//! another client, the reply to the read, and the lock transaction.
//! `DSYNC_BENCH_KEYS=50,250` sets the numbers of keys.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on may say so by a panic")]

mod support;

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_dsync::{Acquire, Builder, Dsync, Key, Lease, Reply};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use support::{
    Times,
    consul::{Agent, free_port},
    raw::Raw,
    row, timed,
};

/// The time from a release to the next owner's lock with the raw calls.
fn floor(agent: &Agent, rounds: usize) -> Times {
    let (mut one, mut two) = (Raw::new(agent.http_addr()), Raw::new(agent.http_addr()));
    let (theirs, ours) = (one.session("0s"), one.session("0s"));
    let mut times = Times::default();
    for n in 0..rounds {
        let key = format!("floor/{n}");
        one.lock_all(&theirs, std::slice::from_ref(&key));
        assert!(one.watch(&key));
        std::thread::sleep(Duration::from_millis(5));
        let ((), took) = timed(|| {
            two.release(&theirs, &key);
            one.receive();
            one.lock_all(&ours, std::slice::from_ref(&key));
        });
        times.add(took);
    }
    times
}

fn connections(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let peer = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|remote| remote.ends_with(&peer)) && fields.next() == Some("01")
    };
    table.lines().filter(is_one).count()
}

fn memory_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The CPU time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// The process's resources before the runtime was started.
struct Before {
    connections: usize,
    memory: f64,
}

impl Before {
    fn now(port: u16) -> Self {
        Self { connections: connections(port), memory: memory_mb() }
    }
}

/// The time until every wanted key is held or watched, by reads of the usual wait.
const SETTLE: Duration = Duration::from_secs(25);
/// A little longer than the longest wait of a blocking read, so that each ends once.
const IDLE: Duration = Duration::from_secs(33);

/// The cost of the keys while nothing happens.
async fn report_idle(name: &str, port: u16, before: &Before) {
    tokio::time::sleep(SETTLE).await;
    let (begun, used) = (Instant::now(), cpu());
    tokio::time::sleep(IDLE).await;
    let share = (cpu() - used).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    row(format_args!("{name}.idle"), share, "%");
    // Excludes the connections of this bench's raw calls.
    row(format_args!("{name}.connections"), (connections(port) - before.connections) as f64, "");
    row(format_args!("{name}.memory"), memory_mb(), "MB");
    row(format_args!("{name}.memory.before"), before.memory, "MB");
}

fn name(n: usize) -> String {
    format!("jobs/{n:05}")
}

fn key(n: usize) -> Key {
    Key::new(name(n)).unwrap()
}

async fn waiting(agent: &Agent, what: &str, builder: Builder, port: u16, count: usize) {
    let prefix = format!("{what}-{count}");
    let mut raw = Raw::new(agent.http_addr());
    let theirs = raw.session("0s");
    let names: Vec<String> = (0..count).map(|n| format!("{prefix}/{}", name(n))).collect();
    raw.lock_all(&theirs, &names);
    let mut floor = floor(agent, 100);

    let before = Before::now(port);
    let dsync: Dsync = builder.prefix(&prefix).start().unwrap();
    dsync.ready().await.unwrap();
    let mut waiting: Vec<Option<Reply<Acquire>>> =
        (0..count).map(|n| Some(dsync.send(Acquire::new(key(n))))).collect();
    let name = format!("many_keys.{what}.waiting.{count}");
    report_idle(&name, port, &before).await;
    let mut wakes = Times::default();
    let rounds = count.min(100);
    for round in 0..rounds {
        let n = round * (count / rounds);
        let begun = Instant::now();
        raw.release(&theirs, &names[n]);
        drop(waiting[n].take().unwrap().await.unwrap());
        wakes.add(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    wakes.report(&format!("{name}.wake"), &mut floor, &[50, 99]);
    drop(waiting);
    dsync.shutdown(Duration::from_secs(60)).await.unwrap();
}

async fn held(what: &str, builder: Builder, port: u16, count: usize) {
    let before = Before::now(port);
    let dsync: Dsync = builder.prefix(format!("{what}-held-{count}")).start().unwrap();
    dsync.ready().await.unwrap();
    let begun = Instant::now();
    let asked: Vec<Reply<Acquire>> = (0..count).map(|n| dsync.send(Acquire::new(key(n)))).collect();
    let mut leases: Vec<Lease> = Vec::new();
    for reply in asked {
        leases.push(reply.await.unwrap());
    }
    let name = format!("many_keys.{what}.held.{count}");
    row(format_args!("{name}.taken"), begun.elapsed().as_secs_f64(), "s");
    report_idle(&name, port, &before).await;
    drop(leases);
    dsync.shutdown(Duration::from_secs(60)).await.unwrap();
}

fn tls_agent() -> (Agent, u16, Arc<ClientConfig>) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = rcgen::generate_simple_self_signed(names).unwrap();
    let port = free_port();
    let folder = std::env::temp_dir().join(format!("dsync-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let config = format!(
        r#"ports {{ https = {port} }} cert_file = "{}" key_file = "{}""#,
        cert.display(),
        key.display()
    );
    let agent = Agent::builder().config(config).start();
    std::fs::remove_dir_all(&folder).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let trust = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (agent, port, Arc::new(trust))
}

/// One measurement in a separate process, so that it measures only its own memory.
async fn measure(what: &str, state: &str, count: usize) {
    let (agent, tls_port, trust) = tls_agent();
    let (port, builder) = if what == "tls" {
        let url = format!("https://{}:{tls_port}", Ipv4Addr::LOCALHOST);
        (tls_port, Dsync::builder("bench").address(url).tls(trust))
    } else {
        (agent.http_addr().port(), Dsync::builder("bench").address(agent.url()))
    };
    if state == "held" {
        held(what, builder, port, count).await;
    } else {
        waiting(&agent, what, builder, port, count).await;
    }
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Ok(job) = std::env::var("DSYNC_BENCH_JOB") {
        let mut parts = job.split(',');
        let (Some(what), Some(state), Some(count)) = (parts.next(), parts.next(), parts.next())
        else {
            panic!("what,state,count");
        };
        return runtime.block_on(measure(what, state, count.parse().expect("a number")));
    }
    let counts = std::env::var("DSYNC_BENCH_KEYS").unwrap_or("250,1000,10000".into());
    let counts: Vec<&str> = counts.split(',').collect();
    for (what, state) in
        [("plain", "waiting"), ("plain", "held"), ("tls", "waiting"), ("tls", "held")]
    {
        for count in &counts {
            let status = std::process::Command::new(std::env::current_exe().expect("a path"))
                .env("DSYNC_BENCH_JOB", format!("{what},{state},{count}"))
                .status();
            assert!(status.expect("it starts").success(), "{what} {state} {count}");
        }
    }
}
