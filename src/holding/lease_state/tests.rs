use std::sync::atomic::AtomicU64;

use super::*;
use crate::clock::Moment;

/// A lease whose clock shows `nanos`, and which ends at 10 s.
fn lease(nanos: &'static AtomicU64) -> LeaseState {
    let cell = Arc::new(DeadlineCell::new(Moment::from_nanos(10_000_000_000)));
    let (key, token) = (Key::new("k").unwrap(), FencingToken::new(7, 0).unwrap());
    LeaseState::new(key, token, CallId(1), cell, Clock::Simulated(nanos))
}

/// The situation after a suspend: the clock has advanced, but no timer has fired.
#[tokio::test(start_paused = true)]
async fn work_that_wakes_after_its_lease_has_ended_is_not_polled_although_no_timer_has_fired() {
    static NANOS: AtomicU64 = AtomicU64::new(1_000);
    let lease = lease(&NANOS);
    let (wake, polls) = (Notify::new(), AtomicU8::new(0));
    let work = async {
        loop {
            polls.fetch_add(1, Ordering::Relaxed);
            wake.notified().await;
        }
    };
    let mut run = pin!(lease.run(work));
    for polled in 1..=2 {
        wake.notify_one();
        assert!(futures::poll!(run.as_mut()).is_pending());
        assert_eq!(polls.load(Ordering::Relaxed), polled + 1);
    }
    NANOS.store(10_000_000_000, Ordering::Relaxed);
    wake.notify_one();
    let Poll::Ready(Err(lost)) = futures::poll!(run) else { panic!("the work continues") };
    assert_eq!((lost.reason, polls.load(Ordering::Relaxed)), (LossReason::DeadlinePassed, 3));
}

#[tokio::test(start_paused = true)]
async fn work_under_a_copy_of_a_released_lease_ends() {
    static NANOS: AtomicU64 = AtomicU64::new(1_000);
    let lease = lease(&NANOS);
    let mut run = pin!(lease.run(std::future::pending::<()>()));
    assert!(futures::poll!(run.as_mut()).is_pending());
    // The owner may be revoked before it is known that it has released the lease.
    lease.revoke();
    lease.returned();
    let minute = Duration::from_secs(60);
    let lost = tokio::time::timeout(minute, run).await.expect("the work ends").unwrap_err();
    assert_eq!(lost.reason, LossReason::Released);
    assert_eq!(
        lost.to_string(),
        "the lock k (fencing token 458752) was lost: its owner released it"
    );
    let later = lease.run(async { 1 }).await;
    assert_eq!(later.unwrap_err().reason, LossReason::Released);
    // The owner's own lease was not lost.
    assert!(tokio::time::timeout(minute, lease.lost()).await.is_err());
}
