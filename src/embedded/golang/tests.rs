use super::*;

#[test]
fn durations_parse_as_in_go() {
    for (text, nanos) in [
        ("0", 0),
        ("-0", 0),
        ("15s", 15_000_000_000),
        ("250ms", 250_000_000),
        ("1m30s", 90_000_000_000),
        ("10.5s", 10_500_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("-5s", -5_000_000_000),
        ("1µs", 1_000),
    ] {
        assert_eq!(parse_duration(text), Ok(nanos), "{text}");
    }
}

#[test]
fn a_malformed_duration_gets_go_s_error_text() {
    for (text, why) in [
        ("", r#"time: invalid duration """#),
        ("abc", r#"time: invalid duration "abc""#),
        ("10", r#"time: missing unit in duration "10""#),
        ("10x", r#"time: unknown unit "x" in duration "10x""#),
        ("9999999999h", r#"time: invalid duration "9999999999h""#),
        (".s", r#"time: invalid duration ".s""#),
    ] {
        assert_eq!(parse_duration(text), Err(why.into()), "{text}");
    }
}

#[test]
fn strings_are_quoted_as_in_go() {
    assert_eq!(quote(b"a\"b\\\n\xff\x01"), r#""a\"b\\\n\xff\x01""#);
    assert_eq!(quote("größe\u{200b}".as_bytes()), r#""größe\u200b""#);
}

#[test]
fn malformed_json_gets_go_s_error_text() {
    for (body, why) in [
        ("", "EOF"),
        ("  ", "EOF"),
        ("{", "unexpected EOF"),
        ("xx", "invalid character 'x' looking for beginning of value"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
        ("{1:2}", "invalid character '1' looking for beginning of object key string"),
    ] {
        assert_eq!(decode_json(body.as_bytes()), Err(why.into()), "{body}");
    }
    assert!(decode_json(b"{} junk").is_ok());
}
