//! The address of an agent.

use std::path::{Path, PathBuf};

use hyper::http::Uri;

use crate::{
    config::{has_plain_port, is_scheme},
    escape::Escaped,
};

/// The validated address of a Consul agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    endpoint: Endpoint,
    authority: String,
    /// The path under which a reverse proxy serves Consul: empty, or `/a/b`.
    path: String,
}

/// Where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Tcp {
        https: bool,
        /// Without the brackets of an IPv6 address.
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// The `Host` of requests over a unix socket, which has no name.
const LOCAL: &str = "localhost";

impl Address {
    /// Parses `http://host:port`, `https://host:port`, either with a path, `unix://path`, or
    /// `host:port`, as Consul's own tools do.
    ///
    /// # Errors
    /// What is wrong with the text and what to write instead. Text that may hold a
    /// secret is not repeated.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("unix") => {
                return Self::unix(rest);
            }
            Some((scheme, _)) if is_scheme(scheme) => {
                return Err(format!("has the scheme '{scheme}'; use http://, https:// or unix://"));
            }
            // The text may hold a password.
            Some(_) => return Err("has no scheme; use http://, https:// or unix://".into()),
            None => (false, text),
        };
        // The text may hold a password.
        if rest.contains('@') {
            return Err("contains '@'; remove the user name and the password".into());
        }
        // The text may hold a token.
        if let Some(at) = rest.find(['?', '#']) {
            let what = if rest[at..].starts_with('?') { "a query" } else { "a fragment" };
            return Err(format!("has {what}; give only the host, the port and a path"));
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], path_of(&rest[at..])?),
            None => (rest, String::new()),
        };
        if !has_plain_port(authority) {
            return Err("has a port that is no number; write http://host:8500".into());
        }
        // Without the path, which may hold a secret.
        let scheme =
            if text.contains("://") { ["http://", "https://"][usize::from(https)] } else { "" };
        let text = format!("{scheme}{authority}");
        let text = Escaped(&text);
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
            if scheme.is_empty() {
                return Err(format!("'{text}' names no port; Consul's default is 8500"));
            }
        }
        if uri.port_u16() == Some(0) {
            return Err("names the port 0; Consul's default is 8500".into());
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let endpoint = Endpoint::Tcp { https, host, port };
        Ok(Self { endpoint, authority: authority.to_owned(), path })
    }

    fn unix(path: &str) -> Result<Self, String> {
        if path.is_empty() || path.contains('\0') {
            return Err("names no socket; write unix:///path/of/the.sock".into());
        }
        Ok(Self {
            endpoint: Endpoint::Unix(path.into()),
            authority: LOCAL.into(),
            path: String::new(),
        })
    }

    pub(crate) fn is_https(&self) -> bool {
        matches!(self.endpoint, Endpoint::Tcp { https: true, .. })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The value of a request's `Host` header.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The path before every request's own: empty, or `/a/b`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The host to resolve, which is also the name that the agent's certificate must carry.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "for certificates"))]
    pub(super) fn host(&self) -> &str {
        match &self.endpoint {
            Endpoint::Tcp { host, .. } => host,
            Endpoint::Unix(_) => LOCAL,
        }
    }

    /// Whether the agent is on this host, as far as the address says.
    pub(super) fn is_local(&self) -> bool {
        let Endpoint::Tcp { host, .. } = &self.endpoint else { return true };
        let is_loopback = |ip: std::net::IpAddr| ip.is_loopback();
        host == LOCAL || host.parse().is_ok_and(is_loopback)
    }

    /// The path of the unix socket, if the agent listens on one.
    pub(crate) fn socket(&self) -> Option<&Path> {
        match &self.endpoint {
            Endpoint::Tcp { .. } => None,
            Endpoint::Unix(path) => Some(path),
        }
    }
}

/// Returns the prefix of a reverse proxy, without the slash at its end.
fn path_of(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    let mut segments = path.split('/').skip(1);
    let is_plain = path.parse::<Uri>().is_ok_and(|uri| uri.path() == path && uri.query().is_none());
    if path.is_empty() {
        Ok(String::new())
    } else if !is_plain || segments.any(|part| matches!(part, "" | "." | "..")) {
        Err("has a path that no proxy serves; write https://gateway/consul".into())
    } else if path.ends_with("/v1") {
        Err("ends in /v1, which every request adds; remove it".into())
    } else {
        Ok(path.to_owned())
    }
}

#[cfg(test)]
mod tests;
