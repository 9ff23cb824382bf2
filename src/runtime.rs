//! How a lock runtime starts, takes requests, and stops.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix::{Message, Recipient};
use tokio::sync::oneshot;

use crate::{
    actors::{Defaults, Event, Events, Intake, LockSupervisor, Pending, Settings, Slots, Stop},
    clock::Clock,
    config::{Config, Limits, Retention, Timing},
    consul::{
        client::Consul,
        http::{Address, HttpConfig},
    },
    error::{ConfigError, Error},
    key::Key,
    messages::{
        Acquire, Campaign, Explain, Filter, Inspect, List, Observe, Release, Resign, Subscribe,
        SubscriptionId, TryAcquire, Unsubscribe,
    },
    record::Record,
    report::{HealthReport, KeyReport, Report},
    secret::Secret,
    stake::{Ledger, Stake},
    telemetry::Telemetry,
    value::LockValue,
};

/// A handle to a lock runtime: the one way to its locks.
///
/// Clone it freely and share it with every worker, as `app_data` for instance;
/// it may be used from any thread and any tokio runtime. There is one Consul
/// session behind all clones.
///
/// # Ending
/// [`shutdown`](Dsync::shutdown) gives every lock back and destroys the session,
/// so that a waiter elsewhere has the lock at once: call it when
/// `HttpServer::run` has returned. When the last handle is dropped without it,
/// the runtime does the same in the background, for at most 5 s; a process that
/// exits before that is done leaves the session to its TTL.
#[derive(Clone)]
pub struct Dsync(Arc<Inner>);

struct Inner {
    intake: Intake,
    timing: Timing,
    work: Arc<Ledger>,
}

/// For how long a runtime without handles tries to end in good order.
const ABANDONED_LIMIT: Duration = Duration::from_secs(5);

impl Drop for Inner {
    fn drop(&mut self) {
        self.intake.supervisor.do_send(Stop { limit: ABANDONED_LIMIT, done: None });
    }
}

impl Dsync {
    /// Settings for a runtime of this service, which names the Consul session.
    pub fn builder(service: impl Into<String>) -> Builder {
        Builder {
            service: service.into(),
            config: Config::default(),
            value: None,
            advertised: None,
            build: None,
            transport: Transport::Own,
            current_arbiter: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// As [`builder`](Dsync::builder), with [`Config::from_env`].
    ///
    /// # Errors
    /// [`ConfigError::Env`].
    pub fn from_env(service: impl Into<String>) -> Result<Builder, ConfigError> {
        Ok(Self::builder(service).config(Config::from_env()?))
    }

    /// Sends a request. It is taken in at this call, in the order of calls; the
    /// reply is a future that may be awaited in any tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the reply cancels an acquisition and leaks nothing; see each
    /// request.
    pub fn send<M: Request>(&self, request: M) -> Reply<M> {
        Reply(request.submit(&self.0.intake))
    }

    /// The runtime as the recipient of one kind of request, for code in the
    /// style of actors and for mocks. Requests sent this way pass through a
    /// mailbox of actix.
    #[must_use]
    pub fn recipient<M: Request>(&self) -> Recipient<M> {
        M::recipient(&self.0.intake)
    }

    /// Events as a stream, from this call on, for code that is no actor.
    pub fn events<E: Event>(&self, of: impl Into<Filter>) -> Events<E> {
        self.0.intake.events(of.into())
    }

    /// Waits until there is a session with which locks can be had.
    ///
    /// # Errors
    /// If the attempt to create a session that is under way fails, why:
    /// [`Error::Unavailable`] or [`Error::Denied`]. The runtime goes on trying;
    /// call again to go on waiting. [`Error::Stopped`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ready(&self) -> Result<(), Error> {
        self.0.intake.ready().await
    }

    /// Whether the runtime works, without a message: it is answered from memory,
    /// also while the runtime's thread is stuck.
    #[must_use]
    pub fn health(&self) -> HealthReport {
        self.0.intake.health()
    }

    #[cfg(feature = "web")]
    pub(crate) fn report(&self) -> Report {
        self.0.intake.report()
    }

    pub(crate) fn intake(&self) -> &Intake {
        &self.0.intake
    }

    /// Binds work to a campaign, which is begun unless it goes on already.
    pub(crate) fn stake(&self, campaign: Campaign) -> Result<Stake, Error> {
        self.0.work.stake(|| self.0.intake.begin_campaign(campaign))
    }

    /// Whether it has ended otherwise than by a [`shutdown`](Self::shutdown).
    pub(crate) fn has_died(&self) -> bool {
        self.0.intake.record.has_died()
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.work
    }

    /// The timing in force.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.0.timing
    }

    /// Ends the runtime in good order: callers that wait are answered
    /// [`Error::Stopped`], leases that are out are lost with
    /// [`LossReason::Shutdown`](crate::LossReason::Shutdown), every key is given
    /// back, and the session destroyed. Calling it again waits for the same end.
    ///
    /// Work that is bound to leadership is stopped without being given time; call
    /// [`hand_over`](Dsync::hand_over) before.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if `limit` passed first; the runtime has ended all
    /// the same, and what it held is freed by the session's TTL.
    ///
    /// # Cancel safety
    /// Dropping the future does not call the end off.
    pub async fn shutdown(&self, limit: Duration) -> Result<(), Error> {
        self.0.intake.shutdown(limit).await
    }
}

