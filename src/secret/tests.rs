use serde::de::value::{I128Deserializer, U128Deserializer};

use super::*;

#[test]
fn a_secret_is_neither_printed_nor_left_in_texts() {
    let secret = Secret::new("8f2c-top");
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    assert_eq!(secret.strike_from("token=8f2c-top;".into()), "token=(secret);");
    assert_eq!(Secret::new("").strike_from("plain".into()), "plain");
}

#[test]
fn a_secret_of_another_type_is_refused_without_its_text() {
    let secret: Secret = serde_json::from_str("\"8f2c-top\\n\"").unwrap();
    assert_eq!(secret.expose(), "8f2c-top");
    for wrong in ["12345678", "-12345678", "12345678.5", "true"] {
        let error = serde_json::from_str::<Secret>(wrong).unwrap_err().to_string();
        assert!(!error.contains(wrong) && error.contains("in quotes"), "{error}");
    }
    // JSON has no integers as large as those of other formats.
    let long = 123_456_789_012_345_678_901_234;
    let refused = [
        Secret::deserialize(U128Deserializer::<de::value::Error>::new(long)),
        Secret::deserialize(I128Deserializer::<de::value::Error>::new(-(long as i128))),
    ];
    for error in refused.map(|refused| refused.unwrap_err().to_string()) {
        assert!(!error.contains("123456789") && error.contains("in quotes"), "{error}");
    }
}
