//! What is played on each path.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_dsync::{
    Acquire, Dsync, Error, Inspect, Key, Lease, Release, Released, TryAcquire,
    events::{Events, Filter, LockLost},
};
use futures::{FutureExt as _, StreamExt as _};
use rustls::ClientConfig;

pub(crate) const HAND_OVERS: usize = 30;

/// How long the waiter waits before each hand-over: mostly shortly, sometimes until a proxy
/// has retired its connections or cut off its read.
const WAITS: [u64; 6] = [100, 200, 300, 900, 2_100, 5_300];

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn start(service: &str, url: &str, tls: &Arc<ClientConfig>) -> Dsync {
    let builder = Dsync::builder(service).address(url).prefix("proxies");
    let builder = if url.starts_with("https") { builder.tls(tls.clone()) } else { builder };
    builder.start().unwrap()
}

async fn acquire(dsync: &Dsync, key: &Key) -> Lease {
    let asked = dsync.send(Acquire::new(key.clone()).within(Duration::from_secs(60)));
    asked.await.unwrap_or_else(|error| panic!("{key}: {error}"))
}

async fn stop(dsync: Dsync) {
    dsync.shutdown(Duration::from_secs(10)).await.unwrap();
}

/// A lock that is held while all else is played.
pub(crate) struct Held {
    dsync: Dsync,
    lease: Lease,
    losses: Events<LockLost>,
    since: Instant,
}

impl Held {
    pub(crate) async fn through(name: &str, url: &str, tls: &Arc<ClientConfig>) -> Self {
        let dsync = start("holder", url, tls);
        let losses = dsync.events::<LockLost>(Filter::All);
        let lease = acquire(&dsync, &Key::join(["held", name]).unwrap()).await;
        Self { dsync, lease, losses, since: Instant::now() }
    }

    /// Checks that it is still held `span` after it was acquired, and releases it.
    pub(crate) async fn check(mut self, span: Duration) {
        while self.since.elapsed() < span {
            assert!(self.lease.is_valid(), "{}", self.lease.key());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let lost = self.losses.next().now_or_never();
        assert!(self.lease.is_valid() && lost.is_none(), "{lost:?}");
        assert_eq!(self.dsync.send(Release(self.lease)).await, Ok(Released::Confirmed));
        stop(self.dsync).await;
    }
}

/// Plays everything on one path. Returns how long the hand-overs took, sorted.
pub(crate) async fn all(name: &str, url: &str, tls: &Arc<ClientConfig>) -> Vec<Duration> {
    eprintln!("{name}");
    let (one, two) = (start("one", url, tls), start("two", url, tls));
    let mut losses = [&one, &two].map(|dsync| dsync.events::<LockLost>(Filter::All));
    for name in ["k", "an odd/name, 100% of=it?", "orders/2024%2F17"] {
        refuse_and_release(&one, &two, key(name)).await;
    }
    contend(&one, &two).await;
    let took = hand_over(&one, &two).await;
    let lost: Vec<_> =
        losses.iter_mut().filter_map(|losses| losses.next().now_or_never()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    stop(one).await;
    stop(two).await;
    took
}

async fn refuse_and_release(one: &Dsync, two: &Dsync, key: Key) {
    let lease = acquire(one, &key).await;
    let tried = two.send(TryAcquire::new(key.clone())).await;
    assert!(matches!(tried, Err(Error::Held { .. })), "{tried:?}");
    let waited = two.send(Acquire::new(key.clone()).within(Duration::from_millis(500))).await;
    assert!(matches!(waited, Err(Error::WaitedTooLong { .. })), "{waited:?}");
    let holder = two.send(Inspect(key.clone())).await.unwrap().expect("held");
    assert_eq!(holder.session_name.as_deref().map(|name| &name[..3]), Some("one"));
    assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed));
    assert_eq!(two.send(Inspect(key)).await, Ok(None));
}

/// Ten callers of two processes take turns. Nobody may meet a second owner.
async fn contend(one: &Dsync, two: &Dsync) {
    let owners = Arc::new(std::sync::Mutex::new((false, 0)));
    let callers = (0..10).map(|n| {
        let (dsync, owners) = (if n % 2 == 0 { one } else { two }.clone(), owners.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                let lease = acquire(&dsync, &key("contended")).await;
                {
                    let mut owners = owners.lock().unwrap();
                    let (is_owned, last) = *owners;
                    assert!(!is_owned && lease.token().as_u64() > last, "{owners:?}");
                    *owners = (true, lease.token().as_u64());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
                assert!(lease.is_valid());
                owners.lock().unwrap().0 = false;
                assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

async fn hand_over(one: &Dsync, two: &Dsync) -> Vec<Duration> {
    let key = key("handed");
    let (mut holder, mut waiter) = (one, two);
    let mut took = Vec::new();
    let mut lease = acquire(holder, &key).await;
    for round in 0..HAND_OVERS {
        let waiting = waiter.send(Acquire::new(key.clone()).within(Duration::from_secs(60)));
        tokio::time::sleep(Duration::from_millis(WAITS[round % WAITS.len()])).await;
        let released = Instant::now();
        drop(lease);
        lease = waiting.await.unwrap_or_else(|error| panic!("hand-over {round}: {error}"));
        took.push(released.elapsed());
        std::mem::swap(&mut holder, &mut waiter);
    }
    assert_eq!(holder.send(Release(lease)).await, Ok(Released::Confirmed));
    took.sort();
    took
}
