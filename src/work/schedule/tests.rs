use super::*;

const HOUR: u64 = 3_600_000;

fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

fn fires(schedule: impl Into<Schedule>) -> Fires {
    schedule.into().check().unwrap().0
}

fn at(times: impl IntoIterator<Item = u64, IntoIter: Send + 'static>) -> Schedule {
    Schedule::at(times.into_iter().map(time))
}

fn look(fires: &mut Fires, now: u64) -> (Option<u64>, Option<u64>) {
    match fires.look(now) {
        Look::At(Around { due, next, .. }) => (due, next),
        look => panic!("at {now}: {look:?}"),
    }
}

#[test]
fn a_period_is_due_at_its_begin_and_missed_only_if_so_desired() {
    let hourly = || Schedule::new(Duration::from_millis(HOUR));
    let mut plain = fires(Duration::from_millis(HOUR));
    assert_eq!(look(&mut plain, 5 * HOUR), (Some(5 * HOUR), Some(6 * HOUR)));
    assert_eq!(look(&mut plain, 6 * HOUR - 1), (Some(5 * HOUR), Some(6 * HOUR)));
    let mut late = fires(hourly().later_by(Duration::from_millis(HOUR / 4)));
    assert_eq!(look(&mut late, 5 * HOUR), (Some(4 * HOUR + HOUR / 4), Some(5 * HOUR + HOUR / 4)));
    assert_eq!(look(&mut late, 1), (None, Some(HOUR / 4)));
    let mut strict = fires(hourly().missed(Missed::SkipAfter(Duration::from_secs(2))));
    assert_eq!(look(&mut strict, 5 * HOUR + 2_000), (Some(5 * HOUR), Some(6 * HOUR)));
    assert_eq!(look(&mut strict, 5 * HOUR + 2_001), (None, Some(6 * HOUR)));
    assert_eq!(look(&mut plain, u64::MAX).1, None);
}

#[test]
fn nothing_is_due_before_the_first_period_begins() {
    let year = Duration::from_secs(365 * 24 * 3_600);
    let years = |count| millis(year * count);
    let mut fires = fires(Period::new(year * 100).starting_at(year * 80));
    assert_eq!(look(&mut fires, years(57)), (None, Some(years(80))));
    assert_eq!(look(&mut fires, years(81)), (Some(years(80)), Some(years(180))));
}

#[test]
fn the_latest_of_several_due_times_stands_for_all_of_them() {
    let mut times = fires(at([10, 20, 30, 40]));
    assert_eq!(look(&mut times, 9), (None, Some(10)));
    assert_eq!(look(&mut times, 31), (Some(30), Some(40)));
    assert_eq!(look(&mut times, 31), (Some(30), Some(40)));
    assert_eq!(look(&mut times, 40), (Some(40), None));
    assert_eq!(look(&mut times, u64::MAX), (Some(40), None));
    assert_eq!(look(&mut fires(at([])), 5), (None, None));
    let mut late = fires(at([10, 20]).later_by(Duration::from_millis(5)));
    assert_eq!(look(&mut late, 24), (Some(15), Some(25)));
    let mut strict = fires(at([10_000, 20_000]).missed(Missed::SkipAfter(Duration::from_secs(1))));
    assert_eq!(look(&mut strict, 19_999), (None, Some(20_000)));
    assert_eq!(look(&mut strict, 21_001), (None, None));
}

#[test]
fn an_instant_that_goes_back_or_repeats_is_ignored() {
    let mut times = fires(at([10, 5, 10, 20, 20, 15, 30]));
    assert_eq!(look(&mut times, 10), (Some(10), Some(20)));
    assert_eq!(look(&mut times, 20), (Some(20), Some(30)));
    assert_eq!(look(&mut times, 30), (Some(30), None));
}

#[test]
fn a_clock_that_is_set_back_waits_for_the_same_instants_again() {
    let mut times = fires(at([10, 20, 30]));
    assert_eq!(look(&mut times, 25), (Some(20), Some(30)));
    assert_eq!(look(&mut times, 15), (Some(10), Some(20)));
    assert_eq!(look(&mut times, 20), (Some(20), Some(30)));
    // It was far ahead, and the iterator has ended.
    assert_eq!(look(&mut times, 1_000_000), (Some(30), None));
    assert_eq!(look(&mut times, 5), (None, Some(10)));
    assert_eq!(look(&mut times, 29), (Some(20), Some(30)));
    let count = 2 * AT_ONCE as u64;
    let mut many = fires(at(1..=count));
    while many.look(count + 5) == Look::More {}
    assert_eq!(look(&mut many, count - 3), (Some(count - 3), Some(count - 2)));
    // Before all that are kept, it waits for the first of them.
    let first_kept = count - MOST_PASSED as u64 + 1;
    assert_eq!(look(&mut many, 7), (None, Some(first_kept)));
}

#[test]
fn an_iterator_that_stays_behind_for_ever_is_an_error_and_a_long_one_is_not() {
    let mut stalled = fires(Schedule::at(std::iter::repeat(time(10))));
    assert_eq!(look(&mut stalled, 9), (None, Some(10)));
    assert_eq!(stalled.look(10), Look::More);
    assert_eq!(stalled.look(10), Look::Stalled);
    let count = AT_ONCE as u64 * 3;
    let mut long = fires(at(1..=count));
    let mut looks = 0;
    while long.look(count) == Look::More {
        looks += 1;
    }
    assert!((2..=4).contains(&looks), "{looks}");
    assert_eq!(look(&mut long, count), (Some(count), None));
}

#[test]
fn instants_are_never_early_and_those_before_1970_are_at_its_begin() {
    let times = [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH + Duration::from_nanos(5_000_001)];
    let mut times = fires(Schedule::at(times));
    assert_eq!(look(&mut times, 5), (Some(0), Some(6)));
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    let second = || Schedule::new(Duration::from_secs(1));
    for schedule in [
        second().time_limit(Duration::ZERO),
        second().missed(Missed::SkipAfter(Duration::from_millis(999))),
    ] {
        let refused = schedule.check().map(drop);
        assert!(matches!(refused, Err(Error::Invalid { field: "schedule", .. })), "{refused:?}");
    }
    let refused = Schedule::new(Duration::from_millis(999)).check().map(drop);
    assert!(matches!(refused, Err(Error::Invalid { field: "period", .. })), "{refused:?}");
}
