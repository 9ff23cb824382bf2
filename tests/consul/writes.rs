//! Writes under a lock: what a holder that was cut off sends late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_dsync::{
    Campaign, Dsync, Error, Key, Lease, Observe, Release, Released, TryAcquire, UpdateValue,
    events::{Filter, LockLost},
    fencing::{ReadEntry, StoredEntry, Write},
};
use futures::FutureExt as _;
use futures::future::join_all;

use crate::locks::{acquire, agent, at, key, pending, rounds, runtime, short_delay};
use crate::support::proxy::{Mode, Proxy};

fn text(stored: Option<StoredEntry>) -> Option<String> {
    stored.map(|stored| String::from_utf8_lossy(&stored.value).into_owned())
}

/// Waits until `done`, at most a minute.
async fn until(done: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.expect("it happens");
}

/// How many writes a round of the next test holds: as many as one runtime has in flight.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_late_write_of_a_replaced_holder_is_refused() {
    let proxy = Proxy::to(agent().http_addr());
    let cut = at(proxy.url(), "late-write").timing(short_delay()).start().expect("valid settings");
    let direct = runtime("late-write");
    let (lock, data) = (|n| format!("k{n}"), |n| key(&format!("d{n}")));
    let (mut held, rounds) = (0, rounds(2, 25));
    for round in 0..rounds {
        let old = join_all((0..AT_ONCE).map(async |n| acquire(&cut, &lock(n)).await)).await;
        let session = agent().operator().kv_get("late-write/k0").and_then(|entry| entry.session);
        let before = proxy.requests("late-write/d").len();

        // The writes are on their way when the holder is cut off, and arrive after it was
        // replaced.
        proxy.set(Mode::BlackHole);
        let late = format!("late {round}");
        let write = |(n, lease): (usize, &Lease)| Write::under(lease).put(data(n), &*late);
        let answered = Arc::new(AtomicUsize::new(0));
        let queued = old.iter().enumerate().map(write).map(|it| {
            let (reply, answered) = (cut.send(it), answered.clone());
            reply.inspect(move |_| {
                answered.fetch_add(1, Ordering::Relaxed);
            })
        });
        let queued = tokio::spawn(join_all(queued.collect::<Vec<_>>()));
        let sent = || proxy.requests("late-write/d").len() - before;
        // A request of the session's own may be in flight too. Then a write waits in line until its
        // time is up, and is answered without having been sent.
        until(async || sent() + answered.load(Ordering::Relaxed) >= AT_ONCE).await;
        assert!(sent() > 0, "no write was sent");
        agent().operator().destroy_session(&session.expect("the lock is held"));
        let new = join_all((0..AT_ONCE).map(async |n| acquire(&direct, &lock(n)).await)).await;
        for (n, lease) in new.iter().enumerate() {
            assert!(!old[n].is_valid(), "k{n} has two owners");
            direct.send(Write::under(lease).put(data(n), "new")).await.expect("the owner writes");
        }
        proxy.set(Mode::Forward);

        let answers = queued.await.expect("no panic");
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        // What the black hole held has arrived by now.
        tokio::time::sleep(Duration::from_millis(500)).await;
        held += sent();
        for (n, lease) in new.iter().enumerate() {
            let again = cut.send(Write::under(&old[n]).put(data(n), "later")).await;
            assert!(matches!(again, Err(Error::NotHeld { .. })), "{again:?}");
            let stored = direct.send(ReadEntry(data(n))).await.expect("an answer");
            let stored = stored.expect("it exists");
            assert_eq!((&*stored.value, stored.token), (&b"new"[..], Some(lease.token())));
        }
    }
    eprintln!("{held} of {} writes were held, and none took effect", rounds * AT_ONCE);
    for dsync in [cut, direct] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

