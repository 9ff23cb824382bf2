use std::pin::pin;

use super::*;

const HOUR: u64 = 3_600_000;

/// Around that hour and a half, in an hourly schedule that misses nothing.
fn around(hour: u64) -> Around {
    Around { due: Some(hour * HOUR), next: Some((hour + 1) * HOUR), missed_before: 0 }
}

fn last(next: u64, own: Option<u64>) -> LastTurn {
    LastTurn { index: 7, next, own }
}

#[test]
fn an_operator_reads_a_date_even_of_a_corrupt_record() {
    assert_eq!(beginning(0), "the next may begin at 1970-01-01T00:00:00Z");
    assert_eq!(beginning(253_402_300_800_000), "no other may ever begin");
    assert_eq!(beginning(u64::MAX), "no other may ever begin");
}

#[test]
fn a_turn_is_free_once_and_turns_only_move_on() {
    let free = |due| Verdict::Free { due };
    assert_eq!(judge(around(5), None, None), free(5 * HOUR));
    assert_eq!(judge(around(5), Some(&last(5 * HOUR, None)), None), free(5 * HOUR));
    assert_eq!(judge(around(9), Some(&last(5 * HOUR + 1, None)), None), free(9 * HOUR));
    let later = |at| Verdict::Later { at };
    // The last is recorded by a process with another schedule, is our own, or is corrupt.
    for next in [5 * HOUR + 1, 5 * HOUR + 2, 6 * HOUR, 6 * HOUR + 1, u64::MAX] {
        assert_eq!(judge(around(5), Some(&last(next, None)), None), later(6 * HOUR), "{next}");
    }
    let ended = Around { next: None, ..around(5) };
    assert_eq!(judge(ended, None, None), free(5 * HOUR));
    assert_eq!(judge(ended, Some(&last(5 * HOUR + 1, None)), None), Verdict::Over);
    let not_begun = Around { due: None, ..around(5) };
    assert_eq!(judge(not_begun, None, None), later(6 * HOUR));
    assert_eq!(judge(Around { next: None, ..not_begun }, None, None), Verdict::Over);
}

#[test]
fn a_record_of_unknown_outcome_is_settled_by_reading_who_wrote_it() {
    let due = 5 * HOUR;
    let attempted = Some((due, 3));
    let own = last(due + 1, Some(3));
    assert_eq!(judge(around(5), Some(&own), attempted), Verdict::Taken { due });
    // Also if the next is due by then, unless it is missed.
    assert_eq!(judge(around(6), Some(&own), attempted), Verdict::Taken { due });
    let missed = Around { missed_before: due + 1, ..around(6) };
    assert_eq!(judge(missed, Some(&own), attempted), Verdict::Free { due: 6 * HOUR });
    let later = Verdict::Later { at: 6 * HOUR };
    for another in [last(due + 1, Some(2)), last(due + 1, None)] {
        assert_eq!(judge(around(5), Some(&another), attempted), later);
    }
    let before = last(4 * HOUR + 1, Some(2));
    assert_eq!(judge(around(5), Some(&before), attempted), Verdict::Free { due });
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_delays_the_next_look_at_the_record_by_a_period_at_most() {
    let year = 365 * 24 * HOUR;
    let nanos: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(2 * year * 1_000_000)));
    let at = 2 * year + HOUR;
    let mut sleeping = pin!(sleep_until(Clock::Simulated(nanos), u64::MAX, at));
    assert!(futures::poll!(sleeping.as_mut()).is_pending());
    nanos.store(year * 1_000_000, Ordering::Relaxed);
    let most = Duration::from_millis(HOUR) + 2 * LOOK_PERIOD;
    tokio::time::timeout(most, sleeping).await.unwrap();
}
