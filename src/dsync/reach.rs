//! How a runtime reaches its agent, as its settings say.

use crate::{
    config::{Config, Limits, TlsSettings},
    consul::{
        ask::Scope,
        credentials::TokenSource,
        http::{Address, HttpConfig},
    },
    error::ConfigError,
};

/// The way to an agent.
pub(super) enum Reach {
    Http {
        http: Box<HttpConfig>,
        token: TokenSource,
        scope: Scope,
    },
    #[cfg(feature = "embedded")]
    Embedded(crate::embedded::Embedded),
}

impl Reach {
    /// # Errors
    /// What is wrong with the settings.
    pub(super) fn of(
        config: &Config,
        #[cfg(feature = "tls")] ready_tls: Option<std::sync::Arc<rustls::ClientConfig>>,
    ) -> Result<Self, ConfigError> {
        let conflict = |why: String| Err(ConfigError::Conflict(why));
        let address = Address::parse(&config.address)
            .map_err(|why| ConfigError::Conflict(format!("address {why}")))?;
        let set = config.tls.first_set();
        #[cfg(feature = "tls")]
        let ready = ready_tls.as_ref().map(|_| "tls");
        #[cfg(not(feature = "tls"))]
        let ready = None;
        if let Some(field) = ready.or(set)
            && !address.is_https()
        {
            return conflict(match address.socket() {
                Some(_) => {
                    format!("{field} is set but address is a unix socket; remove one of them")
                }
                None => format!(
                    "{field} is set but address is plain http, over which the token would be sent \
                     in clear; write https:// before the host"
                ),
            });
        }
        let (server_name, required) = (config.tls.server_name.clone(), config.tls.required);
        let only_name = TlsSettings { server_name, required, ..Default::default() };
        if ready.is_some() && config.tls != only_name {
            return conflict(
                "a ready TLS configuration and settings of tls are both set; of the settings, only \
                 tls.server_name and tls.required can be beside it"
                    .into(),
            );
        }
        let token = match (&config.token_file, &config.login) {
            (_, Some(login)) => TokenSource::Login(login.clone()),
            (Some(path), None) => {
                TokenSource::File { path: path.clone(), fallback: config.token.clone() }
            }
            (None, None) => TokenSource::Fixed(config.token.clone()),
        };
        let http = HttpConfig {
            basic: config.http_auth.clone().filter(|secret| !secret.is_blank()),
            query: query(config),
            renewals: Limits::RENEWALS,
            calls: Limits::WRITES,
            watches: config.limits.watches(address.is_https()),
            tls: config.tls.clone(),
            #[cfg(feature = "tls")]
            ready_tls,
            address,
        };
        let scope =
            Scope { namespace: config.namespace.clone(), partition: config.partition.clone() };
        Ok(Self::Http { http: Box::new(http), token, scope })
    }

    pub(super) fn is_https(&self) -> bool {
        match self {
            Self::Http { http, .. } => http.address.is_https(),
            #[cfg(feature = "embedded")]
            Self::Embedded(_) => false,
        }
    }
}

/// The part of every request's query that says where the keys are. Names need no escape.
fn query(config: &Config) -> String {
    let parts =
        [("dc", &config.datacenter), ("ns", &config.namespace), ("partition", &config.partition)];
    let parts = parts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    parts.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Dsync;

    #[test]
    fn tls_with_a_plain_address_is_refused_before_a_token_could_be_sent() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let tls = Arc::new(tls);
        for address in ["localhost:8501", "http://localhost:8501", "HTTP://localhost"] {
            let builder = Dsync::builder("s").address(address).token("t").tls(tls.clone());
            let refused = builder.start().unwrap_err().to_string();
            assert!(refused.contains("https://"), "{address}: {refused}");
        }
        assert!(Dsync::builder("s").tls(tls.clone()).start().is_err(), "the default is plain");
        let builder = Dsync::builder("s").tls_settings(TlsSettings::default().with_required(true));
        builder.address("https://localhost:1").tls(tls).start().unwrap();
    }

    #[test]
    fn an_address_that_is_set_after_the_environment_asked_for_tls_must_use_it() {
        let variable = |name| (name == "CONSUL_HTTP_SSL").then(|| "true".into());
        let config = Config::from_variables(variable).unwrap();
        let at = |address| {
            Dsync::builder("s").config(config.clone()).token("t").address(address).start()
        };
        for address in ["consul:8501", "http://consul:8501"] {
            let refused = at(address).unwrap_err().to_string();
            assert!(refused.contains("tls.required") && refused.contains("https://"), "{refused}");
        }
        at("https://localhost:1").unwrap();
    }
}