impl fmt::Debug for Dsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dsync").field("timing", &self.0.timing).finish_non_exhaustive()
    }
}

/// The reply to a request.
///
/// Dropping it cancels an acquisition that has not been granted yet.
#[must_use = "dropping a reply cancels the request"]
pub struct Reply<M: Request>(Pending<M::Reply>);

impl<M: Request> Future for Reply<M> {
    type Output = Result<M::Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl<M: Request> fmt::Debug for Reply<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// What can be sent to a [`Dsync`]: the messages of this crate.
///
/// This trait is sealed.
pub trait Request: Message<Result: Send> + Send + Sized + 'static {
    /// What a granted request is answered with.
    type Reply: Send + 'static;

    #[doc(hidden)]
    fn submit(self, intake: &Intake) -> Pending<Self::Reply>;

    #[doc(hidden)]
    fn recipient(intake: &Intake) -> Recipient<Self>;
}

macro_rules! request {
    ($($request:ty => $method:ident -> $reply:ty $(where $event:ident)?),* $(,)?) => {$(
        impl$(<$event: Event>)? Request for $request {
            type Reply = $reply;

            fn submit(self, intake: &Intake) -> Pending<$reply> {
                intake.$method(self)
            }

            fn recipient(intake: &Intake) -> Recipient<Self> {
                intake.supervisor.clone().recipient()
            }
        }
    )*};
}

request! {
    Acquire => acquire -> crate::lease::Lease,
    TryAcquire => try_acquire -> crate::lease::Lease,
    Release => release -> crate::ownership::Released,
    Inspect => inspect -> Option<crate::ownership::Holder>,
    Explain => explain -> KeyReport,
    List => list -> Report,
    Campaign => campaign -> crate::tenure::Tenure,
    Resign => resign -> Option<crate::ownership::Released>,
    Observe => observe -> crate::observer::Observer,
    Subscribe<E> => subscribe -> SubscriptionId where E,
    Unsubscribe => unsubscribe -> (),
}

/// Settings for a runtime, and its start.
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    service: String,
    config: Config,
    value: Option<LockValue>,
    advertised: Option<(String, u16)>,
    build: Option<String>,
    transport: Transport,
    current_arbiter: bool,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// Over what Consul is reached.
enum Transport {
    /// Connections of the runtime's own, to the configured address.
    Own,
    /// An agent in this process.
    #[cfg(feature = "embedded")]
    Embedded(crate::embedded::Embedded),
}

impl Builder {
    /// Takes all settings from `config`.
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

    /// Sets [`Config::metrics_by_key`].
    pub fn metrics_by_key(mut self, by_key: bool) -> Self {
        self.config.metrics_by_key = by_key;
        self
    }

    /// What keys say while they are held, where a request names nothing else. A
    /// leader's key says the default with the fields of this added, if it is a
    /// JSON object.
    ///
    /// Default: a JSON document with `service`, `host`, `pid` and `started`, the
    /// second since 1970 at which the runtime was started; and `address`, `port`
    /// and `build` as far as they are told.
    pub fn value(self, value: impl Into<LockValue>) -> Self {
        Self { value: Some(value.into()), ..self }
    }

    /// Where this process can be reached by others: in the default value of its
    /// keys, so that followers find the leader.
    ///
    /// Default: nothing is said.
    pub fn advertise(self, address: impl Into<String>, port: u16) -> Self {
        Self { advertised: Some((address.into(), port)), ..self }
    }

    /// Which build of the service this is: in the default value of its keys.
    ///
    /// Default: nothing is said.
    pub fn build(self, build: impl Into<String>) -> Self {
        Self { build: Some(build.into()), ..self }
    }

