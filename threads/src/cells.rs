//! Threads that check, renew and end one deadline.

use loom::{sync::Arc, thread};

use crate::{clock::Moment, ownership::LossReason, protocol::cell::DeadlineCell};

const DEADLINE: u64 = 100;

fn at(nanos: u64) -> Moment {
    Moment::from_nanos(nanos)
}

fn cell() -> Arc<DeadlineCell> {
    Arc::new(DeadlineCell::new(at(DEADLINE)))
}

/// A renewal is answered just before the deadline while another thread checks just after
/// it: either the renewal came first and the lease is valid, or it came too late.
pub(crate) fn a_check_and_a_renewal_agree() {
    let cell = cell();
    let renewal = thread::spawn({
        let cell = cell.clone();
        move || cell.extend(at(99), at(200))
    });
    let checked = thread::spawn({
        let cell = cell.clone();
        move || cell.is_valid(at(101))
    });
    let (renewed, valid) = (renewal.join().unwrap(), checked.join().unwrap());
    assert_eq!(renewed, valid);
    assert_eq!(cell.is_valid(at(101)), valid);
}

/// Two threads check around the deadline while a third renews: whoever found it passed is
/// right for ever.
pub(crate) fn two_checks_never_revive_a_deadline() {
    let cell = cell();
    let check = |now| {
        let cell = cell.clone();
        thread::spawn(move || {
            let first = cell.is_valid(at(now));
            let second = cell.is_valid(at(now));
            assert!(first || !second, "valid again");
            second
        })
    };
    let (early, late) = (check(99), check(100));
    let renewed = cell.extend(at(99), at(200));
    let (early, late) = (early.join().unwrap(), late.join().unwrap());
    assert_eq!(cell.is_valid(at(100)), renewed);
    assert_eq!(late, renewed);
    assert!(early || !renewed);
}

pub(crate) fn the_latest_of_two_renewals_stays() {
    let cell = cell();
    let renew = |to| {
        let cell = cell.clone();
        thread::spawn(move || assert!(cell.extend(at(1), at(to))))
    };
    let (one, other) = (renew(300), renew(200));
    one.join().unwrap();
    other.join().unwrap();
    assert_eq!(cell.deadline(at(1)), Some(at(300)));
}

/// Two threads end the session for different reasons, and a third looks.
pub(crate) fn the_first_reason_stays() {
    let cell = cell();
    let gone = thread::spawn({
        let cell = cell.clone();
        move || cell.latch(LossReason::SessionGone)
    });
    let stopped = thread::spawn({
        let cell = cell.clone();
        move || cell.latch(LossReason::Shutdown)
    });
    if let Some(reason) = cell.ended() {
        assert!(!cell.is_valid(at(1)));
        assert_eq!(cell.ended(), Some(reason), "the reason changed");
    }
    gone.join().unwrap();
    stopped.join().unwrap();
    assert!(!cell.is_valid(at(1)));
}

/// A late renewal meets the end of its session.
pub(crate) fn a_closed_session_is_not_renewed() {
    let cell = cell();
    let renewal = thread::spawn({
        let cell = cell.clone();
        move || cell.extend(at(1), at(200))
    });
    let check = thread::spawn({
        let cell = cell.clone();
        move || cell.is_valid(at(1))
    });
    cell.latch(LossReason::SessionGone);
    assert!(!cell.is_valid(at(1)));
    let _ = (renewal.join().unwrap(), check.join().unwrap());
    assert!(!cell.is_valid(at(1)));
    assert_eq!(cell.ended(), Some(LossReason::SessionGone));
}
