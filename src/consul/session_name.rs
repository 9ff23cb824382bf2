//! The name of a runtime's sessions: the service, and a number per runtime. By that name,
//! the runtime finds sessions whose ids it never learned, or has forgotten.

/// The number of hexadecimal digits.
const DIGITS: usize = 8;

/// The longest name of others' sessions or nodes that is kept, in characters.
pub(crate) const LONGEST_NAME: usize = 256;

pub(crate) fn session_name(service: &str, instance: u32) -> String {
    format!("{service}#{instance:08x}")
}

/// Returns the service in a session's name. Names of other programs are unchanged.
pub(crate) fn service_of(name: &str) -> &str {
    let is_number = |text: &str| {
        text.len() == DIGITS
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    match name.rsplit_once('#') {
        Some((service, number)) if is_number(number) => service,
        _ => name,
    }
}

#[cfg(test)]
mod tests;
