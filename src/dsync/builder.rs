//! The settings of a runtime.

use std::{
    fmt,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    description::Description,
    handle::{Dsync, Inner},
    launch::Plan,
    reach::Reach,
};
use crate::{
    actors::Settings,
    clock::Clock,
    config::{Config, Limits, Login, Retention, Timing, TlsSettings},
    consul::{ask::Checks, session_name::session_name},
    dsync::intake::Defaults,
    error::ConfigError,
    holding::slots::{SlotSettings, Slots},
    key::Key,
    logs,
    secret::Secret,
    status::{journal::Journal, telemetry::Telemetry},
    value::LockValue,
};

/// The settings of a runtime, which [`start`](Builder::start) starts.
///
/// ```no_run
/// use actix_dsync::{Dsync, Timing};
///
/// # fn main() -> Result<(), actix_dsync::ConfigError> {
/// let dsync = Dsync::builder("billing")
///     .address("http://127.0.0.1:8500")
///     .prefix("shop")
///     .timing(Timing::patient())
///     .start()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    service: String,
    config: Config,
    description: Description,
    transport: Transport,
    current_arbiter: bool,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// The way to reach Consul.
enum Transport {
    /// The runtime's own connections to the configured address.
    Own,
    /// An agent in this process.
    #[cfg(feature = "embedded")]
    Embedded(crate::embedded::Embedded),
}

impl Dsync {
    /// Creates a builder for a runtime of the given service.
    ///
    /// The runtime names its Consul session `<service>#<number>`, and the service's leadership
    /// `service/<service>/leadership`. [`start`](Builder::start) refuses a service name that is
    /// empty or contains a control character.
    pub fn builder(service: impl Into<String>) -> Builder {
        Builder::new(service.into())
    }

    /// Like [`builder`](Dsync::builder), with the settings of [`Config::from_env`].
    ///
    /// # Errors
    /// [`ConfigError::Env`].
    pub fn from_env(service: impl Into<String>) -> Result<Builder, ConfigError> {
        Ok(Self::builder(service).config(Config::from_env()?))
    }
}

impl Builder {
    pub(super) fn new(service: String) -> Self {
        Self {
            service,
            config: Config::default(),
            description: Description::default(),
            transport: Transport::Own,
            current_arbiter: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Takes all settings from `config`. They replace every setting of [`Config`] that was made
    /// before, those of [`Dsync::from_env`] and [`prefix`](Self::prefix) included: call it first.
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Sets [`Config::address`].
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.config.address = address.into();
        self
    }

    /// Sets [`Config::token`].
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.config.token = Some(token.into());
        self
    }

