use super::*;

#[test]
fn a_value_over_the_limit_is_refused_with_both_sizes() {
    let long = LockValue::Bytes(vec![0; LockValue::MAX_LEN + 1]);
    let Err(Error::Invalid { field: "value", why }) = long.to_bytes() else { panic!("accepted") };
    assert!(why.contains("368641") && why.contains("368640"), "{why}");
    assert!(LockValue::Bytes(vec![0; LockValue::MAX_LEN]).to_bytes().is_ok());
}

#[test]
fn an_object_extends_another_object_and_any_other_value_replaces_it() {
    let base = LockValue::Json(serde_json::json!({"service": "orders", "pid": 7}));
    let mine = LockValue::Json(serde_json::json!({"pid": 8, "zone": "b"}));
    let both = serde_json::json!({"service": "orders", "pid": 8, "zone": "b"});
    assert_eq!(mine.extending(&base), LockValue::Json(both));
    let bytes = LockValue::from("plain");
    assert_eq!(bytes.clone().extending(&base), bytes);
    assert_eq!(base.clone().extending(&bytes), base);
}

#[test]
fn a_value_that_cannot_be_json_is_refused_with_its_field_s_name() {
    let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
    assert!(matches!(LockValue::json(&odd), Err(Error::Invalid { field: "value", .. })));
}
