//! Every interleaving of two and three threads over the code that threads share.
//!
//! The modules below are the library's own files. Under `cfg(dsync_loom)` their atomics
//! are loom's, which plays all interleavings and all reorderings that the memory model
//! allows.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]

#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/escape.rs"]
mod escape;
#[path = "../../src/key.rs"]
mod key;
#[path = "../../src/ownership.rs"]
mod ownership;
#[path = "../../src/token.rs"]
mod token;

#[path = "../../src/consul"]
mod consul {
    pub(crate) mod fact;
    pub(crate) mod stand_back;
}

/// The machines that threads share.
#[path = "../../src/protocol"]
mod protocol {
    pub(crate) mod backoff;
    pub(crate) mod cell;
    pub(crate) mod contest;
    pub(crate) mod election;
    pub(crate) mod gather;
    pub(crate) mod queue;

    /// As in the library.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub(crate) struct Ticket(pub(crate) u64);
}

mod cells;
mod contests;

fn main() {
    let models: [(&str, fn()); 8] = [
        ("a check and a renewal at the deadline agree", cells::a_check_and_a_renewal_agree),
        ("two checks never revive a deadline", cells::two_checks_never_revive_a_deadline),
        ("the latest of two renewals stays", cells::the_latest_of_two_renewals_stays),
        ("the first of two reasons stays", cells::the_first_reason_stays),
        ("a closed session is not renewed", cells::a_closed_session_is_not_renewed),
        ("a hand-over never gives a key to two callers", contests::a_hand_over_has_one_owner),
        ("a caller that comes while the key is given back is served", contests::none_is_forgotten),
        ("a loss ends the lease that a hand-over just gave", contests::a_loss_ends_what_it_meets),
    ];
    for (name, model) in models {
        let began = std::time::Instant::now();
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counter = count.clone();
        loom::model(move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            model();
        });
        let count = count.load(std::sync::atomic::Ordering::Relaxed);
        println!("{name}: {count} interleavings, {:.1} s", began.elapsed().as_secs_f64());
    }
    println!("8 passed, 0 failed");
}
