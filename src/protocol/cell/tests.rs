use super::*;

fn at(nanos: u64) -> Moment {
    Moment::from_nanos(nanos)
}

#[test]
fn a_passed_deadline_stays_passed_whatever_is_renewed_or_checked_later() {
    let cell = DeadlineCell::new(at(100));
    assert!(cell.is_valid(at(90)));
    assert!(!cell.is_valid(at(100)));
    assert!(!cell.is_valid(at(90)), "not even for an earlier moment");
    assert!(!cell.extend(at(90), at(1000)));
    assert_eq!(cell.remaining(at(1)), Duration::ZERO);
    assert_eq!(cell.ended(), Some(LossReason::DeadlinePassed));
}

#[test]
fn the_first_reason_stays() {
    let cell = DeadlineCell::new(at(100));
    assert_eq!(cell.ended(), None);
    cell.latch(LossReason::SessionGone);
    cell.latch(LossReason::Shutdown);
    assert!(!cell.is_valid(at(1)));
    assert_eq!(cell.ended(), Some(LossReason::SessionGone));
}

#[test]
fn a_renewal_answered_after_the_deadline_does_not_extend_it() {
    let cell = DeadlineCell::new(at(100));
    assert!(!cell.extend(at(110), at(1000)));
    assert!(!cell.is_valid(at(1)));
}

#[test]
fn the_latest_deadline_wins_whatever_the_order_of_the_renewals_answers() {
    let cell = DeadlineCell::new(at(100));
    assert!(cell.extend(at(1), at(300)));
    assert!(cell.extend(at(2), at(200)));
    assert_eq!(cell.deadline(at(2)), Some(at(300)));
}

#[test]
fn reading_when_a_deadline_is_due_does_not_latch_the_cell() {
    let cell = DeadlineCell::new(at(100));
    assert_eq!(cell.due(), Some(at(100)));
    assert!(cell.extend(at(90), at(300)), "a renewal still extends it");
    cell.latch(LossReason::Shutdown);
    assert_eq!(cell.due(), None);
}
