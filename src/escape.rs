//! Text from outside, made fit to be printed: in errors, log lines, reports and pages.

use std::{borrow::Cow, fmt};

/// Text that was not written by this crate: a reply of whoever answered in Consul's
/// place, a holder's value, the name of a session.
///
/// Displayed, it is one line that does nothing to a terminal: each character that is
/// no letter, mark, number, punctuation, symbol or plain space is shown as `\n` or
/// `\u{1b}`. What remains is shown as it stands, backslashes too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(|c| !is_printable(c)) {
            let (plain, hidden) = rest.split_at(at);
            f.write_str(plain)?;
            let mut chars = hidden.chars();
            if let Some(c) = chars.next() {
                write!(f, "{}", c.escape_default())?;
            }
            rest = chars.as_str();
        }
        f.write_str(rest)
    }
}

/// `text` as [`Escaped`] shows it.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(Escaped(text).to_string())
}

/// Whether a character shows, takes its place and changes nothing around it: none is
/// a line break, another control character, a mark that changes the direction of the
/// text, or invisible.
///
/// That is Go's `unicode.IsPrint`, by which Consul judges paths, except that
/// characters which Unicode has not assigned count as printable.
pub(crate) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    !(c.is_control()
        || c.is_whitespace()
        || matches!(
            u32::from(c),
            // Characters that only format others.
            0xAD
                | 0x600..=0x605
                | 0x61C
                | 0x6DD
                | 0x70F
                | 0x890..=0x891
                | 0x8E2
                | 0x180E
                | 0x200B..=0x200F
                | 0x202A..=0x202E
                | 0x2060..=0x206F
                | 0xFEFF
                | 0xFFF9..=0xFFFB
                | 0x110BD
                | 0x110CD
                | 0x13430..=0x1343F
                | 0x1BCA0..=0x1BCA3
                | 0x1D173..=0x1D17A
                // For private use; and tags, variation selectors and more of it.
                | 0xE000..=0xF8FF
                | 0xE_0000..=0x10_FFFF
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_hides_is_shown_instead() {
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
    fn what_was_escaped_stays_as_it_is() {
        let once = escaped("a\u{1b}\n\\\u{202e}").into_owned();
        assert_eq!(escaped(&once), once);
    }
}