    /// Sets [`Config::token_file`].
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.token_file = Some(path.into());
        self
    }

    /// Sets [`Config::login`].
    pub fn login(mut self, login: Login) -> Self {
        self.config.login = Some(login);
        self
    }

    /// Sets [`Config::http_auth`].
    pub fn http_auth(mut self, user_and_password: impl Into<Secret>) -> Self {
        self.config.http_auth = Some(user_and_password.into());
        self
    }

    /// Sets [`Config::tls`].
    pub fn tls_settings(mut self, tls: TlsSettings) -> Self {
        self.config.tls = tls;
        self
    }

    /// Sets [`Config::namespace`].
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.config.namespace = Some(namespace.into());
        self
    }

    /// Sets [`Config::partition`].
    pub fn partition(mut self, partition: impl Into<String>) -> Self {
        self.config.partition = Some(partition.into());
        self
    }

    /// Sets [`Config::datacenter`].
    pub fn datacenter(mut self, datacenter: impl Into<String>) -> Self {
        self.config.datacenter = Some(datacenter.into());
        self
    }

    /// Sets [`Config::prefix`].
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.config.prefix = Some(prefix.into());
        self
    }

    /// Sets [`Config::timing`].
    pub fn timing(mut self, timing: Timing) -> Self {
        self.config.timing = timing;
        self
    }

    /// Sets [`Config::retention`].
    pub fn retention(mut self, retention: Retention) -> Self {
        self.config.retention = retention;
        self
    }

    /// Sets [`Config::limits`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Sets [`Config::flags`].
    pub fn flags(mut self, flags: u64) -> Self {
        self.config.flags = flags;
        self
    }

    /// Sets [`Config::era`].
    pub fn era(mut self, era: u8) -> Self {
        self.config.era = era;
        self
    }

    /// Sets [`Config::node_checks`].
    pub fn node_checks(mut self, checks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.config.node_checks = checks.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`Config::warn_after`].
    pub fn warn_after(mut self, span: Duration) -> Self {
        self.config.warn_after = Some(span);
        self
    }

    /// Sets [`Config::service_checks`].
    pub fn service_checks(mut self, checks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.config.service_checks = checks.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`Config::metrics_by_key`].
    pub fn metrics_by_key(mut self, by_key: bool) -> Self {
        self.config.metrics_by_key = by_key;
        self
    }

    /// Sets the value of held keys, unless a request sets its own. A leader's key has the
    /// default value; if this value is a JSON object, its fields are added. Any other value
    /// replaces the default, for leaders too, and cannot be combined with
    /// [`advertise`](Self::advertise), [`advertise_path`](Self::advertise_path) and
    /// [`build`](Self::build), which are fields of it.
    ///
    /// Default: a JSON document with `service`, `binary` (the file name of the program),
    /// `host`, `pid` and `started`, the start of the runtime in seconds since 1970; and
    /// `address`, `port`, `path` and `build`, if they are set.
    pub fn value(mut self, value: impl Into<LockValue>) -> Self {
        self.description.value = Some(value.into());
        self
    }

    /// Sets the address at which other processes and clients reach this one. It is part of
    /// the default value of its keys, so that followers find the leader. `address` is a host
    /// name, which may end in a dot, or an IP address, without scheme, port or brackets.
    /// [`start`](Self::start) refuses anything else, port 0, and addresses such as `0.0.0.0`
    /// and `::`, which a server binds to and no client reaches.
    ///
    /// Default: no address, and nobody is redirected to this process.
    pub fn advertise(mut self, address: impl Into<String>, port: u16) -> Self {
        self.description.advertised = Some((address.into(), port));
        self
    }

    /// Sets the path below which this process serves at its [advertised](Self::advertise)
    /// address, such as `/orders`: the field `path` of the default value. It has at most
    /// 1024 bytes, begins with `/`, and has neither a query nor characters that a URL would
    /// escape; [`start`](Self::start) refuses anything else. Redirections to the leader keep
    /// the path of the request instead.
    ///
    /// Default: no path.
    pub fn advertise_path(mut self, path: impl Into<String>) -> Self {
        self.description.path = Some(path.into());
        self
    }

    /// Sets the build of the service, which is part of the default value of its keys. A
    /// follower logs a leader of another build.
    ///
    /// Default: no build.
    pub fn build(mut self, build: impl Into<String>) -> Self {
        self.description.build = Some(build.into());
        self
    }

    /// Sets a ready TLS configuration for `https://` addresses instead of the files of
    /// [`tls_settings`](Self::tls_settings). Of those settings, only `server_name` and
    /// `required` can be combined with it. HTTP/2 is offered unless the configuration's
    /// `alpn_protocols` are set: `http/1.1` alone demands HTTP/1.1. With an address that is
    /// plain `http`, [`start`](Builder::start) fails.
    #[cfg(feature = "tls")]
    pub fn tls(self, tls: Arc<rustls::ClientConfig>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Uses an agent in this process, without a socket, instead of the configured address.
    /// With [`on_current_arbiter`](Builder::on_current_arbiter), it follows Tokio's paused
    /// clock.
    #[cfg(feature = "embedded")]
    pub fn embedded(self, embedded: &crate::embedded::Embedded) -> Self {
        Self { transport: Transport::Embedded(embedded.clone()), ..self }
    }

    /// Runs the actors on the arbiter of the calling thread and on Tokio's clock, instead of
    /// on their own thread. Use it for tests with a paused clock: anything that blocks the
    /// thread delays renewals.
    pub fn on_current_arbiter(self) -> Self {
        Self { current_arbiter: true, ..self }
    }

    /// Starts the runtime. Consul need not be reachable: the runtime contends once it is.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings cannot work, or if no thread can be started.
    ///
    /// # Panics
    /// With [`on_current_arbiter`](Builder::on_current_arbiter), if called outside an actix
    /// System.
    pub fn start(self) -> Result<Dsync, ConfigError> {
        let plan = self.plan()?;
        let intake = if plan.settings.clock.is_boot() {
            plan.launch_on_thread()?
        } else {
            plan.launch(oneshot::channel().0)?
        };
        Ok(Dsync(Arc::new(Inner { intake, work: Arc::default() })))
    }

    fn plan(self) -> Result<Plan, ConfigError> {
        self.config.check()?;
        if self.service.is_empty() || self.service.chars().any(char::is_control) {
            return Err(ConfigError::OutOfRange {
                field: "service",
                value: format!("{:?}", self.service),
                range: "a name without control characters".into(),
            });
        }
        let (value, leader_value) = self.description.values(&self.service)?;
        let leadership = Key::join(["service", &self.service, "leadership"]);
        let config = self.config;
        warn_of_exceptions(&config.timing);
        let clock = if self.current_arbiter { Clock::tokio() } else { Clock::Boot };
        let telemetry = Telemetry::new(&self.service, config.metrics_by_key);
        let (limits, era) = (config.limits.clone(), config.checked_era());
        let reach = match self.transport {
            Transport::Own => Reach::of(
                &config,
                #[cfg(feature = "tls")]
                self.tls,
            )?,
            #[cfg(feature = "embedded")]
            Transport::Embedded(embedded) => Reach::Embedded(embedded),
        };
        let watches = limits.watches(reach.is_https());
        let instance = RandomState::new().build_hasher().finish() as u32;
        Ok(Plan {
            reach,
            prefix: config.prefix,
            settings: Settings {
                session_name: session_name(&self.service, instance),
                service: self.service,
                clock,
                timing: config.timing,
                retention: config.retention,
                flags: config.flags,
                checks: Checks { node: config.node_checks, service: config.service_checks },
                watches,
                warn_after: config.warn_after,
                journal: Arc::new(Journal::new(clock, telemetry.clone())),
            },
            slots: Slots::new(SlotSettings {
                clock,
                flags: config.flags,
                era,
                most_keys: limits.keys,
                most_waiters: limits.waiters_per_key,
                process: instance,
                telemetry,
            }),
            defaults: Defaults { value, leadership, leader_value },
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("service", &self.service)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Warns if the settings make an exception to the self-fencing guarantee.
fn warn_of_exceptions(timing: &Timing) {
    if timing.fast_failover && timing.lock_delay < timing.session_ttl {
        logs::warn!(
            "timing.fast_failover: if somebody ends the session early (an operator, an agent that \
             leaves, a failed check) while this process is cut off or stopped, another process can \
             have the lock {:?} later, before this one knows; only the fencing token protects then",
            timing.lock_delay
        );
    }
}
