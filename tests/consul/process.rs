//! Several real processes that contend, are killed, or are asked to end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use actix_dsync::{
    Dsync, Release, Timing, TryAcquire,
    config::{Limits, Secret},
    events::LockLost,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::locks::{
    Stretch, acquire, agent, assert_exclusive, at, boot_nanos, key, next, observe, rounds, runtime,
};
use crate::support::consul::Agent;
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::stalls::Stalls;

/// This binary again, as a process that plays a role until its input ends.
pub(crate) struct Player {
    child: Child,
    /// Ends the process when it is dropped, or when this process ends.
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

const LINE: &str = "@ ";

impl Player {
    pub(crate) fn start(role: &str, url: &str, prefix: &str) -> Self {
        Self::start_with(role, url, prefix, &[])
    }

    pub(crate) fn start_with(role: &str, url: &str, prefix: &str, more: &[(&str, &str)]) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args(["--exact", "process::a_player", "--ignored", "--nocapture"])
            .envs([("DSYNC_ROLE", role), ("DSYNC_URL", url), ("DSYNC_PREFIX", prefix)])
            .envs(more.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("this program can be run");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input, lines }
    }

    /// The player's next line.
    pub(crate) fn says(&self) -> String {
        loop {
            let limit = Duration::from_secs(rounds(120, 1_800) as u64);
            let line = self.lines.recv_timeout(limit).expect("a line in time");
            // The harness may have started the line.
            if let Some((_, said)) = line.split_once(LINE) {
                return said.to_owned();
            }
        }
    }

    /// Ends its input.
    pub(crate) fn go_on(&mut self) {
        drop(self.input.take());
    }

    /// Everything that it printed, once it has ended.
    pub(crate) fn ended(mut self) -> Vec<String> {
        drop(self.input.take());
        let status = self.child.wait().expect("our own child");
        assert!(status.success(), "{status}");
        self.lines.iter().collect()
    }

