use super::*;

#[test]
fn a_malformed_uuid_is_refused_with_consul_s_error_text() {
    for (id, why) in [
        ("abc", "UUID must be 36 characters"),
        (&*"z".repeat(36), "Invalid UUID: encoding/hex: invalid byte: U+007A 'z'"),
        (&*"-".repeat(36), "UUID should have maximum of 4 \"-\"; got 36"),
        (&*("-".to_owned() + &"a".repeat(35)), "Input (without hyphens) must be even length"),
    ] {
        assert_eq!(check_uuid(id), Err(why.into()));
    }
    assert_eq!(check_uuid("11111111-1111-1111-1111-111111111111"), Ok(()));
}
