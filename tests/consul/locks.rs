//! Shared by the modules of this binary: one agent, runtimes on it, and short helpers.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use actix_dsync::{
    Acquire, Builder, Dsync, Key, Lease, LossReason, Timing,
    events::{Event, Events},
};
use futures::{FutureExt, StreamExt};

use crate::support::consul::Agent;
use crate::support::stalls::Stalls;

/// One agent for all tests that do not affect it as a whole. Each uses its own prefix.
pub(crate) fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(Agent::start)
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).expect("a valid key")
}

/// The settings of a runtime for the agent at `url`.
pub(crate) fn at(url: impl Into<String>, prefix: &str) -> Builder {
    Dsync::builder("test").address(url).prefix(prefix)
}

/// A runtime on the shared agent.
pub(crate) fn runtime(prefix: &str) -> Dsync {
    at(agent().url(), prefix).start().expect("valid settings")
}

/// The default timing with a lock-delay that a test can wait for. The lease is 4.7 s, so that a
/// busy machine costs no lock.
pub(crate) fn short_delay() -> Timing {
    Timing::default().with_lock_delay(Duration::from_secs(5))
}

pub(crate) async fn acquire(dsync: &Dsync, name: &str) -> Lease {
    let asked = dsync.send(Acquire::new(key(name)).within(Duration::from_secs(60)));
    asked.await.unwrap_or_else(|error| panic!("acquire {name}: {error}"))
}

/// The next event, or a panic after `limit`.
pub(crate) async fn next<E: Event>(events: &mut Events<E>, limit: Duration) -> E {
    let next = tokio::time::timeout(limit, events.next()).await;
    next.expect("an event in time").expect("a runtime that lives")
}

/// Whether this is the reason of a session that has ended. If Consul's answer about the session
/// comes 250 ms late, which takes a machine that stalls, the lock counts as force-released.
pub(crate) fn is_of_the_session(reason: LossReason, stalls: &Stalls) -> bool {
    let is_late = || stalls.longest() > Duration::from_millis(50);
    reason == LossReason::SessionGone || (reason == LossReason::ForceReleased && is_late())
}

/// Takes the events that have arrived.
pub(crate) fn pending<E: Event>(events: &mut Events<E>) -> Vec<E> {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

/// The number of rounds: few by default, all if `DSYNC_TEST_FULL` is set.
pub(crate) fn rounds(few: usize, all: usize) -> usize {
    if std::env::var_os("DSYNC_TEST_FULL").is_some() { all } else { few }
}

/// A time span during which a lease was valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) token: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Checks a lease for `work`, or until it ends. The clock is read before each check, so the
/// reported end of validity is never too late.
pub(crate) fn observe(lease: &Lease, work: Duration) -> Stretch {
    let asked = Instant::now();
    let first = boot_nanos();
    let mut stretch = Stretch { token: lease.token().as_u64(), first, last: 0 };
    while asked.elapsed() < work || stretch.last == 0 {
        let before = boot_nanos();
        if !lease.is_valid() {
            break;
        }
        stretch.last = before;
        std::thread::yield_now();
    }
    stretch
}

/// Reads a clock that all processes of the machine share.
pub(crate) fn boot_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Panics if two spans overlap, in the order of their tokens.
pub(crate) fn assert_exclusive(mut stretches: Vec<Stretch>) {
    stretches.sort_by_key(|stretch| stretch.token);
    for pair in stretches.windows(2) {
        let [former, latter] = pair else { unreachable!("windows of two") };
        assert!(former.token < latter.token, "a token twice: {pair:?}");
        assert!(former.last < latter.first, "two owners at one time: {pair:?}");
    }
}
