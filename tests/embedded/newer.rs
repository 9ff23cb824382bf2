//! An agent like a newer Consul. `DSYNC_EMBEDDED=newer` runs every other test over one, too.

use std::time::Duration;

use actix_dsync::{
    Acquire, Inspect, Release, Released, TryAcquire,
    embedded::Embedded,
    events::{Filter, LockLost},
};
use futures::{FutureExt as _, StreamExt as _};

use crate::{acquire, key, runtime};

#[actix::test]
async fn an_agent_that_limits_requests_delays_and_costs_no_lock() {
    tokio::time::pause();
    let consul = Embedded::new().newer(true);
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let mut lost = one.events::<LockLost>(Filter::All);
    let lease = acquire(&one, "k").await;
    two.ready().await.unwrap();
    let consul = consul.request_rate(Some(10));
    let waiting = two.send(Acquire::new(key("k")).within(Duration::from_secs(300)));
    let (mut reads, mut tries) = (0, 0);
    for round in 0..20 {
        // A burst that uses up its second, reads first.
        let burst = (0..20).map(|n| two.send(Inspect(key(&format!("r{n}")))));
        let burst = futures::future::join_all(burst);
        let tried = two.send(TryAcquire::new(key(&format!("t{round}"))));
        let (burst, tried) = futures::future::join(burst, tried).await;
        reads += burst.iter().filter(|read| read.is_err()).count();
        tries += usize::from(tried.is_err());
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    assert!(reads > 100, "{reads} reads and {tries} tries were refused");
    assert!(lease.is_valid());
    assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed));
    let lease = waiting.await.unwrap();
    assert!(lease.is_valid());
    assert!(lost.next().now_or_never().is_none());
    drop(lease);
    // Without the limit, nothing is left.
    let consul = consul.request_rate(None);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(consul.entries().iter().all(|entry| entry.session.is_none()), "{:?}", consul.entries());
}
