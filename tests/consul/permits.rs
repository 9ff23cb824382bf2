//! Permits of semaphores, beside HashiCorp's client and among processes that fail.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use actix_dsync::{
    AcquirePermit, Dsync, Error, Lease, Release, Released, Timing, TryAcquirePermit,
    events::{Filter, LockLost},
};
use rustix::process::Signal;
use serde_json::Value;

use crate::locks::{
    Stretch, agent, at, boot_nanos, is_of_the_session, key, next, observe, rounds, runtime,
    short_delay,
};
use crate::process::{Player, input_ended, say};
use crate::support::eventually;
use crate::support::proxy::{Mode, Proxy};
use crate::support::stalls::Stalls;

const LIMIT: Duration = Duration::from_secs(120);
/// HashiCorp's flag of semaphores.
const FLAGS: u64 = 0xe0f6_9a2b_aa41_4de0;

async fn permit(dsync: &Dsync, limit: u32) -> Lease {
    let asked = dsync.send(AcquirePermit::new(key("s"), limit).within(LIMIT));
    asked.await.unwrap_or_else(|error| panic!("a permit: {error}"))
}

fn holders(prefix: &str) -> Vec<String> {
    let Some(entry) = agent().operator().kv_get(&format!("{prefix}/s/.lock")) else {
        return Vec::new();
    };
    let body: Value = serde_json::from_slice(&entry.value).expect("JSON");
    body["Holders"].as_object().expect("an object").keys().cloned().collect()
}

