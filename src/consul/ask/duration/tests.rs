use super::*;

#[test]
fn reads_what_consul_writes() {
    for (text, millis) in [
        ("15s", 15_000),
        ("15000ms", 15_000),
        ("1m30s", 90_000),
        ("24h0m0s", 86_400_000),
        ("1.5s", 1_500),
        ("0s", 0),
        ("0", 0),
        ("1000000ns", 1),
        ("1000µs", 1),
        (".5s", 500),
    ] {
        assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
    }
}

#[test]
fn reads_nothing_else() {
    for text in ["", "s", "15", "-15s", "15 s", "15x", "1..5s", ".s", "9e9s", "1s2", "٣s"] {
        assert_eq!(parse(text), None, "{text}");
    }
    assert_eq!(parse("99999999999999999999h"), None);
    assert_eq!(parse("9999999999999h"), None);
}
