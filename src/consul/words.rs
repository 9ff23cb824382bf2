//! Parses Consul's error texts.
//!
//! Consul's texts quote keys and sessions, and clients choose the names of keys. A text is
//! therefore never searched for a word. It is compared from its first character to its
//! last, and the quoted names must be those of the request.

/// A part of a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// This text.
    Is(&'a str),
    /// This name, quoted by Go's `%q`.
    Quotes(&'a str),
    /// Any name, quoted by Go's `%q`.
    QuotesAny,
    /// Decimal digits.
    Number,
}

/// Whether `text` consists of exactly these parts.
pub(super) fn reads(text: &str, parts: &[Part<'_>]) -> bool {
    rest(text, parts).is_some_and(str::is_empty)
}

/// Whether `text` begins with these parts.
pub(super) fn begins(text: &str, parts: &[Part<'_>]) -> bool {
    rest(text, parts).is_some()
}

/// Returns the text after these parts, if `text` begins with them.
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

/// Parses a name quoted by Go; returns it and the rest of the text.
fn unquoted(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut name = Vec::new();
    let mut chars = text.strip_prefix('"')?.chars();
    loop {
        let c = match chars.next()? {
            '"' => return Some((name, chars.as_str())),
            '\\' => match chars.next()? {
                'x' => {
                    // A byte, not necessarily a character.
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