/// Writes "x" while the proxy passes no answer. A write for which no open connection is free is not
/// sent, and is tried again.
async fn unanswered(
    proxy: &Proxy,
    mode: Mode,
    dsync: &Dsync,
    lease: &Lease,
    at: &Key,
) -> Result<(), Error> {
    for _ in 0..10 {
        dsync.send(ReadEntry(at.clone())).await.expect("an answer, over a connection that is open");
        proxy.set(mode);
        let answer = dsync.send(Write::under(lease).put(at.clone(), "x")).await;
        proxy.set(Mode::Forward);
        if !matches!(answer, Err(Error::Unavailable { .. })) {
            return answer.map(drop);
        }
    }
    panic!("no write was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_arrives_late_is_unknown_and_takes_effect_while_the_lock_is_held() {
    let proxy = Proxy::to(agent().http_addr());
    let dsync = at(proxy.url(), "unknown-write").start().expect("valid settings");
    let direct = runtime("unknown-write");
    let lease = acquire(&dsync, "k").await;
    for (mode, name) in [(Mode::BlackHole, "held"), (Mode::OneWay, "reply-lost")] {
        let answer = unanswered(&proxy, mode, &dsync, &lease, &key(name)).await;
        assert!(matches!(answer, Err(Error::Unknown { .. })), "{answer:?}");
        let read = async || text(direct.send(ReadEntry(key(name))).await.expect("an answer"));
        until(async || read().await.as_deref() == Some("x")).await;
    }
    assert!(lease.is_valid());
    let _ = dsync.send(Release(lease)).await.expect("a release");
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_late_write_of_a_released_lease_is_refused_under_the_next_one_of_its_process() {
    let proxy = Proxy::to(agent().http_addr());
    let dsync = at(proxy.url(), "next-owner").start().expect("valid settings");
    for round in 0..rounds(2, 10) {
        let (lease, name) = (acquire(&dsync, "k").await, format!("late{round}"));
        proxy.hold_next(&format!("next-owner/{name}"));
        let answer = dsync.send(Write::under(&lease).put(key(&name), "late")).await;
        assert!(matches!(answer, Err(Error::Unknown { .. })), "{answer:?}");
        assert!(proxy.holds());
        let _ = dsync.send(Release(lease)).await.expect("a release");
        // The same session holds the key again when the write arrives.
        let next = acquire(&dsync, "k").await;
        proxy.let_pass();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let other = key("other");
        dsync.send(Write::under(&next).put(other, "x")).await.expect("the owner writes");
        assert_eq!(text(dsync.send(ReadEntry(key(&name))).await.expect("an answer")), None);
        let _ = dsync.send(Release(next)).await.expect("a release");
    }
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_updated_value_reaches_followers_and_consul_keeps_the_lock() {
    let (one, two) = (runtime("values"), runtime("values"));
    let tenure = one.send(Campaign::on(key("k")).value("at first")).await.expect("a tenure");
    let term = tenure.elected().await;
    let observer = two.send(Observe(key("k"))).await.expect("an observer");
    let operator = agent().operator();
    let won = operator.kv_get("values/k").expect("it is locked");
    assert_eq!(won.modify_index, term.token().as_u64() >> 16);
    let mut index = won.modify_index;
    for count in 0..20 {
        let progress = format!("{count} of 20");
        one.send(UpdateValue::of(&term, &*progress)).await.expect("the owner writes");
        let entry = operator.kv_get("values/k").expect("it is locked");
        assert_eq!((entry.session, &*entry.value), (won.session.clone(), progress.as_bytes()));
        assert!(entry.modify_index > index);
        index = entry.modify_index;
        until(async || {
            observer.leader().is_some_and(|leader| *leader.value == *progress.as_bytes())
        })
        .await;
    }
    assert!(term.is_valid());
    let refused = two.send(TryAcquire::new(key("k"))).await;
    let Err(Error::Held { holder, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(&*holder.value, b"19 of 20");
    for dsync in [one, two] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
    assert_eq!(operator.kv_keys("values/"), Vec::<String>::new());
}

/// The watches of the keys lag behind the writes, so the leader is asked again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_updates_its_value_all_the_time_keeps_its_lock() {
    let dsync = runtime("progress");
    let mut lost = dsync.events::<LockLost>(Filter::All);
    let until = Instant::now() + Duration::from_secs(rounds(5, 60) as u64);
    let holders = (0..20).map(|n| {
        let dsync = dsync.clone();
        tokio::spawn(async move {
            let lease = acquire(&dsync, &format!("k{n}")).await;
            let mut count = 0;
            while Instant::now() < until {
                count += 1;
                dsync.send(UpdateValue::of(&lease, &*count.to_string())).await?;
            }
            assert!(lease.is_valid());
            dsync.send(Release(lease)).await.map(|released| (count, released))
        })
    });
    for holder in join_all(holders.collect::<Vec<_>>()).await {
        let (count, released) = holder.expect("no panic").expect("the owner writes");
        assert_eq!(released, Released::Confirmed);
        assert!(count > 10, "only {count} writes");
    }
    assert_eq!(pending(&mut lost), []);
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}
