//! Go's syntax for durations, numbers and quoted strings: Consul's replies and
//! error texts follow Go's standard library.

use std::fmt::Write as _;

use crate::escape::is_printable;

/// Go's `time.ParseDuration`, in nanoseconds.
///
/// # Errors
/// Go's error text, which names the input.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text.as_bytes()));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let (whole, after_whole) = split_digits(rest);
        let (fraction, after_fraction) = match after_whole.strip_prefix('.') {
            Some(more) => split_digits(more),
            None => ("", after_whole),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after_fraction
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after_fraction.len());
        let (unit, next) = after_fraction.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text.as_bytes())));
        }
        let Some(scale) = nanos_in(unit) else {
            return Err(format!(
                "time: unknown unit {} in duration {}",
                quote(unit.as_bytes()),
                quote(text.as_bytes())
            ));
        };
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        // Cast: the result is a fraction of a unit, at most an hour in nanoseconds.
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let part = match fraction {
            "" => 0,
            digits => (format!("0.{digits}").parse::<f64>().unwrap_or(0.0) * scale as f64) as i64,
        };
        total = whole
            .checked_mul(scale)
            .and_then(|nanos| nanos.checked_add(part))
            .and_then(|nanos| total.checked_add(nanos))
            .ok_or_else(invalid)?;
        rest = next;
    }
    Ok(if negative { -total } else { total })
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn nanos_in(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Go's `strconv.ParseUint` with base 10 and 64 bits.
///
/// # Errors
/// Go's error text, which names the input.
pub(super) fn parse_uint(text: &str) -> Result<u64, String> {
    let why = if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        "invalid syntax"
    } else {
        match text.parse() {
            Ok(number) => return Ok(number),
            Err(_) => "value out of range",
        }
    };
    Err(format!("strconv.ParseUint: parsing {}: {why}", quote(text.as_bytes())))
}

/// Go's `%q`: a double-quoted string literal.
pub(super) fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::with_capacity(bytes.len() + 2);
    quoted.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => {
                    quoted.push('\\');
                    quoted.push(c);
                }
                '\x07' => quoted.push_str("\\a"),
                '\x08' => quoted.push_str("\\b"),
                '\x0c' => quoted.push_str("\\f"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\x0b' => quoted.push_str("\\v"),
                c if is_printable(c) => quoted.push(c),
                c => {
                    let code = u32::from(c);
                    // Writing to a `String` cannot fail.
                    let _ = match code {
                        0..0x80 => write!(quoted, "\\x{code:02x}"),
                        0x80..0x1_0000 => write!(quoted, "\\u{code:04x}"),
                        _ => write!(quoted, "\\U{code:08x}"),
                    };
                }
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted.push('"');
    quoted
}

/// Decodes the first JSON value of `body` like Go's `encoding/json`, ignoring what
/// follows it.
///
/// # Errors
/// Go's error text.
pub(super) fn decode_json(body: &[u8]) -> Result<serde_json::Value, String> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter();
    let error = match values.next() {
        None => return Err("EOF".into()),
        Some(Ok(value)) => return Ok(value),
        Some(Err(error)) => error,
    };
    if error.is_eof() {
        return Err("unexpected EOF".into());
    }
    let line = body.split(|b| *b == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let found = line.get(error.column().saturating_sub(1)).copied().unwrap_or(b'?');
    let text = error.to_string();
    let place = if text.starts_with("expected `,` or `}`") {
        "after object key:value pair"
    } else if text.starts_with("expected `,` or `]`") {
        "after array element"
    } else if text.starts_with("expected `:`") {
        "after object key"
    } else if text.starts_with("key must be a string")
        || (text.starts_with("trailing comma") && found == b'}')
    {
        "looking for beginning of object key string"
    } else {
        "looking for beginning of value"
    };
    Err(format!("invalid character '{}' {place}", char::from(found)))
}

/// The name of `value`'s kind in Go's JSON errors.
pub(super) fn kind_of(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(_) => "array".into(),
        Value::Object(_) => "object".into(),
    }
}

/// The next number of the splitmix64 sequence, which is cheap and the same on
/// every machine.
pub(super) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
