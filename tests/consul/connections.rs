//! An agent that takes fewer connections than its clients would use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_dsync::{
    Acquire, Dsync, Timing,
    config::Limits,
    embedded::Embedded,
    events::{Filter, LockLost},
};
use futures::StreamExt as _;

use crate::locks::{acquire, at, key, next, pending, rounds};
use crate::support::consul::Agent;
use crate::support::operator::Operator;
use crate::support::proxy::{Mode, Proxy};
use crate::support::stalls::Stalls;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_held_keys_over_eight_connections_stay_held_and_are_watched() {
    let agent = Agent::builder().config("limits { http_max_conns_per_client = 8 }").start();
    hold_sixty(agent.url(), agent.operator()).await;
}

/// Consul 1.9 and later answers 429 to a connection beyond the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_held_keys_over_eight_connections_of_a_newer_agent_stay_held_and_are_watched() {
    let server = Embedded::new().newer(true).connections(Some(8)).serve("127.0.0.1:0").unwrap();
    hold_sixty(server.url(), Operator::new(server.address())).await;
}

async fn hold_sixty(url: String, operator: Operator) {
    let limits = Limits::default().with_connections(32);
    let dsync = at(url, "few").limits(limits).start().expect("valid settings");
    let mut losses = dsync.events::<LockLost>(Filter::All);
    let mut leases = Vec::new();
    for n in 0..60 {
        leases.push(acquire(&dsync, &format!("jobs/{n:02}")).await);
    }
    // Longer than a lease, and than the longest blocking read.
    let (begun, mut was_saturated) = (Instant::now(), false);
    while begun.elapsed() < Duration::from_secs(35) {
        was_saturated |= dsync.health().saturation.is_some();
        assert!(leases.iter().all(|lease| lease.is_valid()), "{:?}", pending(&mut losses));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(was_saturated, "the agent never refused a connection");
    let lost = pending(&mut losses);
    assert!(lost.is_empty(), "{lost:?}");

    // The operator needs a connection, too.
    let delete =
        || operator.ask("DELETE", "/v1/kv/few/jobs/33", b"").is_ok_and(|done| done.status == 200);
    while !delete() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(next(&mut losses, Duration::from_secs(10)).await.key, key("jobs/33"));
    drop(leases);
    dsync.shutdown(Duration::from_secs(20)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_behind_a_gateway_that_cuts_reads_short_takes_less_than_a_second() {
    let agent = Agent::start();
    let proxy = Proxy::to(agent.http_addr());
    proxy.set(Mode::Gateway(Duration::from_secs(2)));
    let holder = at(agent.url(), "gateway").start().expect("valid settings");
    let waiter = at(proxy.url(), "gateway").start().expect("valid settings");
    // The first while reads are cut off, the last when they have been for a while.
    for (round, pause) in [1_900, 2_050, 5_000, 9_500].into_iter().enumerate() {
        let name = format!("k{round}");
        let lease = acquire(&holder, &name).await;
        let waiting = waiter.send(Acquire::new(key(&name)));
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let (released, stalls) = (Instant::now(), Stalls::watch());
        drop(lease);
        let granted = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        let took = released.elapsed();
        drop(granted.expect("a grant in time").expect("a grant"));
        eprintln!("handed over after {took:?}");
        let limit = Duration::from_secs(1) + 4 * stalls.longest();
        assert!(took < limit, "{took:?} in round {round}");
    }
    for dsync in [holder, waiter] {
        dsync.shutdown(Duration::from_secs(20)).await.expect("an orderly end");
    }
}

/// What one of many runtimes has done.
#[derive(Default)]
struct Progress {
    grants: AtomicUsize,
    losses: AtomicUsize,
}

/// Holds five keys of its own, and takes turns at a hundred shared ones.
async fn share(dsync: Dsync, number: usize, progress: Arc<Progress>) {
    let mut losses = dsync.events::<LockLost>(Filter::All);
    for n in 0..100 {
        let (dsync, progress) = (dsync.clone(), progress.clone());
        tokio::spawn(async move {
            loop {
                let asked = dsync.send(Acquire::new(key(&format!("shared/{n:03}"))));
                if let Ok(lease) = asked.await {
                    progress.grants.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    drop(lease);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    let own = (0..5).map(|n| dsync.send(Acquire::new(key(&format!("own/{number:02}/{n}")))));
    let _held = futures::future::join_all(own).await;
    while let Some(lost) = losses.next().await {
        eprintln!("process {number} lost {}: {:?}", lost.key, lost.reason);
        progress.losses.fetch_add(1, Ordering::Relaxed);
    }
}

/// `DSYNC_TEST_FULL=1` plays 40 processes for 5 minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_share_an_agent_and_all_make_progress() {
    let (processes, connections) = (rounds(6, 40), rounds(40, 200));
    let span = Duration::from_secs(rounds(30, 300) as u64);
    let limits = format!("limits {{ http_max_conns_per_client = {connections} }}");
    let agent = Agent::builder().config(limits).start();
    let mut all = Vec::new();
    for number in 0..processes {
        let dsync = at(agent.url(), "many").start().expect("valid settings");
        let progress = Arc::new(Progress::default());
        tokio::spawn(share(dsync.clone(), number, progress.clone()));
        all.push((dsync, progress));
    }
    let grants = || -> Vec<usize> {
        all.iter().map(|(_, progress)| progress.grants.load(Ordering::Relaxed)).collect()
    };
    let mut before = vec![0; processes];
    for third in 1..=3 {
        tokio::time::sleep(span / 3).await;
        let now = grants();
        let allowed: Vec<_> = all
            .iter()
            .map(|(dsync, _)| dsync.health().saturation.map_or(0, |saturation| saturation.allowed))
            .collect();
        eprintln!("third {third}: grants {now:?}, connections for watching {allowed:?}");
        if third > 1 {
            assert!(now.iter().zip(&before).all(|(now, before)| now > before), "{now:?}");
        }
        before = now;
    }
    let lost: Vec<_> = all.iter().map(|(_, p)| p.losses.load(Ordering::Relaxed)).collect();
    assert!(lost.iter().all(|lost| *lost == 0), "{lost:?}");
    for (dsync, _) in &all {
        assert!(dsync.health().ready);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timing_too_short_for_the_path_is_found_out_and_leaves_no_pile_of_sessions() {
    let agent = Agent::start();
    let proxy = Proxy::to(agent.http_addr());
    // A round trip of 400 ms, and a request timeout of 288 ms.
    proxy.set(Mode::Delay(Duration::from_millis(200)));
    let timing = Timing::default()
        .with_session_ttl(Duration::from_secs(10))
        .with_lock_delay(Duration::from_secs(2));
    let dsync = at(proxy.url(), "far").timing(timing.clone()).start().expect("valid settings");
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < Duration::from_secs(15) {
        most = most.max(agent.operator().sessions().len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(most <= 4, "{most} sessions at a time");
    let why = dsync.health().blocked.expect("a timing that cannot work");
    eprintln!("{why}; at most {most} sessions");
    assert!(why.contains("round trip") && why.contains("set timing.lock_delay to"), "{why}");
    let incidents = dsync.list().incidents;
    let told = incidents.iter().filter(|it| it.what.contains("an operator acts")).count();
    assert_eq!(told, 1, "{incidents:?}");
    assert!(!dsync.health().ready, "{:?}", dsync.health());
    let error = dsync.ready().await.expect_err("not ready");
    assert!(error.to_string().contains("timing.lock_delay"), "{error}");

    // The timing that it names works on this path.
    let seconds = why.split("at least ").nth(1).and_then(|rest| rest.split('s').next());
    let seconds = seconds.and_then(|text| text.parse().ok()).expect("a number of seconds");
    let longer = timing.with_lock_delay(Duration::from_secs(seconds));
    let other = at(proxy.url(), "far").timing(longer).start().expect("valid settings");
    let lease = acquire(&other, "k").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(lease.is_valid());
    drop(lease);

    // And so does the shorter one on a shorter path.
    proxy.set(Mode::Forward);
    let lease = acquire(&dsync, "k").await;
    assert_eq!(dsync.health().blocked, None);
    drop(lease);
    for dsync in [dsync, other] {
        dsync.shutdown(Duration::from_secs(20)).await.expect("an orderly end");
    }
}
