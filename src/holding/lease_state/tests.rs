use std::sync::atomic::AtomicU64;

use super::*;
use crate::clock::Moment;

/// The situation after a suspend: the clock has advanced, but no timer has fired.
#[tokio::test(start_paused = true)]
async fn work_that_wakes_after_its_lease_has_ended_is_not_polled_although_no_timer_has_fired() {
    static NANOS: AtomicU64 = AtomicU64::new(1_000);
    let cell = Arc::new(DeadlineCell::new(Moment::from_nanos(10_000_000_000)));
    let (key, token) = (Key::new("k").unwrap(), FencingToken::new(7, 0).unwrap());
    let lease = LeaseState::new(key, token, CallId(1), cell, Clock::Simulated(&NANOS));
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
