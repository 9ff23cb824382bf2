//! Reads the environment variables of Consul's own tools.

use std::ffi::OsString;

use super::Config;
use crate::{error::ConfigError, secret::Secret};

/// Variables of Consul's tools that this crate does not support and that change trust,
/// identity or the place of the keys. A process that ignored one of them could send its
/// token to the wrong server, or lock in another place than its peers.
const UNSUPPORTED: [(&str, &str); 9] = [
    ("CONSUL_HTTP_AUTH", "HTTP basic authentication is not supported"),
    ("CONSUL_CACERT", BY_TLS),
    ("CONSUL_CAPATH", BY_TLS),
    ("CONSUL_CLIENT_CERT", BY_TLS),
    ("CONSUL_CLIENT_KEY", BY_TLS),
    ("CONSUL_TLS_SERVER_NAME", BY_TLS),
    ("CONSUL_NAMESPACE", "namespaces are not supported"),
    ("CONSUL_PARTITION", "admin partitions are not supported"),
    ("CONSUL_DATACENTER", "name an agent of that datacenter instead"),
];

const BY_TLS: &str = "give Builder::tls a client configuration instead";

impl Config {
    /// The defaults, overridden by the environment variables of Consul's own tools. Unset
    /// and empty variables have no effect.
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `CONSUL_HTTP_ADDR` | [`address`](Config::address): `http://`, `https://`, or, as in Consul's tools, `host:port`, `host` (port 80, or 443 over TLS), `:port` (this host) |
    /// | `CONSUL_HTTP_SSL` | if true, the scheme is `https://`, even if the address names another |
    /// | `CONSUL_HTTP_TOKEN_FILE` | a file with the token, read once by this call; overrides `CONSUL_HTTP_TOKEN` |
    /// | `CONSUL_HTTP_TOKEN` | [`token`](Config::token) |
    ///
    /// Unsupported variables that affect security are errors that name them:
    /// `CONSUL_HTTP_AUTH`, `CONSUL_HTTP_SSL_VERIFY` if false, `CONSUL_CACERT`,
    /// `CONSUL_CAPATH`, `CONSUL_CLIENT_CERT`, `CONSUL_CLIENT_KEY`,
    /// `CONSUL_TLS_SERVER_NAME`, `CONSUL_NAMESPACE`, `CONSUL_PARTITION`,
    /// `CONSUL_DATACENTER`. If one of them is set for other tools, use
    /// [`Dsync::builder`](crate::Dsync::builder), which reads no variable.
    ///
    /// # Errors
    /// [`ConfigError::Env`] names the variable and says what is wrong with it.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(std::env::var_os)
    }

    fn from_variables(
        variable: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let text = |name| match variable(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value).filter(|value| !value.trim().is_empty())),
            Some(Err(_)) => Err(refused(name, "is not valid Unicode")),
        };
        for (name, instead) in UNSUPPORTED {
            if variable(name).is_some_and(|value| !value.is_empty()) {
                return Err(refused(name, format!("is set and not honoured: {instead}")));
            }
        }
        let truth = |name| text(name)?.map(|value| truth(name, &value)).transpose();
        if truth("CONSUL_HTTP_SSL_VERIFY")? == Some(false) {
            let why = "is false and not honoured: certificates are always verified";
            return Err(refused("CONSUL_HTTP_SSL_VERIFY", why));
        }
        let mut config = Self::default();
        let https = truth("CONSUL_HTTP_SSL")? == Some(true);
        let named = text("CONSUL_HTTP_ADDR")?;
        if let Some(address) = named.or_else(|| https.then(|| "127.0.0.1:8500".into())) {
            config.address = url(address.trim(), https);
        }
        config.token = match text("CONSUL_HTTP_TOKEN_FILE")? {
            Some(path) => token_in(&path)?,
            None => None,
        };
        if config.token.is_none() {
            config.token = text("CONSUL_HTTP_TOKEN")?.map(Secret::new);
        }
        Ok(config)
    }
}

/// Returns the address as a URL. With `https`, the scheme is never `http`.
fn url(address: &str, https: bool) -> String {
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) if https && scheme.eq_ignore_ascii_case("http") => ("https", rest),
        Some((scheme, rest)) => (scheme, rest),
        None => (if https { "https" } else { "http" }, address),
    };
    let host = if rest.starts_with(':') { "localhost" } else { "" };
    format!("{scheme}://{host}{rest}")
}

/// Parses the booleans that Consul's tools accept.
fn truth(name: &'static str, value: &str) -> Result<bool, ConfigError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(refused(name, "is neither true nor false")),
    }
}

fn token_in(path: &str) -> Result<Option<Secret>, ConfigError> {
    let token = std::fs::read_to_string(path)
        .map_err(|error| refused("CONSUL_HTTP_TOKEN_FILE", format!("cannot be read: {error}")))?;
    Ok(Some(Secret::new(token)).filter(|token| !token.is_blank()))
}

fn refused(name: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Env { name, why: why.into() }
}

#[cfg(test)]
mod tests;
