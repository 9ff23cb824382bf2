use proptest::prelude::*;

use super::{
    Part::{Is, Number, Quotes, QuotesAny},
    *,
};

#[test]
fn a_text_is_read_to_its_end() {
    let parts = [Is("key "), Quotes("k"), Is(" at "), Number];
    assert!(reads("key \"k\" at 17", &parts));
    for text in [
        "key \"k\" at ",
        "key \"k\" at 17 ",
        " key \"k\" at 17",
        "key \"k2\" at 17",
        "key \"\" at 17",
        "key k at 17",
        "key \"k at 17",
        "key \"k\\\" at 17",
        "key \"k\" at -17",
        "",
    ] {
        assert!(!reads(text, &parts), "{text}");
    }
    assert!(begins("key \"k\" at 17 or so", &parts));
}

#[test]
fn a_quoted_name_ends_where_go_ends_it() {
    for (text, name) in [
        (r#""a\"b\\""#, "a\"b\\"),
        (r#""\a\b\f\n\r\t\v""#, "\x07\x08\x0c\n\r\t\x0b"),
        (r#""\x7f\u202e\U0001f600é""#, "\x7f\u{202e}\u{1f600}é"),
        (r#""\xc3\xa9""#, "é"),
    ] {
        assert!(reads(text, &[Quotes(name)]), "{text}");
        assert!(reads(text, &[QuotesAny]), "{text}");
    }
    for text in [r#""\"#, r#""\q""#, r#""\x1""#, r#""\ud800""#, r#""\"""#, "a", ""] {
        assert!(!reads(text, &[QuotesAny]) || text == r#""\"""#, "{text}");
    }
}

proptest! {
    #[test]
    fn whatever_a_name_holds_it_ends_where_its_quotes_do(name in ".*", more in ".*") {
        let mut text = String::from("key \"");
        for c in name.chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => text.push(c),
            }
        }
        let text = format!("{text}\"{more}");
        prop_assert!(reads(&text, &[Is("key "), Quotes(&name), Is(&more)]), "{text}");
        let other = format!("{name}2");
        prop_assert!(!begins(&text, &[Is("key "), Quotes(&other)]), "{text}");
    }
}