/// `consul lock -n` that runs `then`.
fn consul_lock(prefix: &str, limit: u32, options: &[&str], then: &str) -> Command {
    let program: PathBuf = std::env::var_os("CONSUL_BIN").map_or("consul".into(), Into::into);
    let mut command = Command::new(program);
    command.arg("lock").arg(format!("-http-addr={}", agent().url()));
    command.arg(format!("-n={limit}")).args(options).arg(format!("{prefix}/s")).arg(then);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_processes_as_the_limit_have_a_permit() {
    let prefix = "permits-limit";
    let all = [(); 3].map(|()| runtime(prefix));
    let (first, second) = (permit(&all[0], 2).await, permit(&all[1], 2).await);
    assert!(first.is_valid() && second.is_valid() && first.token() < second.token());
    assert_eq!(holders(prefix).len(), 2);
    let refused = all[2].send(TryAcquirePermit::new(key("s"), 2)).await;
    assert!(matches!(refused, Err(Error::NoPermit { limit: 2, .. })), "{refused:?}");
    let conflict = all[2].send(AcquirePermit::new(key("s"), 3)).await;
    let expected = Error::LimitConflict { key: key("s/.lock"), asked: 3, found: 2 };
    assert_eq!(conflict.expect_err("another limit"), expected);

    let waiting = tokio::spawn({
        let dsync = all[2].clone();
        async move { permit(&dsync, 2).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    assert_eq!(all[0].send(Release(first)).await, Ok(Released::Confirmed));
    let third = waiting.await.expect("no panic");
    assert!(third.is_valid() && third.token() > second.token());
    for dsync in all {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
    assert_eq!(agent().operator().kv_keys(&format!("{prefix}/")), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_is_given_back_although_an_operator_deleted_or_unlocked_its_own_entry() {
    let prefix = "permits-own-entry";
    let (dsync, operator) = (runtime(prefix), agent().operator());
    for is_deleted in [true, false] {
        let lease = permit(&dsync, 1).await;
        let own = format!("{prefix}/s/{}", holders(prefix)[0]);
        if is_deleted {
            operator.kv_delete(&own);
        } else {
            assert!(operator.force_release(&own));
        }
        assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
        assert_eq!(operator.kv_keys(&format!("{prefix}/")), Vec::<String>::new());
    }
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_lock_with_a_limit_and_we_count_each_other() {
    let prefix = "permits-interop";
    let (one, two) = (runtime(prefix), runtime(prefix));
    for dsync in [&one, &two] {
        dsync.ready().await.expect("an agent that runs");
    }
    // Theirs first: one of two permits. We have the other one, and no more.
    let mut theirs = consul_lock(prefix, 2, &[], "sleep 4").spawn().expect("consul runs");
    let held = || (holders(prefix).len() == 1).then_some(());
    eventually(Duration::from_secs(20), held).expect("consul lock has a permit");
    let entry = agent().operator().kv_get(&format!("{prefix}/s/.lock")).expect("a semaphore");
    assert_eq!(entry.flags, FLAGS);
    let lease = permit(&one, 2).await;
    let refused = two.send(TryAcquirePermit::new(key("s"), 2)).await;
    assert!(matches!(refused, Err(Error::NoPermit { .. })), "{refused:?}");
    let second = permit(&two, 2).await;
    theirs.wait().expect("our own child");
    let ours = holders(prefix);
    assert_eq!(ours.len(), 2, "they gave theirs back, and we took it");

    // Ours: both permits are taken, until we give one back.
    let refused = consul_lock(prefix, 2, &["-try=1s"], "true").output().expect("consul runs");
    assert!(!refused.status.success(), "{refused:?}");
    let conflict = consul_lock(prefix, 3, &["-try=1s"], "true").output().expect("consul runs");
    let said = String::from_utf8_lossy(&conflict.stderr).into_owned();
    assert!(!conflict.status.success() && said.contains("conflict"), "{said}");
    assert!(lease.is_valid() && second.is_valid(), "they left ours alone");
    assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed));
    let granted = consul_lock(prefix, 2, &["-try=20s"], "true").output().expect("consul runs");
    assert!(granted.status.success(), "{granted:?}");
    assert!(second.is_valid());
    for dsync in [one, two] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
    // Theirs that gave up leave their entries until their sessions end.
    let left = agent().operator().kv_keys(&format!("{prefix}/"));
    let is_ours =
        |key: &&String| key.ends_with("/.lock") || ours.iter().any(|id| key.ends_with(id));
    assert_eq!(left.iter().find(is_ours), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_a_permit_is_reported_and_a_waiting_consul_lock_gets_it_at_once() {
    let prefix = "permits-lost";
    let (dsync, other) = (runtime(prefix), runtime(prefix));
    let mut lost = dsync.events::<LockLost>(Filter::All);
    let lease = permit(&dsync, 2).await;
    let session = holders(prefix).remove(0);
    let second = permit(&other, 2).await;
    let theirs = consul_lock(prefix, 2, &[], "true").spawn().expect("consul runs");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stalls = Stalls::watch();
    agent().operator().destroy_session(&session);
    let event = next(&mut lost, Duration::from_secs(30)).await;
    assert_eq!((event.key, event.token), (key("s/.lock"), lease.token()));
    assert!(is_of_the_session(event.reason, &stalls), "{:?}", event.reason);
    assert!(!lease.is_valid());
    let ended = theirs.wait_with_output().expect("our own child");
    assert!(ended.status.success(), "{ended:?}");
    assert!(second.is_valid());
    for dsync in [dsync, other] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_process_s_permit_passes_on_after_its_lease_has_ended() {
    let prefix = "permits-cut";
    let proxy = Proxy::to(agent().http_addr());
    let timing = short_delay();
    let holder = at(proxy.url(), prefix).timing(timing.clone()).start().expect("valid settings");
    let other = at(agent().url(), prefix).timing(timing).start().expect("valid settings");
    let lease = permit(&holder, 1).await;
    let waiting = tokio::spawn({
        let other = other.clone();
        async move { permit(&other, 1).await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    proxy.set(Mode::BlackHole);
    agent().operator().destroy_session(&holders(prefix)[0]);
    let destroyed = Instant::now();
    let ended = tokio::spawn(async move {
        while lease.is_valid() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (Instant::now(), lease)
    });
    let second = waiting.await.expect("no panic");
    let granted = Instant::now();
    let (ended, lease) = ended.await.expect("no panic");
    assert!(ended < granted, "two permits of one");
    assert!(granted - destroyed >= Duration::from_secs(2), "{:?}", granted - destroyed);
    assert!(second.token() > lease.token());
    proxy.set(Mode::Forward);
    for dsync in [holder, other] {
        dsync.shutdown(Duration::from_secs(20)).await.expect("an orderly end");
    }
}

/// A time during which a process had a permit, by a clock that all processes share.
#[derive(Clone, Copy, Debug)]
struct Held {
    asked: u64,
    stretch: Stretch,
}

/// The timing of processes that fail often.
fn hasty() -> Timing {
    let timing = Timing::default().with_session_ttl(Duration::from_secs(10));
    timing.with_lock_delay(Duration::from_secs(2))
}

/// Takes and returns permits, and reports when it had each, until its input ends.
pub(crate) async fn play(url: &str, prefix: &str) {
    let dsync = at(url, prefix).timing(hasty()).start().expect("valid settings");
    say("ready");
    let work = async {
        for round in 0_u64.. {
            let asked = boot_nanos();
            let Ok(lease) = dsync.send(AcquirePermit::new(key("s"), 3)).await else { return };
            let work = Duration::from_millis(50 + 37 * (round + asked % 11) % 700);
            let observed = tokio::task::spawn_blocking(move || (observe(&lease, work), lease));
            let (Stretch { token, first, last }, lease) = observed.await.expect("no panic");
            say(&format!("{asked} {token} {first} {last}"));
            let _ = dsync.send(Release(lease)).await;
        }
    };
    tokio::select! {
        () = input_ended() => {}
        () = work => {}
    }
    // Cut off, it cannot end in good order.
    let _ = dsync.shutdown(Duration::from_secs(5)).await;
    say("done");
}

fn held(line: &str) -> Option<Held> {
    let words: Vec<u64> = line.split(' ').map_while(|word| word.parse().ok()).collect();
    let [asked, token, first, last] = words[..] else { return None };
    // A lease that had ended before it was looked at was never used.
    (last > 0).then_some(Held { asked, stretch: Stretch { token, first, last } })
}

/// The most permits that were valid at one time.
fn most_at_once(all: &[Held]) -> usize {
    let at_once = |moment: u64| {
        let is_valid = |it: &&Held| it.stretch.first <= moment && moment <= it.stretch.last;
        all.iter().filter(is_valid).count()
    };
    all.iter().map(|it| at_once(it.stretch.first)).max().unwrap_or(0)
}

/// A process behind a network of its own.
struct Contender {
    proxy: Proxy,
    player: Player,
    stopped: bool,
}

impl Contender {
    fn start(prefix: &str) -> Self {
        let proxy = Proxy::to(agent().http_addr());
        let player = Player::start("permits", &proxy.url(), prefix);
        Self { proxy, player, stopped: false }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_failing_processes_never_have_more_than_three_permits_and_none_is_lost() {
    let prefix = "permits-chaos";
    let mut all = Vec::new();
    let mut contenders: Vec<_> = (0..10).map(|_| Contender::start(prefix)).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut faults = [0; 4];
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(rounds(35, 600) as u64) {
        tokio::time::sleep(Duration::from_millis(300 + random.below(900))).await;
        let place = random.below(10) as usize;
        let contender = &mut contenders[place];
        all.extend(contender.player.said().iter().filter_map(|line| held(line)));
        let fault = random.below(4) as usize;
        faults[fault] += 1;
        match fault {
            0 => *contender = Contender::start(prefix),
            1 if contender.stopped => contender.player.signal(Signal::CONT),
            1 => contender.player.signal(Signal::STOP),
            2 => contender.proxy.set(Mode::BlackHole),
            _ => contender.proxy.set(Mode::Forward),
        }
        contender.stopped = fault == 1 && !contender.stopped || fault > 1 && contender.stopped;
    }
    for contender in &contenders {
        contender.proxy.set(Mode::Forward);
        contender.player.signal(Signal::CONT);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for Contender { player, proxy, .. } in contenders {
        let said = tokio::task::spawn_blocking(|| player.ended()).await.expect("no panic");
        let said = said.iter().filter_map(|line| line.split_once("@ ")).map(|(_, said)| said);
        all.extend(said.filter_map(held));
        drop(proxy);
    }
    println!("{} permits; kills, pauses, partitions, repairs: {faults:?}", all.len());
    assert!(all.len() > 30, "{}", all.len());
    assert!(most_at_once(&all) <= 3, "{all:?}");
    for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
        let is_earlier = a.stretch.first < b.asked;
        assert!(!is_earlier || a.stretch.token < b.stretch.token, "{a:?} {b:?}");
    }
    // Whatever has ended without a release comes back.
    let last = [(); 3].map(|()| at(agent().url(), prefix).timing(hasty()).start().expect("valid"));
    let mut permits = Vec::new();
    for dsync in &last {
        permits.push(permit(dsync, 3).await);
    }
    assert!(permits.iter().all(Lease::is_valid));
    drop(permits);
    for dsync in last {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
    let left = agent().operator().kv_keys(&format!("{prefix}/s/"));
    assert_eq!(left, Vec::<String>::new());
}

/// A xorshift sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
