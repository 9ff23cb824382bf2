//! The address of an agent.

use hyper::http::Uri;

use crate::escape::Escaped;

/// The validated address of a Consul agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    https: bool,
    authority: String,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Address {
    /// Parses `http://host:port`, `https://host:port`, or `host:port`, as Consul's own
    /// tools do.
    ///
    /// # Errors
    /// What is wrong with the text and what to write instead. Text that may hold a
    /// secret is not repeated.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, _)) => {
                return Err(format!(
                    "has the scheme '{}'; use http:// or https://",
                    Escaped(scheme)
                ));
            }
            None => (false, text),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        // The text may hold a password.
        if authority.contains('@') {
            return Err("contains '@'; remove the user name and the password".into());
        }
        if let Some(at) = authority.find(['/', '?', '#']) {
            // The text may hold a token.
            let what = match authority.as_bytes()[at] {
                b'/' => "a path",
                b'?' => "a query",
                _ => "a fragment",
            };
            return Err(format!("has {what} after the host; give only the host and port"));
        }
        let text = Escaped(text);
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
            if !text.0.contains("://") {
                return Err(format!("'{text}' names no port; Consul's default is 8500"));
            }
        }
        if uri.port_u16() == Some(0) {
            return Err("names the port 0; Consul's default is 8500".into());
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Self { https, authority: authority.to_owned(), host, port })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// The value of a request's `Host` header.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The host to resolve, which is also the name that the agent's certificate must carry.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
mod tests;
