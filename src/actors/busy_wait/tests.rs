use futures::FutureExt as _;

use super::*;

/// Whether the events begin a streak, each after such a wait.
fn begins(waits: impl IntoIterator<Item = Duration>) -> bool {
    let busy_wait = BusyWait::new();
    let mut now = busy_wait.noted_at.get();
    for wait in waits {
        now += wait;
        busy_wait.note(now);
    }
    busy_wait.begins.notified().now_or_never().is_some()
}

#[test]
fn short_waits_in_a_row_begin_a_streak() {
    let short = |count| (0..count).map(|_| AWAKE / 2);
    assert!(begins(short(SHORT_WAITS)));
    assert!(!begins(short(SHORT_WAITS - 1)));
    let interrupted = short(SHORT_WAITS - 1).chain([AWAKE]).chain(short(SHORT_WAITS - 1));
    assert!(!begins(interrupted), "a long wait begins the count anew");
    assert!(!begins((0..1000).map(|_| AWAKE)), "a slow agent");
    assert!(!begins((0..1000).map(|_| SHORTEST / 2)), "one event that concerns many keys");
}

#[actix::test]
async fn a_streak_ends_by_itself_and_can_begin_again() {
    let busy_wait = BusyWait::new();
    let keeps = actix_rt::spawn(Rc::clone(&busy_wait).keep());
    for _ in 0..3 {
        let now = Instant::now();
        (0..=SHORT_WAITS).for_each(|n| busy_wait.note(now + SHORTEST * n));
        assert_ne!(busy_wait.short_waits.get(), 0);
        let ended = async {
            while busy_wait.short_waits.get() != 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ended).await.expect("it ends");
        assert!(busy_wait.noted_at.get().elapsed() >= AWAKE);
    }
    keeps.abort();
}
