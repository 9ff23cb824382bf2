use super::*;

#[test]
fn control_and_invisible_characters_are_escaped() {
    for (text, shown) in [
        ("plain {\"a\":\"größe 漢字 🦀\\n\"}", "plain {\"a\":\"größe 漢字 🦀\\n\"}"),
        ("\u{1b}[2J\u{1b}[1;1Hall is well", "\\u{1b}[2J\\u{1b}[1;1Hall is well"),
        ("one\r\ntwo\tthree\0", "one\\r\\ntwo\\tthree\\u{0}"),
        ("\u{9b}31m", "\\u{9b}31m"),
        ("abc\u{202e}fdp.exe\u{2066}", "abc\\u{202e}fdp.exe\\u{2066}"),
        ("a\u{2028}b\u{85}c\u{200b}\u{feff}", "a\\u{2028}b\\u{85}c\\u{200b}\\u{feff}"),
        ("", ""),
    ] {
        assert_eq!(Escaped(text).to_string(), shown);
        assert_eq!(escaped(text), shown);
    }
}

#[test]
fn escaping_twice_changes_nothing() {
    let once = escaped("a\u{1b}\n\\\u{202e}").into_owned();
    assert_eq!(escaped(&once), once);
}

#[test]
fn a_shortened_text_has_at_most_so_many_characters() {
    assert_eq!(shortened("añb", 3), "añb");
    assert_eq!(shortened("añbc", 3), "añ…");
    assert_eq!(shortened("", 0), "");
}

#[test]
fn what_json_leaves_as_it_is_is_escaped_as_json_does() {
    let texts = ["a\u{9b}31m", "\u{61c}\u{200b}\u{202e}\u{feff}", "\u{e0041}", "größe \u{1f980}"];
    let json = serde_json::to_string_pretty(&texts).unwrap();
    let escaped = json_escaped(&json);
    assert!(escaped.chars().all(|c| is_printable(c) || c == '\n'), "{escaped}");
    assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).unwrap(), texts);
    assert!(escaped.contains("größe \u{1f980}"), "{escaped}");
}
