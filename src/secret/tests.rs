use super::*;

#[test]
fn a_secret_is_neither_printed_nor_left_in_texts() {
    let secret = Secret::new("8f2c-top");
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    assert_eq!(secret.strike_from("token=8f2c-top;".into()), "token=(secret);");
    assert_eq!(Secret::new("").strike_from("plain".into()), "plain");
}
