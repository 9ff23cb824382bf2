//! Validates the hosts at which processes can be reached.

use std::net::IpAddr;

/// Returns `address` as the host of a URL if it is exactly a host name or a reachable IP
/// address. A name may end in a dot.
pub(crate) fn url_host(address: &str) -> Option<String> {
    if let Ok(ip) = address.parse::<IpAddr>() {
        let reachable = match ip.to_canonical() {
            IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        };
        return reachable.then(|| match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        });
    }
    let name = without_root(address);
    let is_label = |label: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Browsers read a name whose last label is a number, such as 1.2 or 0x7f, as an address.
    let last_is_a_name = |last: &str| {
        last.bytes().any(|c| c.is_ascii_alphabetic())
            && !last.to_ascii_lowercase().starts_with("0x")
    };
    let is_name = name.len() <= 253
        && name.split('.').all(is_label)
        && name.rsplit('.').next().is_some_and(last_is_a_name);
    is_name.then(|| address.to_owned())
}

/// Returns the name without its trailing root dot.
pub(crate) fn without_root(address: &str) -> &str {
    address.strip_suffix('.').unwrap_or(address)
}

#[cfg(test)]
mod tests;
