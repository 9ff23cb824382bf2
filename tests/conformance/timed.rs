//! Cases that wait for sessions and lock-delays to end. They run concurrently, so their
//! indexes are meaningless.

use std::time::Instant;

use super::{Case, script::Script};

pub(crate) const CASES: &[Case] = &[
    ("a session ends at twice its TTL", expiry),
    ("a renewal restarts the timer, even late", renewal),
    ("using a session does not restart its timer", use_is_no_renewal),
    ("expiry, then the lock-delay", expiry_delay),
    ("expiry deletes, then the lock-delay", expiry_deletes),
    ("lock-delays after a destroy", destroy_delays),
    ("a lock-delay below one second", short_delay),
    ("numbers as lock-delays", number_delays),
    ("blocking reads that time out", waits_end),
];

fn expiry(s: &mut Script) {
    let begin = Instant::now();
    s.session("A", r#"{"TTL":"10s","LockDelay":"0s"}"#);
    s.session("B", r#"{"LockDelay":"0s"}"#);
    s.quiet_put("kv/<p>k?acquire=<A>");
    s.wait_for_change("k", "kv/<p>k");
    s.wakes_after_quietly("k", begin);
    s.put("session/renew/<A>", "");
    s.put("kv/<p>k?acquire=<B>", "");
}

fn renewal(s: &mut Script) {
    s.session("A", r#"{"TTL":"10s","LockDelay":"0s"}"#);
    s.quiet_put("kv/<p>k?acquire=<A>");
    s.pause(17_000);
    let renewed = Instant::now();
    s.quiet_put("session/renew/<A>");
    s.wait_for_change("k", "kv/<p>k");
    s.wakes_after_quietly("k", renewed);
}

fn use_is_no_renewal(s: &mut Script) {
    let begin = Instant::now();
    s.session("A", r#"{"TTL":"10s","LockDelay":"0s"}"#);
    s.pause(8_000);
    s.quiet_put("kv/<p>k?acquire=<A>");
    s.txn("check-session k s=abc");
    s.wait_for_change("k", "kv/<p>k");
    s.wakes_after_quietly("k", begin);
}

fn expiry_delay(s: &mut Script) {
    let begin = Instant::now();
    s.session("A", r#"{"TTL":"10s","LockDelay":"5s"}"#);
    s.session("B", r#"{"LockDelay":"0s"}"#);
    s.quiet_put("kv/<p>k?acquire=<A>");
    s.wait_for_change("k", "kv/<p>k");
    s.wakes_after_quietly("k", begin);
    let ended = Instant::now();
    s.txn("lock k s=<B>");
    s.succeeds_after("kv/<p>k?acquire=<B>", ended);
}

fn expiry_deletes(s: &mut Script) {
    s.session("A", r#"{"TTL":"10s","LockDelay":"3s","Behavior":"delete"}"#);
    s.session("B", r#"{"LockDelay":"0s"}"#);
    s.quiet_put("kv/<p>k?acquire=<A>");
    s.wait_for_change("k", "kv/<p>k");
    let begin = Instant::now();
    s.wakes_after_quietly("k", begin);
    let ended = Instant::now();
    s.txn("lock k s=<B>");
    s.succeeds_after("kv/<p>k?acquire=<B>", ended);
}

fn destroy_delays(s: &mut Script) {
    for delay in ["1s", "2s", "0s", "-5s"] {
        s.session("A", &format!(r#"{{"LockDelay":"{delay}"}}"#));
        s.session("B", r#"{"LockDelay":"0s"}"#);
        s.quiet_put("kv/<p>k?acquire=<A>");
        s.quiet_put("session/destroy/<A>");
        let ended = Instant::now();
        s.succeeds_after("kv/<p>k?acquire=<B>", ended);
        s.quiet_put("session/destroy/<B>");
    }
}

fn short_delay(s: &mut Script) {
    s.session("A", r#"{"LockDelay":"700ms"}"#);
    s.session("B", r#"{"LockDelay":"0s"}"#);
    s.quiet_put("kv/<p>k?acquire=<A>");
    s.quiet_put("session/destroy/<A>");
    s.txn("lock k s=<B>");
    s.pause(400);
    s.txn("lock k s=<B>");
    s.pause(450);
    s.put("kv/<p>k?acquire=<B>", "");
}

fn number_delays(s: &mut Script) {
    for delay in ["1", "1000", "2000000000"] {
        s.session("A", &format!(r#"{{"LockDelay":{delay}}}"#));
        s.session("B", r#"{"LockDelay":"0s"}"#);
        s.quiet_put("kv/<p>k?acquire=<A>");
        s.quiet_put("session/destroy/<A>");
        let ended = Instant::now();
        s.succeeds_after("kv/<p>k?acquire=<B>", ended);
        s.quiet_put("session/destroy/<B>");
    }
}

fn waits_end(s: &mut Script) {
    for wait in ["1s", "3s", "1.5s"] {
        s.quiet_put("kv/<p>k");
        let begin = Instant::now();
        s.wait_for_change_within("k", "kv/<p>k", wait);
        s.wakes_after_quietly("k", begin);
    }
}
