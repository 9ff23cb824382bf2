//! Consul's error texts, read whole.
//!
//! Consul quotes keys and sessions within its texts, and clients choose the names
//! of keys. A text is therefore never searched for a word: it is compared from its
//! first character to its last, and what it quotes must be what the request named.

/// A part of a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// These characters.
    Is(&'a str),
    /// This name, as Go's `%q` quotes it.
    Quotes(&'a str),
    /// Any name, as Go's `%q` quotes it.
    QuotesAny,
    /// Decimal digits.
    Number,
}

/// Whether `text` consists of these parts and of nothing else.
pub(super) fn reads(text: &str, parts: &[Part<'_>]) -> bool {
    rest(text, parts).is_some_and(str::is_empty)
}

/// Whether `text` begins with these parts.
pub(super) fn begins(text: &str, parts: &[Part<'_>]) -> bool {
    rest(text, parts).is_some()
}

/// What follows these parts, if `text` begins with them.
fn rest<'t>(text: &'t str, parts: &[Part<'_>]) -> Option<&'t str> {
    parts.iter().try_fold(text, |text, part| match part {
        Part::Is(words) => text.strip_prefix(words),
        Part::Quotes(name) => {
            let (quoted, rest) = unquoted(text)?;
            (quoted == name.as_bytes()).then_some(rest)
        }
        Part::QuotesAny => Some(unquoted(text)?.1),
        Part::Number => {
            let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
            (rest.len() < text.len()).then_some(rest)
        }
    })
}

/// Reads a name that Go has quoted, and what follows it.
fn unquoted(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut name = Vec::new();
    let mut chars = text.strip_prefix('"')?.chars();
    loop {
        let c = match chars.next()? {
            '"' => return Some((name, chars.as_str())),
            '\\' => match chars.next()? {
                'x' => {
                    // A byte, which need not be a character.
                    name.push(u8::try_from(hex(&mut chars, 2)?).ok()?);
                    continue;
                }
                'u' => char::from_u32(hex(&mut chars, 4)?)?,
                'U' => char::from_u32(hex(&mut chars, 8)?)?,
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                c @ ('"' | '\\') => c,
                _ => return None,
            },
            c => c,
        };
        name.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn hex(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<u32> {
    (0..digits).try_fold(0, |number, _| Some(number * 16 + chars.next()?.to_digit(16)?))
}

#[cfg(test)]
mod tests;
