use super::*;

#[test]
fn a_later_ownership_orders_after_every_hand_over_of_an_earlier_one() {
    let earlier = FencingToken::new(7, u16::MAX).unwrap();
    let later = FencingToken::new(8, 0).unwrap();
    assert!(earlier < later);
}

#[test]
fn a_token_fits_a_signed_column_up_to_the_largest_index() {
    let largest = FencingToken::new((1 << 47) - 1, u16::MAX).unwrap();
    assert_eq!(largest.as_i64(), i64::MAX);
    assert_eq!(FencingToken::new(1 << 47, 0), None);
}
