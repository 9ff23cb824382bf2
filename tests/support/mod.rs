//! Support for tests against a real Consul: servers, an operator, and a faulty network.
//!
//! All functions block their thread, and panic with the cause of a failure. Include the module
//! with `#[path = "../support/mod.rs"] mod support;`.

pub(crate) mod consul;
pub(crate) mod operator;
pub(crate) mod proxy;
pub(crate) mod stalls;
pub(crate) mod tls;

use std::time::{Duration, Instant};

/// Calls `probe` every 20 ms until it returns a value or `limit` has passed.
pub(crate) fn eventually<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = probe();
        if answer.is_some() || Instant::now() >= deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
