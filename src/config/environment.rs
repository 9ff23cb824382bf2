//! Reads the environment variables of Consul's own tools, and this crate's own.

use std::{ffi::OsString, path::PathBuf};

use super::{Config, Login};
use crate::{error::ConfigError, secret::Secret, token::Era};

/// Variables of Consul's tools that this crate does not support and that change identity. A
/// process that ignored one of them could log in as somebody else than its peers.
const UNSUPPORTED: [(&str, &str); 3] = [
    ("CONSUL_LOGIN_DATACENTER", BY_LOGIN),
    ("CONSUL_LOGIN_NAMESPACE", BY_LOGIN),
    ("CONSUL_LOGIN_PARTITION", BY_LOGIN),
];

const BY_LOGIN: &str = "the login uses the namespace, partition and datacenter of the keys";

impl Config {
    /// The defaults, overridden by the environment variables of Consul's own tools, with the
    /// precedence of HashiCorp's client. Unset and empty variables have no effect.
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `CONSUL_HTTP_ADDR` | [`address`](Config::address): `http://`, `https://`, `unix://`, or, as in Consul's tools, `host:port`, `host` (port 80, or 443 over TLS), `:port` (this host) |
    /// | `CONSUL_HTTP_SSL` | if true, the scheme is `https://`, even if the address names `http://`, and an address that is set later must use it: [`required`](crate::config::TlsSettings::required) |
    /// | `CONSUL_HTTP_TOKEN_FILE` | [`token_file`](Config::token_file); overrides `CONSUL_HTTP_TOKEN` unless it is blank |
    /// | `CONSUL_HTTP_TOKEN` | [`token`](Config::token) |
    /// | `CONSUL_HTTP_AUTH` | [`http_auth`](Config::http_auth) |
    /// | `CONSUL_CACERT`, `CONSUL_CAPATH` | [`ca_file`](crate::config::TlsSettings::ca_file); [`ca_path`](crate::config::TlsSettings::ca_path), unless `CONSUL_CACERT` is set |
    /// | `CONSUL_CLIENT_CERT`, `CONSUL_CLIENT_KEY` | [`client_cert`](crate::config::TlsSettings::client_cert), [`client_key`](crate::config::TlsSettings::client_key) |
    /// | `CONSUL_TLS_SERVER_NAME` | [`server_name`](crate::config::TlsSettings::server_name); a port at its end is ignored |
    /// | `CONSUL_HTTP_SSL_VERIFY` | [`verify`](crate::config::TlsSettings::verify) |
    /// | `CONSUL_NAMESPACE`, `CONSUL_PARTITION`, `CONSUL_DATACENTER` | [`namespace`](Config::namespace), [`partition`](Config::partition), [`datacenter`](Config::datacenter) |
    /// | `DSYNC_ERA` | [`era`](Config::era), 0 to 127 |
    /// | `CONSUL_LOGIN_AUTH_METHOD`, `CONSUL_LOGIN_BEARER_TOKEN_FILE`, `CONSUL_LOGIN_META` | [`login`](Config::login); the metadata is `name=value,name=value` |
    ///
    /// A variable that is set and cannot be honoured is an error that names it: a variable
    /// about TLS beside an address without TLS, a truth value that is neither true nor false,
    /// `CONSUL_LOGIN_DATACENTER`, `CONSUL_LOGIN_NAMESPACE` and `CONSUL_LOGIN_PARTITION`. If
    /// such a variable is set for other tools, use [`Dsync::builder`](crate::Dsync::builder),
    /// which reads no variable.
    ///
    /// # Errors
    /// [`ConfigError::Env`] names the variable and says what is wrong with it. So does an
    /// unreadable token file.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(std::env::var_os)
    }

    pub(crate) fn from_variables(
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
        let mut config = Self::default();
        let https = truth("CONSUL_HTTP_SSL")? == Some(true);
        let named = text("CONSUL_HTTP_ADDR")?;
        if let Some(address) = named.or_else(|| https.then(|| "127.0.0.1:8500".into())) {
            config.address = url(address.trim(), https);
        }
        let speaks_tls = starts_with_scheme(&config.address, "https");
        if https && !speaks_tls {
            let why = "is true, and CONSUL_HTTP_ADDR names no address that can use TLS";
            return Err(refused("CONSUL_HTTP_SSL", why));
        }
        let for_tls = |name| match text(name)? {
            Some(_) if !speaks_tls => Err(refused(name, WITHOUT_TLS)),
            value => Ok(value),
        };
        let tls = &mut config.tls;
        // Also of an address that is set later.
        tls.required = https;
        tls.ca_file = for_tls("CONSUL_CACERT")?.map(PathBuf::from);
        tls.ca_path = for_tls("CONSUL_CAPATH")?.map(PathBuf::from);
        tls.client_cert = for_tls("CONSUL_CLIENT_CERT")?.map(PathBuf::from);
        tls.client_key = for_tls("CONSUL_CLIENT_KEY")?.map(PathBuf::from);
        let server_name = for_tls("CONSUL_TLS_SERVER_NAME")?;
        tls.server_name = server_name.map(|name| without_port(name.trim()).to_owned());
        tls.verify = truth("CONSUL_HTTP_SSL_VERIFY")? != Some(false);
        if !tls.verify && !speaks_tls {
            return Err(refused("CONSUL_HTTP_SSL_VERIFY", WITHOUT_TLS));
        }
        config.token_file = text("CONSUL_HTTP_TOKEN_FILE")?.map(PathBuf::from);
        if let Some(path) = &config.token_file {
            // A pipe is not opened: it can be read once.
            let opened = match std::fs::metadata(path) {
                Ok(found) if found.is_file() => std::fs::File::open(path).map(drop),
                found => found.map(drop),
            };
            opened.map_err(|error| {
                refused("CONSUL_HTTP_TOKEN_FILE", format!("cannot be read: {error}"))
            })?;
        }
        config.token = text("CONSUL_HTTP_TOKEN")?.map(Secret::new);
        config.http_auth = text("CONSUL_HTTP_AUTH")?.map(Secret::new);
        config.namespace = text("CONSUL_NAMESPACE")?;
        config.partition = text("CONSUL_PARTITION")?;
        config.datacenter = text("CONSUL_DATACENTER")?;
        if let Some(era) = text(ERA)? {
            let known = era.trim().parse().ok().filter(|era| Era::new(*era).is_some());
            let range = || refused(ERA, format!("is {era}; it must be 0 to {}", Era::LAST));
            config.era = known.ok_or_else(range)?;
        }
        config.login = login(
            text("CONSUL_LOGIN_AUTH_METHOD")?,
            text("CONSUL_LOGIN_BEARER_TOKEN_FILE")?,
            text("CONSUL_LOGIN_META")?,
        )?;
        Ok(config)
    }
}

