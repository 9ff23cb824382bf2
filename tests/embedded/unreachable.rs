//! What a caller gets while Consul does not answer, as `docs/guide/locks.md` says.

use actix_dsync::{Acquire, Error, Inspect, TryAcquire, embedded::Embedded};
use tokio::time::Instant;

use crate::{key, runtime};

#[actix::test]
async fn requests_that_wait_are_served_later_and_others_are_told_why_not() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("shop", &consul);
    dsync.ready().await.unwrap();
    let timing = dsync.timing();
    consul.cut();
    let unlimited = dsync.send(Acquire::new(key("waits")));

    // The session still lasts, and no lock request has failed yet.
    let short = dsync.send(Acquire::new(key("short")).within(timing.request_timeout() / 2)).await;
    assert!(matches!(short, Err(Error::WaitedTooLong { holder: None, .. })), "{short:?}");

    for session in ["open", "over"] {
        let began = Instant::now();
        let tried = dsync.send(TryAcquire::new(key("tried"))).await;
        assert!(matches!(tried, Err(Error::Unavailable { .. })), "{session}: {tried:?}");
        assert!(began.elapsed() < timing.request_timeout() * 2, "{:?}", began.elapsed());
        let limit = timing.request_timeout() * 2;
        let limited = dsync.send(Acquire::new(key("limited")).within(limit)).await;
        assert!(matches!(limited, Err(Error::Unavailable { .. })), "{session}: {limited:?}");
        let read = dsync.send(Inspect(key("read"))).await;
        assert!(matches!(read, Err(Error::Unavailable { .. })), "{session}: {read:?}");
        tokio::time::sleep(timing.lease()).await;
    }

    consul.mend();
    assert!(unlimited.await.unwrap().is_valid());
}
