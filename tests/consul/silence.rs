//! A network that is silent or broken, and a runtime whose thread is stuck.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_dsync::{Campaign, Lease, LossReason, Release, Released, Timing, events::LockLost};

use crate::locks::{Stretch, acquire, agent, assert_exclusive, at, key, next, observe, pending};
use crate::support::eventually;
use crate::support::proxy::{Mode, Proxy};

/// How late a timer may be on a busy machine; `tests/faults` measures the actual delay.
const LATE: Duration = Duration::from_secs(1);

/// Checks the lease until it ends, on a separate thread.
fn watch_closely(lease: &Arc<Lease>) -> std::thread::JoinHandle<(Stretch, Instant)> {
    let lease = lease.clone();
    std::thread::spawn(move || {
        let stretch = observe(&lease, Duration::from_secs(60));
        (stretch, Instant::now())
    })
}

async fn loses_in_silence(prefix: &str, timing: Timing) {
    let proxy = Proxy::to(agent().http_addr());
    let cut = at(proxy.url(), prefix).timing(timing.clone()).start().expect("valid settings");
    let direct = at(agent().url(), prefix).timing(timing.clone()).start().expect("valid settings");
    let mut lost = cut.events::<LockLost>(actix_dsync::events::Filter::All);
    let lease = Arc::new(acquire(&cut, "k").await);
    let waiting = tokio::spawn({
        let direct = direct.clone();
        async move {
            let lease = acquire(&direct, "k").await;
            let stretch = observe(&lease, Duration::from_millis(5));
            let _ = direct.send(Release(lease)).await.expect("a release");
            stretch
        }
    });
    // Until the watch has started and some renewals have passed.
    tokio::time::sleep(Duration::from_secs(3)).await;
    proxy.set(Mode::BlackHole);
    let watcher = watch_closely(&lease);
    let (told, worked) = (
        tokio::spawn(lease.lost()),
        tokio::spawn({
            let lease = lease.clone();
            async move { lease.run(std::future::pending::<()>()).await }
        }),
    );
    // The last reply may still have been in flight.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let deadline = Instant::now() + lease.remaining();

    let event = next(&mut lost, timing.lease() + Duration::from_secs(5)).await;
    let told_at = Instant::now();
    assert!(!lease.is_valid(), "told before the lease ended");
    assert_eq!((event.token, event.reason), (lease.token(), LossReason::DeadlinePassed));
    let (former, ended) = watcher.join().expect("no panic");
    let (late, told_late) = (ended - deadline, told_at.saturating_duration_since(deadline));
    eprintln!("{prefix}: invalid {late:?}, told {told_late:?} after the deadline");
    assert!(told_late < LATE, "LockLost came {told_late:?} after the deadline");
    assert_eq!(told.await.expect("no panic"), LossReason::DeadlinePassed);
    let stopped = worked.await.expect("no panic").expect_err("lost");
    assert_eq!(stopped.reason, LossReason::DeadlinePassed);
    let after = told_at.elapsed();
    assert!(after < LATE, "run() and lost() ended {after:?} after the event");

    let latter = waiting.await.expect("granted");
    eprintln!(
        "{prefix}: the next owner {:?} later",
        Duration::from_nanos(latter.first - former.last)
    );
    assert_exclusive(vec![former, latter]);

    // Once the network is back, the key can be acquired again.
    proxy.set(Mode::Forward);
    let again = acquire(&cut, "k").await;
    assert!(again.token().as_u64() > latter.token);
    assert_eq!(cut.send(Release(again)).await, Ok(Released::Confirmed));
    assert_eq!(pending(&mut lost), [], "one ownership was lost, once");
    drop(lease);
    for dsync in [cut, direct] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_holder_in_a_black_hole_knows_before_the_next_owner() {
    tokio::join!(
        loses_in_silence("hole-fast", Timing::fast_failover()),
        loses_in_silence(
            "hole-safe",
            Timing::default()
                .with_session_ttl(Duration::from_secs(10))
                .with_lock_delay(Duration::from_secs(10))
        ),
    );
}

/// The session is destroyed while the holder is cut off: only the lock-delay protects.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_holder_cut_off_knows_in_time_although_its_session_was_destroyed() {
    let timing = Timing::default().with_lock_delay(Duration::from_secs(3));
    let proxy = Proxy::to(agent().http_addr());
    let cut = at(proxy.url(), "cut").timing(timing.clone()).start().expect("valid settings");
    let direct = at(agent().url(), "cut").timing(timing.clone()).start().expect("valid settings");
    let lease = Arc::new(acquire(&cut, "k").await);
    let waiting = tokio::spawn({
        let direct = direct.clone();
        async move { observe(&acquire(&direct, "k").await, Duration::from_millis(5)) }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let watcher = watch_closely(&lease);
    proxy.set(Mode::BlackHole);
    let operator = agent().operator();
    let session = operator.kv_get("cut/k").and_then(|entry| entry.session).expect("held");
    operator.destroy_session(&session);
    let (former, _) = watcher.join().expect("no panic");
    let latter = waiting.await.expect("granted");
    eprintln!("the next owner {:?} later", Duration::from_nanos(latter.first - former.last));
    assert_exclusive(vec![former, latter]);
    proxy.set(Mode::Forward);
    drop(lease);
    for dsync in [cut, direct] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

async fn rides_out(prefix: &str, fault: Mode) {
    let proxy = Proxy::to(agent().http_addr());
    let dsync = at(proxy.url(), prefix).start().expect("valid settings");
    let direct = at(agent().url(), prefix).start().expect("valid settings");
    let mut lost = dsync.events::<LockLost>(actix_dsync::events::Filter::All);
    let lease = acquire(&dsync, "k").await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let token = lease.token();
    for _ in 0..2 {
        proxy.set(fault);
        let fault_ends = Instant::now() + Duration::from_secs(5);
        while Instant::now() < fault_ends {
            assert!(lease.is_valid(), "{fault:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        proxy.set(Mode::Forward);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(lease.is_valid());
        assert!(lease.remaining() > Duration::from_secs(9), "{fault:?}: renewed again");
    }
    assert_eq!(lease.token(), token);
    let entry = agent().operator().kv_get(&format!("{prefix}/k")).expect("held");
    assert_eq!(entry.modify_index, token.as_u64() >> 16);
    assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
    assert_eq!(pending(&mut lost), []);
    for dsync in [dsync, direct] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_seconds_of_resets_refusals_or_silence_lose_nothing() {
    tokio::join!(
        rides_out("reset", Mode::Reset),
        rides_out("refuse", Mode::Refuse),
        rides_out("hole", Mode::BlackHole),
        rides_out("one-way", Mode::OneWay),
        rides_out("slow", Mode::Delay(Duration::from_millis(300))),
    );
}

/// `lost()` and `run()` read the clock themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_ends_at_its_deadline_although_the_runtime_s_thread_is_stuck() {
    let timing = Timing::fast_failover();
    let (give, leases) = std::sync::mpsc::channel();
    let stuck = Arc::new(AtomicBool::new(false));
    let (is_stuck, url) = (stuck.clone(), agent().url());
    let host = std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let builder = at(url, "stuck").timing(timing.clone()).on_current_arbiter();
            let dsync = builder.start().expect("valid settings");
            let lease = acquire(&dsync, "k").await;
            let mut lost = dsync.events::<LockLost>(actix_dsync::events::Filter::All);
            give.send((lease, dsync.clone())).expect("the test waits");
            is_stuck.store(true, Ordering::Release);
            std::thread::sleep(timing.lease() + Duration::from_secs(4));
            is_stuck.store(false, Ordering::Release);
            // It detects the loss as soon as it runs again.
            let event = next(&mut lost, Duration::from_secs(1)).await;
            assert_eq!(event.reason, LossReason::DeadlinePassed);
            dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
        });
    });
    let (lease, dsync) = leases.recv().expect("granted");
    assert!(dsync.health().live);
    let lease = Arc::new(lease);
    let deadline = Instant::now() + lease.remaining();
    let watcher = watch_closely(&lease);
    let worked = tokio::spawn({
        let lease = lease.clone();
        async move { lease.run(std::future::pending::<()>()).await }
    });
    assert_eq!(lease.lost().await, LossReason::DeadlinePassed);
    let ended = Instant::now();
    assert!(stuck.load(Ordering::Acquire), "the runtime's thread was to be stuck");
    let stopped = worked.await.expect("no panic").expect_err("lost");
    assert_eq!(stopped.reason, LossReason::DeadlinePassed);
    let worked = Instant::now();
    for (what, at) in [("lost()", ended), ("run()", worked)] {
        let late = at.saturating_duration_since(deadline);
        eprintln!("{what} ended {late:?} after the deadline");
        assert!(late < LATE, "{what} ended {late:?} after the deadline");
    }
    // Even without a round trip, this differs from a process that only lost its session.
    let health = eventually(Duration::from_secs(5), || {
        let health = dsync.health();
        (!health.live).then_some(health)
    });
    assert!(!health.expect("stuck for more than ten seconds").ready);
    let (_, invalid) = watcher.join().expect("no panic");
    assert!(invalid.saturating_duration_since(deadline) < LATE);
    // If it were released before the runtime detects the end, it would be a release.
    let ended = tokio::task::spawn_blocking(|| host.join().expect("no panic")).await;
    ended.expect("no panic");
    drop(lease);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_without_consul_ends_at_its_limit() {
    let proxy = Proxy::to(agent().http_addr());
    for fault in [Mode::BlackHole, Mode::Refuse, Mode::OneWay] {
        proxy.set(Mode::Forward);
        let dsync = at(proxy.url(), "end").start().expect("valid settings");
        let mut lost = dsync.events::<LockLost>(actix_dsync::events::Filter::All);
        let lease = acquire(&dsync, "k").await;
        proxy.set(fault);
        let asked = Instant::now();
        let ended = dsync.shutdown(Duration::from_secs(1)).await;
        assert!(asked.elapsed() < Duration::from_secs(2), "{fault:?}: {:?}", asked.elapsed());
        let error = ended.expect_err("Consul could not be told");
        eprintln!("{fault:?}: {error}");
        assert!(matches!(error, actix_dsync::Error::Unavailable { .. }));
        assert!(!lease.is_valid());
        assert_eq!(next(&mut lost, Duration::from_secs(30)).await.reason, LossReason::Shutdown);
        let again = dsync.shutdown(Duration::from_secs(1)).await;
        assert_eq!(again, Err(error), "it has ended, and not in good order");
        // The operator or the TTL removes what is left.
        let session = agent().operator().kv_get("end/k").and_then(|entry| entry.session);
        session.into_iter().for_each(|session| agent().operator().destroy_session(&session));
        agent().operator().kv_delete("end/k");
    }
}

/// The kernel's keep-alive does not help here: the proxy's kernel answers it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_a_firewall_forgets_cost_no_lock_no_grant_and_no_hand_over() {
    let proxy = Proxy::to(agent().http_addr());
    let through = at(proxy.url(), "forgets").start().expect("valid settings");
    let direct = at(agent().url(), "forgets").start().expect("valid settings");
    let mut lost = through.events::<LockLost>(actix_dsync::events::Filter::All);
    let held = acquire(&through, "held").await;
    let theirs = acquire(&direct, "theirs").await;
    let waiting = tokio::spawn({
        let through = through.clone();
        async move { acquire(&through, "theirs").await }
    });
    let tenure = through.send(Campaign::on(key("lead"))).await.expect("a campaign");
    tenure.elected().await;
    let next = direct.send(Campaign::on(key("lead"))).await.expect("a campaign");
    // The first blocking reads are short.
    tokio::time::sleep(Duration::from_secs(20)).await;

    proxy.forget();
    let forgotten = Instant::now();
    drop(theirs);
    let granted = tokio::time::timeout(Duration::from_secs(25), waiting).await;
    let granted = granted.expect("noticed long before the end of its wait").expect("no panic");
    eprintln!("granted {:?} after the connections were forgotten", forgotten.elapsed());
    drop(granted);
    assert!(held.is_valid());

    // All connections are idle again, and forgotten again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.forget();
    let asked = Instant::now();
    let handed = through.hand_over(Duration::from_secs(5)).await;
    eprintln!("handed over after {:?}", asked.elapsed());
    handed.expect("a hand-over in time");
    let elected = tokio::time::timeout(Duration::from_secs(10), next.elected()).await;
    assert!(elected.expect("in time").is_valid());
    assert!(held.is_valid());
    assert_eq!(pending(&mut lost), []);
    drop(held);
    for dsync in [through, direct] {
        dsync.shutdown(Duration::from_secs(10)).await.expect("an orderly end");
    }
}
