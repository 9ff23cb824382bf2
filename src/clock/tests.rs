use super::*;

#[test]
fn moments_saturate_instead_of_wrapping() {
    let second = Duration::from_secs(1);
    assert_eq!(Moment::default() - second, Moment::default());
    assert_eq!(Moment::from_nanos(u64::MAX) + second, Moment::from_nanos(u64::MAX));
    assert_eq!(Moment::default().since(Moment::from_nanos(5)), Duration::ZERO);
}

#[test]
fn the_boot_clock_advances() {
    let before = Clock::Boot.now();
    std::thread::sleep(Duration::from_millis(2));
    assert!(Clock::Boot.now().since(before) >= Duration::from_millis(2));
}
