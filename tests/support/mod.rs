//! What tests against a real Consul share: servers, an operator's hands, and a faulty network.
//!
//! Everything here blocks its thread and panics with what went wrong. Include it
//! with `#[path = "../support/mod.rs"] mod support;`.

pub(crate) mod consul;
pub(crate) mod operator;
pub(crate) mod proxy;

use std::time::{Duration, Instant};

/// Asks `probe` every 20 ms until it answers or `limit` has passed.
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
