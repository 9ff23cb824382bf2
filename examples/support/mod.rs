//! The Consul of the recipes: the one that `CONSUL_HTTP_ADDR` names, otherwise one in this process.

use actix_dsync::{Builder, ConfigError, Dsync, Timing, embedded::Embedded};

/// Where the replicas of a recipe keep their locks.
pub(crate) struct Store(Option<Embedded>);

impl Store {
    pub(crate) fn find() -> Self {
        let named = std::env::var_os("CONSUL_HTTP_ADDR").is_some_and(|value| !value.is_empty());
        // At their TTL, the earliest that Consul allows, so that the recipes are quick.
        Self((!named).then(|| Embedded::new().strict_ttl(true)))
    }

    /// A replica with a session of its own, as if it were another process.
    pub(crate) fn replica(&self, service: &str) -> Result<Builder, ConfigError> {
        let builder = match &self.0 {
            Some(embedded) => Dsync::builder(service).embedded(&embedded.link()),
            None => Dsync::from_env(service)?,
        };
        Ok(builder.prefix("recipes").timing(Timing::fast_failover()))
    }
}
