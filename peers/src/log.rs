//! The lines of a history, as `judge/README.md` documents them.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

/// How often a driver asks its client whether it still holds a key.
pub(crate) const TICK: std::time::Duration = std::time::Duration::from_millis(200);

/// A clock that all processes of the machine share, in nanoseconds.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanos = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    u64::try_from(nanos).expect("a time after the start of the machine")
}

/// Prints both lines of a check that began at `from` and has just ended.
pub(crate) fn check(key: &str, token: u64, from: u64, valid: bool) {
    let op = invoke("check", key, from, Some(token));
    print(&json!({"time": now(), "op": op, "type": "ok", "f": "check", "key": key,
                  "token": token, "valid": valid}));
}

/// Prints the beginning of an acquisition; returns its number.
pub(crate) fn acquires(key: &str) -> u64 {
    invoke("acquire", key, now(), None)
}

/// Prints its end. A client without fencing tokens gets the time as one.
pub(crate) fn acquired(op: u64, key: &str, token: Option<u64>) -> u64 {
    let time = now();
    let token = token.unwrap_or(time);
    print(&json!({"time": time, "op": op, "type": "ok", "f": "acquire", "key": key,
                  "token": token}));
    token
}

fn invoke(f: &str, key: &str, time: u64, token: Option<u64>) -> u64 {
    static OPS: AtomicU64 = AtomicU64::new(0);
    let op = OPS.fetch_add(1, Ordering::Relaxed);
    let mut line = json!({"time": time, "op": op, "type": "invoke", "f": f, "key": key});
    if let Some(token) = token {
        line["token"] = token.into();
    }
    print(&line);
    op
}

fn print(line: &serde_json::Value) {
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}
