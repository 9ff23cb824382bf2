use super::*;

#[test]
fn a_name_tells_the_service_and_a_foreign_one_stays_whole() {
    assert_eq!(session_name("orders", 0xbeef), "orders#0000beef");
    for (name, service) in [
        ("orders#0000beef", "orders"),
        ("a#b#01234567", "a#b"),
        ("orders", "orders"),
        ("orders#12", "orders#12"),
        ("orders#0000BEEF", "orders#0000BEEF"),
        ("#ffffffff", ""),
    ] {
        assert_eq!(service_of(name), service);
    }
}
