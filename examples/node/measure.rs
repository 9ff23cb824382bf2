//! Measures how long operations take.

use std::time::{Duration, Instant};

use actix_dsync::{Acquire, Dsync, Error, Key, Release};
use serde_json::json;

use crate::{Failure, print, stop};

/// Rounds before the measurement, which open connections and fill caches.
const WARM_UP: usize = 20;
/// How long a waiter gets to see that the key is held and to watch it.
const SETTLE: Duration = Duration::from_millis(20);

/// Acquires and releases one key, again and again.
pub(crate) async fn cycle(dsync: Dsync, key: Key, n: usize) -> Result<(), Failure> {
    let mut times = Vec::with_capacity(n);
    for round in 0..WARM_UP + n {
        let began = Instant::now();
        let lease = dsync.send(Acquire::new(key.clone())).await?;
        let _ = dsync.send(Release(lease)).await?;
        if round >= WARM_UP {
            times.push(began.elapsed());
        }
    }
    report(times);
    stop(&dsync).await;
    Ok(())
}

/// Passes one key back and forth between two runtimes.
pub(crate) async fn handoff(runtimes: [Dsync; 2], key: Key, n: usize) -> Result<(), Failure> {
    let mut times = Vec::with_capacity(n);
    let mut lease = runtimes[0].send(Acquire::new(key.clone())).await?;
    for round in 0..WARM_UP + n {
        let (holder, waiter) = (&runtimes[round % 2], &runtimes[(round + 1) % 2]);
        let grant = waiter.send(Acquire::new(key.clone()));
        tokio::time::sleep(SETTLE).await;

        let began = Instant::now();
        let release = holder.send(Release(lease));
        let grant = async {
            let lease = grant.await?;
            Ok::<_, Error>((lease, began.elapsed()))
        };
        let (granted, _) = futures::future::try_join(grant, release).await?;
        lease = granted.0;
        if round >= WARM_UP {
            times.push(granted.1);
        }
    }
    report(times);
    drop(lease);
    for dsync in runtimes {
        stop(&dsync).await;
    }
    Ok(())
}

fn report(mut times: Vec<Duration>) {
    times.sort_unstable();
    let percentile =
        |p: usize| times[(times.len() * p / 100).min(times.len() - 1)].as_micros() as u64;
    print(json!({
        "n": times.len(),
        "p50_us": percentile(50),
        "p99_us": percentile(99),
        "max_us": percentile(100),
    }));
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Work(error.to_string())
    }
}
