use super::*;

#[test]
fn a_host_is_a_name_or_a_reachable_address() {
    for (address, host) in [
        ("10.0.0.7", "10.0.0.7"),
        ("::1", "[::1]"),
        ("orders-1.service.internal", "orders-1.service.internal"),
        ("orders-1.service.internal.", "orders-1.service.internal."),
        ("app_1", "app_1"),
    ] {
        assert_eq!(url_host(address).as_deref(), Some(host), "{address}");
    }
    for useless in [
        "",
        ".",
        "a..",
        "a..b",
        "-a",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "::",
        "::ffff:0.0.0.0",
        "ff02::1",
        "[::1]",
        "fe80::1%eth0",
        "2130706433",
        "0x7f000001",
        "0X7F000001",
        "a.0X7",
        "127.1",
        "http://one",
        "one:8080",
        "one ",
        " one",
        "evil.example/",
        "evil.example#",
        "evil.example?",
        "user@evil.example",
        "a\r\nset-cookie: x",
        "a b",
        "a\\b",
        "javascript:alert(1)",
        "é.example",
        &"a".repeat(64),
        &format!("{}.", "a.".repeat(127)),
    ] {
        assert_eq!(url_host(useless), None, "{useless:?}");
    }
}
