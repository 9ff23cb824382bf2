//! Escapes untrusted text for errors, log lines, reports and pages.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

/// Untrusted text: a reply, a holder's value, the name of a session.
///
/// `Display` prints one line that cannot control a terminal. Each character that is
/// not [printable](is_printable) is escaped, as `\n` or `\u{1b}`. Printable characters,
/// backslashes included, are unchanged.
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

/// Returns `text` as `Escaped` displays it.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(Escaped(text).to_string())
}

/// Escapes what is not printable in JSON, as JSON does. Line breaks between its parts stay.
pub fn json_escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_printable(c) || c == '\n' {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a text cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// The longest error of a parser that is kept, in characters: it can quote the parsed text.
pub(crate) const LONGEST_ERROR: usize = 200;

/// Returns at most `most` characters of `text`. If more follow, the last one is `…`.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.char_indices().nth(most).is_none() {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Whether a character is visible and does not affect other characters. Line breaks,
/// other control characters, directional marks and invisible characters are not
/// printable.
///
/// Equals Go's `unicode.IsPrint`, which Consul applies to paths, except that unassigned
/// characters count as printable.
pub(crate) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    !(c.is_control()
        || c.is_whitespace()
        || matches!(
            u32::from(c),
            // Format characters.
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
                // Private use, tags and variation selectors.
                | 0xE000..=0xF8FF
                | 0xE_0000..=0x10_FFFF
        ))
}

#[cfg(test)]
mod tests;
