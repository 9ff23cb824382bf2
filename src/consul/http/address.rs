//! Which addresses an agent can have.

use hyper::http::Uri;

/// The address of a Consul agent, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    https: bool,
    authority: String,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Address {
    /// Reads `http://host:port`, `https://host:port`, or `host:port` as Consul's
    /// own tools take it.
    ///
    /// # Errors
    /// What is wrong with it and what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, _)) => {
                return Err(format!("has the scheme '{scheme}'; use http:// or https://"));
            }
            None => (false, text),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        // The text may hold a password, so it is not repeated.
        if authority.contains('@') {
            return Err("contains '@'; a user name and a password have no place in it".into());
        }
        if let Some(at) = authority.find(['/', '?', '#']) {
            // It may hold a token, so it is not repeated.
            let what = match authority.as_bytes()[at] {
                b'/' => "a path",
                b'?' => "a query",
                _ => "a fragment",
            };
            return Err(format!("has {what} after the host; give the host and port alone"));
        }
        let uri: Uri = format!("http://{authority}/")
            .parse()
            .map_err(|_| format!("'{text}' is no host and port; write http://host:8500"))?;
        if uri.host().is_none_or(str::is_empty) {
            return Err(format!("'{text}' names no host; write http://host:8500"));
        }
        if uri.port().is_none() {
            let after_host = authority.rsplit(']').next().unwrap_or_default();
            if after_host.contains(':') {
                return Err(format!("'{text}' has a port that is no number up to 65535"));
            }
            if !text.contains("://") {
                return Err(format!("'{text}' names no port; Consul's own is 8500"));
            }
        }
        if uri.port_u16() == Some(0) {
            return Err("names the port 0; Consul's own is 8500".into());
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Self { https, authority: authority.to_owned(), host, port })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// The host and port, as they stand in a request's `Host` header.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// What to resolve, and what the agent's certificate must name.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_and_consuls_short_form() {
        for (text, https, authority) in [
            ("http://127.0.0.1:8500", false, "127.0.0.1:8500"),
            ("http://127.0.0.1:8500/", false, "127.0.0.1:8500"),
            ("HTTPS://consul.example:8501", true, "consul.example:8501"),
            ("https://consul.example", true, "consul.example"),
            ("localhost:8500", false, "localhost:8500"),
            (" 127.0.0.1:8500 ", false, "127.0.0.1:8500"),
            ("http://[::1]:8500", false, "[::1]:8500"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.is_https(), address.authority()), (https, authority), "{text}");
        }
    }

    #[test]
    fn an_ipv6_host_is_resolved_without_its_brackets_and_the_scheme_has_a_port() {
        for (text, host, port) in [
            ("https://[::1]:8443", "::1", 8443),
            ("http://[2001:db8::7]", "2001:db8::7", 80),
            ("https://consul.example", "consul.example", 443),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_what_to_write() {
        for (text, word) in [
            ("", "no host"),
            ("localhost", "no port"),
            ("http://localhost:", "no number"),
            ("http://localhost:0", "port 0"),
            ("http://localhost:99999", "no number"),
            ("http://:8500", "no host"),
            ("http://", "no host"),
            ("unix:///var/run/consul.sock", "scheme 'unix'"),
            ("ftp://localhost:8500", "scheme 'ftp'"),
            ("http://localhost:8500/v1", "a path"),
            ("http://localhost:8500?dc=x", "a query"),
            ("http://local host:8500", "no host and port"),
        ] {
            let why = Address::parse(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
        let why = Address::parse("http://me:hunter2@localhost:8500").unwrap_err();
        assert!(why.contains('@') && !why.contains("hunter2"), "{why}");
    }
}
