//! The settings that Consul's own tools read from the environment.

use std::ffi::OsString;

use super::Config;
use crate::{error::ConfigError, secret::Secret};

/// Variables of Consul's tools that change who is trusted, who we are or where keys
/// are, and that this crate does not honour. A process that ignored one of them could
/// send its token to the wrong place, or lock in another place than its peers.
const NOT_HONOURED: [(&str, &str); 9] = [
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
    /// The defaults, changed by the variables that Consul's own tools read. Those that
    /// are not set, or empty, change nothing.
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `CONSUL_HTTP_ADDR` | [`address`](Config::address): `http://`, `https://`, or as Consul's tools read the rest: `host:port`, `host` (port 80, or 443 over TLS), `:port` (this host) |
    /// | `CONSUL_HTTP_SSL` | if true, `https://`, whatever the address says |
    /// | `CONSUL_HTTP_TOKEN_FILE` | a file with the token, read once, now; it comes before the next |
    /// | `CONSUL_HTTP_TOKEN` | [`token`](Config::token) |
    ///
    /// Variables that change security and are not honoured are errors that name them:
    /// `CONSUL_HTTP_AUTH`, `CONSUL_HTTP_SSL_VERIFY` if false, `CONSUL_CACERT`,
    /// `CONSUL_CAPATH`, `CONSUL_CLIENT_CERT`, `CONSUL_CLIENT_KEY`,
    /// `CONSUL_TLS_SERVER_NAME`, `CONSUL_NAMESPACE`, `CONSUL_PARTITION`,
    /// `CONSUL_DATACENTER`. To start a process where one of them is set for other
    /// tools, begin with [`Dsync::builder`](crate::Dsync::builder), which reads no
    /// variable.
    ///
    /// # Errors
    /// [`ConfigError::Env`], with the variable and what is wrong with it.
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
        for (name, instead) in NOT_HONOURED {
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

/// The address as a URL. Plain HTTP never comes of it where TLS was asked for.
fn url(address: &str, https: bool) -> String {
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) if https && scheme.eq_ignore_ascii_case("http") => ("https", rest),
        Some((scheme, rest)) => (scheme, rest),
        None => (if https { "https" } else { "http" }, address),
    };
    let host = if rest.starts_with(':') { "localhost" } else { "" };
    format!("{scheme}://{host}{rest}")
}

/// The values that Consul's tools take for yes and no.
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
mod tests {
    use super::*;

    fn read(variables: &[(&'static str, &str)]) -> Result<Config, String> {
        Config::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_is_read_as_consuls_tools_read_it() {
        for (address, ssl, url) in [
            ("", "", "http://127.0.0.1:8500"),
            ("", "true", "https://127.0.0.1:8500"),
            ("consul:8501", "", "http://consul:8501"),
            ("consul:8501", "true", "https://consul:8501"),
            ("consul:8501", "0", "http://consul:8501"),
            ("http://consul:8501", "1", "https://consul:8501"),
            ("https://consul:8501", "false", "https://consul:8501"),
            ("consul", "", "http://consul"),
            ("consul", "T", "https://consul"),
            (":8500", "", "http://localhost:8500"),
            (" consul:8500\n", "", "http://consul:8500"),
        ] {
            let config = read(&[("CONSUL_HTTP_ADDR", address), ("CONSUL_HTTP_SSL", ssl)]).unwrap();
            assert_eq!(config.address, url, "{address:?}, {ssl:?}");
            crate::consul::http::Address::parse(&config.address).unwrap();
        }
    }

    #[test]
    fn a_variable_that_changes_security_and_is_not_honoured_is_refused_by_name() {
        for (name, value) in NOT_HONOURED.map(|(name, _)| (name, "x")).into_iter().chain([
            ("CONSUL_HTTP_SSL_VERIFY", "false"),
            ("CONSUL_HTTP_SSL_VERIFY", "no"),
            ("CONSUL_HTTP_SSL", "yes"),
            ("CONSUL_HTTP_TOKEN_FILE", "/nonexistent/token"),
        ]) {
            let refused = read(&[(name, value)]).unwrap_err();
            assert!(refused.starts_with(&format!("environment variable {name}: ")), "{refused}");
            assert_eq!(read(&[(name, "")]), Ok(Config::default()));
        }
        read(&[("CONSUL_HTTP_SSL_VERIFY", "true")]).unwrap();
    }

    #[test]
    fn the_token_file_comes_before_the_token_unless_it_is_blank() {
        let file = std::env::temp_dir().join(format!("dsync-token-{}", std::process::id()));
        let path = file.to_str().unwrap();
        let both = [("CONSUL_HTTP_TOKEN_FILE", path), ("CONSUL_HTTP_TOKEN", "fixed")];
        for (content, token) in [("from-file\n", "from-file"), (" \n", "fixed")] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(read(&both).unwrap().token, Some(Secret::new(token)));
        }
        std::fs::remove_file(&file).unwrap();
        let error = read(&both).unwrap_err();
        assert!(error.contains("CONSUL_HTTP_TOKEN_FILE") && !error.contains("fixed"), "{error}");
    }
}
