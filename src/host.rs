//! Where a process can be reached: a host name or an IP address.

use std::net::IpAddr;

/// `address` as the host of a URL, if it is a host name or an IP address at which a
/// process can be reached, and nothing more. A name may end in a dot.
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
    // The last label of a name is no number: browsers read 1.2 or 0x7f as an address.
    let last_is_a_name = |last: &str| {
        last.bytes().any(|c| c.is_ascii_alphabetic())
            && !last.to_ascii_lowercase().starts_with("0x")
    };
    let is_name = name.len() <= 253
        && name.split('.').all(is_label)
        && name.rsplit('.').next().is_some_and(last_is_a_name);
    is_name.then(|| address.to_owned())
}

/// The name without the dot that stands for the root of the DNS.
pub(crate) fn without_root(address: &str) -> &str {
    address.strip_suffix('.').unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_at_which_a_process_can_be_reached() {
        for (address, host) in [
            ("10.0.0.7", "10.0.0.7"),
            ("::1", "[::1]"),
            ("orders-1.service.internal", "orders-1.service.internal"),
            ("orders-1.service.internal.", "orders-1.service.internal."),
            ("app_1", "app_1"),
        ] {
            assert_eq!(url_host(address).as_deref(), Some(host), "{address}");
        }
        for useless in [
            "",
            ".",
            "a..",
            "a..b",
            "-a",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "::ffff:0.0.0.0",
            "ff02::1",
            "[::1]",
            "fe80::1%eth0",
            "2130706433",
            "0x7f000001",
            "0X7F000001",
            "a.0X7",
            "127.1",
            "http://one",
            "one:8080",
            "one ",
            " one",
            "evil.example/",
            "evil.example#",
            "evil.example?",
            "user@evil.example",
            "a\r\nset-cookie: x",
            "a b",
            "a\\b",
            "javascript:alert(1)",
            "é.example",
            &"a".repeat(64),
            &format!("{}.", "a.".repeat(127)),
        ] {
            assert_eq!(url_host(useless), None, "{useless:?}");
        }
    }
}
