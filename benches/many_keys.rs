//! Many keys waited for in one process: connections, memory, idle CPU, and how
//! soon a release is noticed, beside the raw calls in the same run.
//!
//! The floor of a wake is: a blocking read on a connection of its own, a `PUT
//! ?release` by somebody else, the read's answer, and the transaction that locks.
//! `DSYNC_BENCH_KEYS=50,250` chooses the numbers of keys.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on may say so by a panic")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests; a bench needs a part of it")]
mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_dsync::{Acquire, Builder, Dsync, HASHICORP_LOCK_FLAGS, Key, Lease, Reply};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde_json::json;
use support::consul::{Agent, free_port};

/// One keep-alive connection without any client library.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, method: &str, target: &str, body: &str) {
        let length = body.len();
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        self.0.get_mut().write_all((head + body).as_bytes()).unwrap();
    }

    /// The index and the body.
    fn receive(&mut self) -> (u64, String) {
        let (mut line, mut length, mut index) = (String::new(), 0, 0);
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            } else if let Some(value) = lower.strip_prefix("x-consul-index:") {
                index = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (index, String::from_utf8(body).unwrap())
    }

    fn ask(&mut self, method: &str, target: &str, body: &str) -> (u64, String) {
        self.send(method, target, body);
        self.receive()
    }

    fn session(&mut self) -> String {
        let body = r#"{"TTL": "86400s", "NodeChecks": [], "LockDelay": "0s"}"#;
        let answer: serde_json::Value =
            serde_json::from_str(&self.ask("PUT", "/v1/session/create", body).1).unwrap();
        answer["ID"].as_str().unwrap().to_owned()
    }

    fn lock(&mut self, session: &str, keys: &[String]) {
        // So few that the answer does not come in chunks.
        for keys in keys.chunks(4) {
            let lock = |key| {
                json!({"KV": {"Verb": "lock", "Key": key, "Session": session,
                              "Flags": HASHICORP_LOCK_FLAGS, "Value": ""}})
            };
            let ops: Vec<_> = keys.iter().map(lock).collect();
            let answer = self.ask("PUT", "/v1/txn", &json!(ops).to_string()).1;
            assert!(answer.contains("\"Errors\""), "{answer}");
        }
    }

    fn release(&mut self, session: &str, key: &str) {
        let target = format!("/v1/kv/{key}?release={session}&flags={HASHICORP_LOCK_FLAGS}");
        assert!(self.ask("PUT", &target, "").1.starts_with("true"));
    }
}

/// From a release to the next owner's lock, with nothing but the raw calls.
fn floor(agent: &Agent, rounds: usize) -> Vec<Duration> {
    let (mut one, mut two) = (Raw::new(agent.http_addr()), Raw::new(agent.http_addr()));
    let (theirs, ours) = (one.session(), one.session());
    let mut times = Vec::new();
    for n in 0..rounds {
        let key = format!("floor/{n}");
        one.lock(&theirs, std::slice::from_ref(&key));
        let (index, _) = one.ask("GET", &format!("/v1/kv/{key}"), "");
        one.send("GET", &format!("/v1/kv/{key}?index={index}&wait=30s"), "");
        std::thread::sleep(Duration::from_millis(5));
        let begun = Instant::now();
        two.release(&theirs, &key);
        one.receive();
        one.lock(&ours, std::slice::from_ref(&key));
        times.push(begun.elapsed());
    }
    times
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3
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

/// The processor time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// The share of a core that this process uses while nothing happens, over the
/// whole of a read's wait: what is done at its end is done for all at once.
async fn idle_percent() -> f64 {
    let (begun, before) = (Instant::now(), cpu());
    tokio::time::sleep(Duration::from_secs(33)).await;
    (cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0
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
    let theirs = raw.session();
    let names: Vec<String> = (0..count).map(|n| format!("{prefix}/{}", name(n))).collect();
    raw.lock(&theirs, &names);
    let mut floor = floor(agent, 50);

    let before = memory_mb();
    let dsync: Dsync = builder.prefix(&prefix).start().unwrap();
    dsync.ready().await.unwrap();
    let mut waiting: Vec<Option<Reply<Acquire>>> =
        (0..count).map(|n| Some(dsync.send(Acquire::new(key(n))))).collect();
    // Until the reads from the start have ended with their waits.
    tokio::time::sleep(Duration::from_secs(45)).await;
    let idle = idle_percent().await;
    let (memory, standing) = (memory_mb(), connections(port));
    let mut wakes = Vec::new();
    let rounds = count.min(100);
    for round in 0..rounds {
        let n = round * (count / rounds);
        let begun = Instant::now();
        raw.release(&theirs, &names[n]);
        drop(waiting[n].take().unwrap().await.unwrap());
        wakes.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    println!(
        "| {what}, waiting | {count} | {standing} | {memory:.0} (+{:.0}) | {idle:.2} | {:.2} / {:.2} | {:.2} / {:.2} |",
        memory - before,
        percentile(&mut wakes, 50),
        percentile(&mut wakes, 99),
        percentile(&mut floor, 50),
        percentile(&mut floor, 99),
    );
    drop(waiting);
    dsync.shutdown(Duration::from_secs(60)).await.unwrap();
}

async fn held(what: &str, builder: Builder, port: u16, count: usize) {
    let before = memory_mb();
    let dsync: Dsync = builder.prefix(format!("{what}-held-{count}")).start().unwrap();
    dsync.ready().await.unwrap();
    let begun = Instant::now();
    let asked: Vec<Reply<Acquire>> = (0..count).map(|n| dsync.send(Acquire::new(key(n)))).collect();
    let mut leases: Vec<Lease> = Vec::new();
    for reply in asked {
        leases.push(reply.await.unwrap());
    }
    let took = begun.elapsed();
    // Until the reads from the start have ended with their waits.
    tokio::time::sleep(Duration::from_secs(45)).await;
    let idle = idle_percent().await;
    let memory = memory_mb();
    println!(
        "| {what}, held | {count} | {} | {memory:.0} (+{:.0}) | {idle:.2} | taken in {took:.1?} | |",
        connections(port),
        memory - before,
    );
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

/// One measurement in a process of its own, so that its memory is only its own.
async fn measure(what: &str, state: &str, count: usize) {
    let (agent, tls_port, trust) = tls_agent();
    let (port, builder) = if what == "TLS" {
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
    let counts = std::env::var("DSYNC_BENCH_KEYS").unwrap_or("50,250,1000,10000".into());
    println!(
        "| keys of one process | number | connections | memory, MB | idle CPU, % of a core | release to grant p50 / p99, ms | raw calls p50 / p99, ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    for what in ["plain", "TLS"] {
        for (state, count) in
            counts.split(',').map(|count| ("waiting", count)).chain([("held", "10000")])
        {
            let status = std::process::Command::new(std::env::current_exe().expect("a path"))
                .env("DSYNC_BENCH_JOB", format!("{what},{state},{count}"))
                .status();
            assert!(status.expect("it starts").success(), "{what} {state} {count}");
        }
    }
}