    /// How `https://` addresses are spoken to: trusted roots, and a client
    /// certificate where Consul wants one. HTTP/2 is offered.
    #[cfg(feature = "tls")]
    pub fn tls(self, tls: Arc<rustls::ClientConfig>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Uses an agent in this process instead of the configured address, without
    /// a socket. Under [`on_current_arbiter`](Builder::on_current_arbiter) it
    /// obeys tokio's paused clock.
    #[cfg(feature = "embedded")]
    pub fn embedded(self, embedded: &crate::embedded::Embedded) -> Self {
        Self { transport: Transport::Embedded(embedded.clone()), ..self }
    }

    /// Runs the actors on the arbiter of the calling thread instead of a thread
    /// of their own, by tokio's clock. It is for tests with a paused clock:
    /// whatever blocks that thread delays renewals.
    pub fn on_current_arbiter(self) -> Self {
        Self { current_arbiter: true, ..self }
    }

    /// Starts the runtime. Consul need not be there: it contends when Consul
    /// appears.
    ///
    /// # Errors
    /// [`ConfigError`] for settings that cannot work, or if no thread could be
    /// started.
    ///
    /// # Panics
    /// With [`on_current_arbiter`](Builder::on_current_arbiter), outside an
    /// actix System.
    pub fn start(self) -> Result<Dsync, ConfigError> {
        let timing = self.config.timing;
        let plan = self.plan()?;
        let intake = if plan.settings.clock.is_boot() {
            plan.launch_on_thread()?
        } else {
            plan.launch(oneshot::channel().0)?
        };
        Ok(Dsync(Arc::new(Inner { intake, timing, work: Arc::default() })))
    }

    fn defaults(&self) -> Result<Defaults, ConfigError> {
        let mut ours = own_description(&self.service);
        if let Some((address, port)) = &self.advertised {
            ours["address"] = address.as_str().into();
            ours["port"] = (*port).into();
        }
        if let Some(build) = &self.build {
            ours["build"] = build.as_str().into();
        }
        let ours = LockValue::Json(ours);
        let value = self.value.clone().unwrap_or_else(|| ours.clone());
        let in_config = |error| ConfigError::Conflict(format!("the {error}"));
        Ok(Defaults {
            value: value.to_bytes().map_err(in_config)?.into(),
            leadership: Key::join(["service", &self.service, "leadership"]),
            leader_value: value.extending(&ours),
        })
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
        let defaults = self.defaults()?;
        let config = self.config;
        warn_of_exceptions(&config.timing);
        let clock = if self.current_arbiter { Clock::tokio() } else { Clock::Boot };
        let telemetry = Telemetry::new(&self.service, config.metrics_by_key);
        let limits = config.limits;
        let (reach, watches) = match self.transport {
            Transport::Own => {
                let address = Address::parse(&config.address)
                    .map_err(|why| ConfigError::Conflict(format!("address {why}")))?;
                let watches = limits.watches(address.is_https());
                let http = HttpConfig {
                    address,
                    token: config.token,
                    renewals: Limits::RENEWALS,
                    calls: Limits::WRITES,
                    watches,
                    #[cfg(feature = "tls")]
                    tls: self.tls,
                };
                (Reach::Http(Box::new(http)), watches)
            }
            #[cfg(feature = "embedded")]
            Transport::Embedded(embedded) => (Reach::Embedded(embedded), limits.watches(false)),
        };
        Ok(Plan {
            reach,
            prefix: config.prefix,
            settings: Settings {
                service: self.service,
                clock,
                timing: config.timing,
                retention: config.retention,
                flags: config.flags,
                node_checks: config.node_checks,
                watches,
                record: Arc::new(Record::new(clock, telemetry.clone())),
            },
            slots: Slots::new(
                clock,
                config.flags,
                limits.keys,
                limits.waiters_per_key,
                std::process::id(),
                telemetry,
            ),
            defaults,
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

/// Everything that a runtime needs, checked, on its way to its thread.
struct Plan {
    reach: Reach,
    prefix: Option<String>,
    settings: Settings,
    slots: Slots,
    defaults: Defaults,
}

enum Reach {
    Http(Box<HttpConfig>),
    #[cfg(feature = "embedded")]
    Embedded(crate::embedded::Embedded),
}

impl Plan {
    fn launch(self, finished: oneshot::Sender<()>) -> Result<Intake, ConfigError> {
        let consul = match &self.reach {
            Reach::Http(config) => Consul::over_http(config, self.prefix.as_deref())
                .map_err(|why| ConfigError::Conflict(format!("address {why}")))?,
            #[cfg(feature = "embedded")]
            Reach::Embedded(embedded) => {
                Consul::over_embedded(embedded.clone(), self.prefix.as_deref())
            }
        };
        Ok(LockSupervisor::launch(consul, self.settings, self.slots, self.defaults, finished))
    }

    /// A thread and System of their own: busy handlers cannot starve the actors.
    fn launch_on_thread(self) -> Result<Intake, ConfigError> {
        let (started, result) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("dsync".into()).spawn(move || {
            actix_rt::System::new().block_on(async move {
                let (finished, end) = oneshot::channel();
                let launched = self.launch(finished);
                let runs = launched.is_ok();
                if started.send(launched).is_ok() && runs {
                    // An error means that the supervisor died; then it is over, too.
                    let _ = end.await;
                }
            });
        })?;
        result.recv().unwrap_or_else(|_| {
            Err(ConfigError::Thread(std::io::Error::other("it ended before it had begun")))
        })
    }
}

/// What a process can say of itself.
fn own_description(service: &str) -> serde_json::Value {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let started = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    serde_json::json!({
        "service": service,
        "host": host,
        "pid": std::process::id(),
        "started": started,
    })
}

/// Says where the promise that a holder knows first has an exception.
fn warn_of_exceptions(timing: &Timing) {
    if timing.fast_failover && timing.lock_delay < timing.session_ttl {
        tracing::warn!(
            "timing.fast_failover: if somebody ends the session early (an operator, an agent that \
             leaves, a failed check) while this process is cut off or stopped, another process can \
             have the lock {:?} later, before this one knows; only the fencing token protects then",
            timing.lock_delay
        );
    }
}
