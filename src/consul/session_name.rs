//! What a process calls its sessions in Consul: its service, and a number of its own,
//! by which it finds sessions again whose ids it never learned.

/// The digits of the number.
const DIGITS: usize = 8;

pub(crate) fn session_name(service: &str, instance: u32) -> String {
    format!("{service}#{instance:08x}")
}

/// The service, as people know it. A name that is not one of ours stays whole.
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
