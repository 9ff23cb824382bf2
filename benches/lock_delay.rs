//! The time from the end of a lock-delay to the grant, compared with a raw client in
//! the same run that knows the end and sends its request at that moment.
//!
//! The delay is counted from the moment when the destruction of the holder's session
//! was *sent*: the delay cannot have started earlier.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

mod support;

use std::time::{Duration, Instant};

use actix_dsync::{Acquire, Dsync, Key};
use support::{Times, consul::Agent, raw::Raw};

const ROUNDS: usize = 25;
const DELAY: Duration = Duration::from_secs(1);
/// How long a waiter gets to find the key held and to start watching it.
const SETTLE: Duration = Duration::from_millis(50);

fn main() {
    let agent = Agent::start();
    let mut raw = Raw::new(agent.http_addr());
    let own = raw.session("0s");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dsync = Dsync::builder("bench").address(agent.url()).start().unwrap();
    runtime.block_on(dsync.ready()).unwrap();

    let (mut ours, mut floor) = (Times::default(), Times::default());
    for round in 0..ROUNDS {
        let name = format!("ours/{round}");
        let holder = raw.session("1s");
        assert!(raw.acquire(&holder, &name));
        let waiting = dsync.send(Acquire::new(Key::new(name).unwrap()));
        std::thread::sleep(SETTLE);
        let end = Instant::now() + DELAY;
        raw.destroy(&holder);
        let lease = runtime.block_on(waiting).unwrap();
        ours.add(Instant::now().saturating_duration_since(end));
        let _ = runtime.block_on(dsync.send(actix_dsync::Release(lease))).unwrap();

        let name = format!("raw/{round}");
        let holder = raw.session("1s");
        assert!(raw.acquire(&holder, &name));
        std::thread::sleep(SETTLE);
        let end = Instant::now() + DELAY;
        raw.destroy(&holder);
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        while !raw.acquire(&own, &name) {}
        floor.add(Instant::now().saturating_duration_since(end));
    }
    ours.report("lock_delay", &mut floor, &[50, 90]);
    runtime.block_on(dsync.shutdown(Duration::from_secs(5))).unwrap();
}