const ERA: &str = "DSYNC_ERA";
const WITHOUT_TLS: &str = "is set, and the address does not use TLS: set CONSUL_HTTP_SSL=true, or \
                           write https:// before the address";

fn login(
    method: Option<String>,
    file: Option<String>,
    meta: Option<String>,
) -> Result<Option<Login>, ConfigError> {
    let (method, file) = match (method, file) {
        (Some(method), Some(file)) => (method, file),
        (Some(_), None) => {
            let why = "is set without CONSUL_LOGIN_BEARER_TOKEN_FILE";
            return Err(refused("CONSUL_LOGIN_AUTH_METHOD", why));
        }
        (None, file) => {
            let others = [
                ("CONSUL_LOGIN_BEARER_TOKEN_FILE", file.is_some()),
                ("CONSUL_LOGIN_META", meta.is_some()),
            ];
            let set = others.into_iter().find_map(|(name, is_set)| is_set.then_some(name));
            let why = "is set without CONSUL_LOGIN_AUTH_METHOD";
            return set.map_or(Ok(None), |name| Err(refused(name, why)));
        }
    };
    let mut login = Login::new(method, file);
    for pair in meta.iter().flat_map(|meta| meta.split(',')) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(refused("CONSUL_LOGIN_META", "is no list of name=value,name=value"));
        };
        login = login.with_meta(name.trim(), value.trim());
    }
    Ok(Some(login))
}

fn starts_with_scheme(address: &str, scheme: &str) -> bool {
    address.split_once("://").is_some_and(|(found, _)| found.eq_ignore_ascii_case(scheme))
}

/// Returns a host without the port at its end.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // More than one colon without brackets is an IPv6 address.
        Some((host, _)) if host.ends_with(']') => host,
        Some((host, _)) if !host.contains(':') => host,
        _ => host,
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

fn refused(name: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Env { name, why: why.into() }
}

#[cfg(test)]
mod tests;
