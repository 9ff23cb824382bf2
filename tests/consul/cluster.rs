//! A cluster of three servers whose leader dies.

use std::time::{Duration, Instant};

use actix_dsync::{Release, Released, Timing, TryAcquire, events::LockLost};

use crate::locks::{acquire, at, key, pending};
use crate::support::consul::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patient_timing_rides_out_the_death_of_the_leader() {
    let cluster = Cluster::start();
    // A session ends with its node, so both processes use servers that stay.
    let follower = cluster.follower();
    let settings = || at(cluster.url(follower), "elected").timing(Timing::patient());
    let (owner, other) = (settings().start().expect("valid"), settings().start().expect("valid"));
    let mut lost = owner.events::<LockLost>(actix_dsync::events::Filter::All);
    let lease = acquire(&owner, "k").await;
    let refused = other.send(TryAcquire::new(key("k"))).await;
    assert!(refused.is_err(), "{refused:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let killed = Instant::now();
    assert_ne!(cluster.kill_leader(), follower);
    let mut least = lease.remaining();
    let mut elected = None;
    // Well longer than the longest measured election.
    while killed.elapsed() < Duration::from_secs(30) {
        assert!(lease.is_valid(), "lost {:?} after the leader's death", killed.elapsed());
        let remaining = lease.remaining();
        if elected.is_none() && remaining > least && least < Duration::from_secs(20) {
            elected = Some(killed.elapsed());
        }
        least = least.min(remaining);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("renewed again after {elected:?}; the lease had at least {least:?} left");
    assert_eq!(pending(&mut lost), []);
    assert!(lease.remaining() > Duration::from_secs(15), "renewed again");
    let token = lease.token();
    assert_eq!(owner.send(Release(lease)).await, Ok(Released::Confirmed));
    let second = acquire(&other, "k").await;
    assert!(second.token() > token);
    drop(second);
    for dsync in [owner, other] {
        dsync.shutdown(Duration::from_secs(10)).await.expect("an orderly end");
    }
}
