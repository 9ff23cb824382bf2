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
    let largest = FencingToken::new((1 << 47) - 1, u16::MAX).unwrap();
    assert_eq!(largest.as_i64(), i64::MAX);
    assert_eq!(FencingToken::new(1 << 47, 0), None);
}