    /// What it has printed since, without waiting for more.
    pub(crate) fn said(&self) -> Vec<String> {
        let lines = self.lines.try_iter();
        lines.filter_map(|line| Some(line.split_once(LINE)?.1.to_owned())).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child");
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{LINE}{line}");
    let _ = out.flush();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of other tests"]
async fn a_player() {
    let variable = |name| std::env::var(name).ok();
    let (Some(role), Some(url)) = (variable("DSYNC_ROLE"), variable("DSYNC_URL")) else { return };
    let prefix = variable("DSYNC_PREFIX").expect("a prefix");
    match role.as_str() {
        "cycle" => cycle(&url, &prefix).await,
        "hold" => hold(&url, &prefix).await,
        "watch" => watch(&url, &prefix).await,
        "many" => many(&url, &prefix).await,
        "talk" => talk(&url, &prefix).await,
        "permits" => crate::permits::play(&url, &prefix).await,
        "serve" => crate::service::serve(&url, &prefix).await,
        "secrets" => crate::secrets::talk(&url, &prefix).await,
        other => panic!("no such role: {other}"),
    }
}

pub(crate) async fn input_ended() {
    let wait = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let _ = tokio::task::spawn_blocking(wait).await;
}

/// Locks and releases one key repeatedly.
async fn cycle(url: &str, prefix: &str) {
    let dsync = at(url, prefix).start().expect("valid settings");
    dsync.ready().await.expect("an agent that runs");
    say("ready");
    input_ended().await;
    for _ in 0..rounds(150, 1_000) {
        let lease = acquire(&dsync, "k").await;
        let Stretch { token, first, last } = observe(&lease, Duration::from_millis(1));
        let _ = dsync.send(Release(lease)).await.expect("a release");
        say(&format!("{token} {first} {last}"));
    }
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    say("done");
}

/// The example `node`, built by cargo.
fn example() -> std::path::PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let target = own.ancestors().nth(2).expect("a target folder");
    let profile = if target.ends_with("release") { "release" } else { "test" };
    let mut cargo = Command::new(env!("CARGO"));
    // In the profile of this program, with which scripts/test has built it already.
    cargo.args(["build", "--quiet", "--profile", profile, "--all-features", "--example", "node"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo has set for this test would make it build dependencies anew.
    let set = |name: &String| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST");
    for name in std::env::vars().map(|(name, _)| name).filter(set) {
        cargo.env_remove(name);
    }
    assert!(cargo.status().expect("cargo").success());
    target.join("examples/node")
}

#[test]
fn a_process_told_to_end_after_its_agent_has_gone_warns_and_succeeds() {
    let example = example();
    for role in [&["run", "--keys", "1"][..], &["campaign"]] {
        let agent = Agent::start();
        let mut node = Command::new(&example)
            .args(role)
            .args(["--prefix", "p", "--consul", &agent.url()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example can be run");
        let mut lines = BufReader::new(node.stdout.take().expect("piped")).lines();
        let begins = |line: &String| line.contains("acquired") || line.contains("elected");
        let begun = lines.by_ref().map_while(Result::ok).find(begins);
        assert!(begun.is_some(), "{role:?}");
        agent.kill();
        kill_process(Pid::from_child(&node), Signal::TERM).expect("our own child");
        while lines.next().is_some() {}
        let ended = node.wait_with_output().expect("our own child");
        let warned = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{role:?}: {} {warned}", ended.status);
        assert!(warned.contains("node: warning: "), "{role:?}: {warned}");
    }
}

/// Holds a key until it is asked to end.
async fn hold(url: &str, prefix: &str) {
    let timing = Timing::fast_failover();
    let dsync = at(url, prefix).timing(timing.clone()).start().expect("valid settings");
    let lease = acquire(&dsync, "k").await;
    let mut told = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .expect("a handler for signals");
    say(&format!("{}", lease.token()));
    tokio::select! {
        () = input_ended() => {}
        _ = told.recv() => {
            dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
        }
    }
    std::process::exit(0);
}

/// Checks its lease until it ends.
async fn watch(url: &str, prefix: &str) {
    let timing = Timing::fast_failover();
    let dsync = at(url, prefix).timing(timing.clone()).start().expect("valid settings");
    let mut lost = dsync.events::<LockLost>(actix_dsync::events::Filter::All);
    let lease = acquire(&dsync, "k").await;
    say(&format!("{}", lease.token()));
    let (lease, stretch) = tokio::task::spawn_blocking(move || {
        let stretch = observe(&lease, Duration::from_secs(100));
        (lease, stretch)
    })
    .await
    .expect("no panic");
    let event = next(&mut lost, Duration::from_secs(2)).await;
    assert_eq!(event.token, lease.token());
    say(&format!("{} {} {}", stretch.token, stretch.first, stretch.last));
    say(&format!("{:?}", event.reason));
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

/// A time span as a player prints it.
fn stretch(line: &str) -> Stretch {
    let mut words = line.split(' ').map(|word| word.parse::<u64>().expect("a number"));
    let mut word = || words.next().expect("three words");
    Stretch { token: word(), first: word(), last: word() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_stopped_and_continued_knows_that_it_is_not_the_owner() {
    let player = Player::start("watch", &agent().url(), "paused");
    player.says();
    let timing = Timing::fast_failover();
    let other = at(agent().url(), "paused").timing(timing.clone()).start().expect("valid settings");
    let waiting = tokio::spawn({
        let other = other.clone();
        async move {
            let lease = acquire(&other, "k").await;
            let stretch = observe(&lease, Duration::from_millis(500));
            (lease, stretch)
        }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    player.signal(Signal::STOP);
    let (lease, latter) = waiting.await.expect("granted");
    player.signal(Signal::CONT);
    let former = stretch(&player.says());
    assert_exclusive(vec![former, latter]);
    assert!(lease.is_valid(), "the former owner took it away");
    eprintln!("the former owner: {}", player.says());
    player.ended();
    drop(lease);
    other.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!(agent().operator().kv_keys("paused/"), Vec::<String>::new());
}

#[test]
fn two_processes_alternate_without_overlap() {
    // A machine that is busy with other tests may tell the waiting process too late.
    let alternates = (0..3).any(|_| {
        let (turns, ownerships) = alternate();
        turns > ownerships / 10
    });
    assert!(alternates, "in three runs, the key seldom changed hands");
}

/// Lets two processes contend for a key, and checks that they do not overlap. Returns how often
/// it changed hands, and in how many ownerships.
fn alternate() -> (usize, usize) {
    let url = agent().url();
    let mut players = [(); 2].map(|()| Player::start("cycle", &url, "alternate"));
    for player in &mut players {
        assert_eq!(player.says(), "ready");
    }
    players.iter_mut().for_each(Player::go_on);

    let mut all = Vec::new();
    for (number, player) in players.iter().enumerate() {
        loop {
            let line = player.says();
            if line == "done" {
                break;
            }
            all.push((number, stretch(&line)));
        }
    }
    assert_eq!(all.len(), 2 * rounds(150, 1_000));
    all.sort_by_key(|(_, stretch)| stretch.token);
    let turns = all.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
    eprintln!("{turns} changes of the owning process in {} ownerships", all.len());
    let ownerships = all.len();
    assert_exclusive(all.into_iter().map(|(_, stretch)| stretch).collect());
    assert_eq!(agent().operator().kv_keys("alternate/"), Vec::<String>::new());
    (turns, ownerships)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_holder_is_followed_after_twice_the_ttl_and_the_lock_delay() {
    let (holder_side, waiter_side) =
        (Proxy::to(agent().http_addr()), Proxy::to(agent().http_addr()));
    let holder = Player::start("hold", &holder_side.url(), "killed");
    let token: u64 = holder.says().parse().expect("a token");
    let timing = Timing::fast_failover();
    let waiter =
        at(waiter_side.url(), "killed").timing(timing.clone()).start().expect("valid settings");
    let waiting = tokio::spawn({
        let waiter = waiter.clone();
        async move { acquire(&waiter, "k").await }
    });
    // Some renewals pass.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let stalls = Stalls::watch();
    holder.signal(Signal::KILL);

    let lease = waiting.await.expect("granted");
    let granted = Instant::now();
    let renewals = holder_side.requests("/v1/session/renew/");
    let last = renewals.last().expect("at least one renewal").at;
    let took = granted.duration_since(last);
    assert!(lease.token().as_u64() > token);
    let attempts = waiter_side
        .requests("\"lock\"")
        .into_iter()
        .filter(|seen| granted.duration_since(seen.at) < Duration::from_secs(3))
        .count();
    eprintln!("fail-over {took:?} after the last renewal, {attempts} attempts");
    // Each of these may be late: the end of the TTL, its news, the end of the delay, the lock.
    let late = Duration::from_millis(500) + 4 * stalls.longest();
    assert!(took < timing.failover() + late, "{took:?}, and {late:?} may be lost");
    // One request when the key was seen free, one when the lock-delay had ended.
    assert!(attempts <= 3, "{attempts} attempts for a delay that was known");
    waiter.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_told_to_terminate_is_followed_at_once() {
    let holder = Player::start("hold", &agent().url(), "terminated");
    let token: u64 = holder.says().parse().expect("a token");
    let waiter = runtime("terminated");
    let asked = waiter.send(TryAcquire::new(key("k"))).await;
    assert!(matches!(asked, Err(actix_dsync::Error::Held { .. })), "{asked:?}");
    let waiting = tokio::spawn({
        let waiter = waiter.clone();
        async move { (acquire(&waiter, "k").await, Instant::now()) }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (told, stalls) = (Instant::now(), Stalls::watch());
    holder.signal(Signal::TERM);
    let (lease, granted) = waiting.await.expect("granted");
    let took = granted.duration_since(told);
    eprintln!("granted {took:?} after SIGTERM");
    assert!(lease.token().as_u64() > token);
    assert!(took < Duration::from_secs(1) + 4 * stalls.longest(), "{took:?}");
    drop(lease);
    waiter.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

/// The resources that this process uses.
#[derive(Debug)]
struct Usage {
    files: usize,
    threads: usize,
    resident_kb: usize,
}

impl Usage {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let words = line.expect("a field of every Linux").split_whitespace().next();
            words.and_then(|number| number.parse().ok()).expect("a number")
        };
        Self {
            files: std::fs::read_dir("/proc/self/fd").expect("Linux").count(),
            threads: field("Threads:"),
            resident_kb: field("VmRSS:"),
        }
    }
}

/// Uses many different keys one after another, then as many at once as there are slots.
async fn many(url: &str, prefix: &str) {
    let limits = Limits::default().with_keys(2_000);
    let dsync = at(url, prefix).limits(limits.clone()).start().expect("valid settings");
    let work = async |from: usize, to: usize| {
        for number in from..to {
            let lease = acquire(&dsync, &format!("order/{number}")).await;
            assert!(lease.is_valid());
            let _ = dsync.send(Release(lease)).await.expect("a release");
        }
        // The slots of the last keys linger for a moment.
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let count = rounds(3_000, 100_000);
    work(0, count / 3).await;
    let before = Usage::now();
    work(count / 3, count).await;
    let after = Usage::now();
    say(&format!("{before:?} -> {after:?}"));
    assert!(after.files <= before.files + 2, "{before:?} {after:?}");
    assert_eq!(after.threads, before.threads);
    assert!(after.resident_kb < before.resident_kb + 4_096, "{before:?} {after:?}");

    // With a leftover slot, one would be missing now. A tenth of the keys is kept for
    // campaigns and observers.
    let all = (0..limits.keys * 9 / 10).map(|number| {
        let dsync = &dsync;
        async move { acquire(dsync, &format!("at-once/{number}")).await }
    });
    let leases = futures::future::join_all(all).await;
    assert!(leases.iter().all(actix_dsync::Lease::is_valid));
    drop(leases);
    dsync.shutdown(Duration::from_secs(20)).await.expect("an orderly end");
    drop(dsync);

    // Ended runtimes leave no threads or connections. Those that nobody shuts down end in the
    // background.
    let mut before = None;
    for round in 0..20 {
        let dsync = at(url, prefix).start().expect("valid settings");
        let lease = acquire(&dsync, "one").await;
        if round % 2 == 0 {
            dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
        }
        drop((dsync, lease));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = before.get_or_insert_with(Usage::now);
        let is_like =
            |now: &Usage| now.threads <= before.threads + 1 && now.files <= before.files + 12;
        let ended = || Some(Usage::now()).filter(is_like);
        let ended = eventually(Duration::from_secs(30), ended);
        assert!(ended.is_some(), "{before:?} {:?}", Usage::now());
    }
}

#[test]
fn many_different_keys_leave_nothing_behind() {
    let player = Player::start("many", &agent().url(), "many");
    let began = Instant::now();
    eprintln!("{}", player.says());
    player.ended();
    eprintln!("{} keys in {:?}", rounds(3_000, 100_000), began.elapsed());
    assert_eq!(agent().operator().kv_keys("many/"), Vec::<String>::new());
}

/// Performs every operation once, with logging.
async fn talk(url: &str, prefix: &str) {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(std::io::stdout)
        .init();
    let secret = std::env::var("DSYNC_SECRET").expect("a secret");
    let builder = at(url, prefix).token(Secret::new(secret.clone()));
    println!("{builder:?}");
    let dsync = builder.start().expect("valid settings");
    println!("{dsync:?}");
    match dsync.ready().await {
        Ok(()) => {
            let lease = acquire(&dsync, "k").await;
            println!("{lease:?}");
            // Long enough for a watch and a renewal.
            tokio::time::sleep(Duration::from_secs(3)).await;
            println!("{:?}", dsync.send(TryAcquire::new(key("k"))).await);
            let _ = dsync.send(Release(lease)).await.expect("a release");
        }
        Err(error) => println!("{error} {error:?}"),
    }
    println!("{:?}", dsync.shutdown(Duration::from_secs(5)).await);
    let wrong: Vec<_> = ["http://[", "ftp://x", "http://host:99999", "http://h/path?q"]
        .into_iter()
        .map(|address| Dsync::builder("x").address(address).token(Secret::new(secret.clone())))
        .map(|builder| builder.start().map_err(|error| format!("{error} {error:?}")))
        .collect();
    println!("{wrong:?}");
    say(&format!("{}", boot_nanos()));
}

/// Runs a player that logs everything, and returns its log.
pub(crate) fn log_of_a_talk(url: &str, prefix: &str, secret: &str) -> Vec<String> {
    Player::start_with("talk", url, prefix, &[("DSYNC_SECRET", secret)]).ended()
}

#[test]
fn a_player_that_dies_is_noticed() {
    let player = Player::start("hold", &agent().url(), "noticed");
    player.says();
    player.signal(Signal::KILL);
    let holder = || agent().operator().kv_get("noticed/k").and_then(|entry| entry.session);
    assert!(eventually(Duration::from_secs(1), holder).is_some(), "Consul has not noticed yet");
}
