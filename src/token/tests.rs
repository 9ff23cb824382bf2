use super::*;

#[test]
fn a_later_ownership_orders_after_every_hand_over_of_an_earlier_one() {
    let earlier = FencingToken::new(7, u16::MAX).unwrap();
    let later = FencingToken::new(8, 0).unwrap();
    assert!(earlier < later);
}

#[test]
fn a_token_is_read_back_from_a_column_a_header_and_json_and_anything_else_is_refused() {
    let token = FencingToken::new(7, 3).unwrap();
    assert_eq!(FencingToken::try_from(token.as_i64()), Ok(token));
    assert_eq!(FencingToken::try_from(token.as_u64()), Ok(token));
    assert_eq!(token.to_string().parse(), Ok(token));
    let json = serde_json::to_string(&token).unwrap();
    assert_eq!(json, token.to_string());
    assert_eq!(serde_json::from_str::<FencingToken>(&json).unwrap(), token);
    assert_eq!(FencingToken::try_from(-1_i64), Err(InvalidToken));
    assert_eq!(FencingToken::try_from(u64::MAX), Err(InvalidToken));
    for text in ["", "-1", "7.0", "x", "18446744073709551615"] {
        assert_eq!(text.parse::<FencingToken>(), Err(InvalidToken), "{text}");
    }
    assert!(serde_json::from_str::<FencingToken>("18446744073709551615").is_err());
}

#[test]
fn a_token_fits_a_signed_column_up_to_the_largest_index() {
    let largest = FencingToken::new((1 << 40) - 1, u16::MAX).unwrap();
    let last = Era::new(Era::LAST).unwrap();
    assert_eq!(largest.in_era(last).as_i64(), i64::MAX);
    assert_eq!(FencingToken::new(1 << 40, 0), None);
    assert_eq!(Era::new(Era::LAST + 1), None);
}

#[test]
fn every_token_of_an_era_orders_after_those_of_earlier_eras() {
    let last = FencingToken::new((1 << 40) - 1, u16::MAX).unwrap();
    let first = FencingToken::new(1, 0).unwrap();
    for era in 1..=Era::LAST {
        let [before, after] = [era - 1, era].map(|era| Era::new(era).unwrap());
        assert!(last.in_era(before) < first.in_era(after), "{era}");
    }
    assert_eq!(first.in_era(Era::default()), first);
    assert!(!first.in_era(Era(1)).is_handed_over());
    assert_eq!(format!("{first:?}"), "FencingToken(65536 = 1:0)");
    assert_eq!(format!("{:?}", first.in_era(Era(3))), "FencingToken(216172782113849344 = 3:1:0)");
}
