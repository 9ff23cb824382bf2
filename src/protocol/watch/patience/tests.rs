use super::*;

fn at(millis: u64) -> Moment {
    Moment::default() + Duration::from_secs(1_000) + Duration::from_millis(millis)
}

#[test]
fn reads_that_a_gateway_cuts_off_one_after_another_shorten_the_wait_for_a_while() {
    let mut patience = Patience::new();
    assert_eq!(patience.wait(at(0)), LONGEST);
    for (since, until) in [(0, 5_000), (5_200, 10_300), (10_600, 15_600)] {
        assert!(patience.cut(at(until), at(since)));
    }
    assert_eq!(patience.wait(at(15_600)), Duration::from_secs(4));
    assert_eq!(patience.wait(at(615_600)), LONGEST);
}

#[test]
fn reads_that_break_together_or_after_unlike_times_tell_nothing() {
    let mut patience = Patience::new();
    // An election ends all reads in flight.
    for since in [0, 1_000, 3_000, 7_000] {
        assert!(patience.cut(at(9_000), at(since)));
    }
    assert!(patience.cut(at(30_000), at(10_000)));
    assert!(patience.cut(at(32_000), at(30_000)));
    assert_eq!(patience.wait(at(32_000)), LONGEST);
}

#[test]
fn what_fails_at_once_was_not_cut_off() {
    let mut patience = Patience::new();
    for second in 0..10 {
        assert!(!patience.cut(at(1_000 * second + 300), at(1_000 * second)));
    }
    assert_eq!(patience.wait(at(10_000)), LONGEST);
}
