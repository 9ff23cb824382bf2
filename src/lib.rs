//! Distributed locks on Consul for actix services: a holder knows that it has
//! lost a lock before anyone else can hold it.
//!
//! # What to know first
//! - **A lock without a token check is advisory.** A write that is already on its
//!   way cannot be called back. Hand [`Lease::token`] to the protected resource and
//!   let that refuse older tokens.
//! - A [`Dsync`] is the one handle to a process's locks. Clone it, share it, and
//!   speak to it by messages: [`Acquire`], [`TryAcquire`], [`Release`], [`Inspect`],
//!   [`Campaign`].
//! - A granted request is a [`Lease`]. Ask [`Lease::is_valid`] before an act that
//!   cannot be fenced, or put the work into [`Lease::run`], which stops it at the
//!   moment of loss. Dropping the lease gives the lock back.
//! - What only one process is to do is an actor, a [`Singleton`], or a future, by
//!   [`Dsync::while_leading`] or, once a period, [`Dsync::every`].
//! - At the end of a service call [`Dsync::hand_over`] first, where it campaigns,
//!   and [`Dsync::shutdown`] last, so that others need not wait for the session to
//!   expire.
//!
//! # Example
//! ```no_run
//! use std::time::Duration;
//!
//! use actix_dsync::{Acquire, Dsync, FencingToken, Key, Release};
//!
//! # async fn charge_card(order: &str, fence: FencingToken) -> std::io::Result<()> { Ok(()) }
//! #[actix::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let dsync = Dsync::from_env("orders")?.start()?;
//!
//!     let key = Key::join(["orders", "7"])?;
//!     let lease = dsync.send(Acquire::new(key).within(Duration::from_secs(2))).await?;
//!     lease.run(charge_card("7", lease.token())).await??;
//!     let _ = dsync.send(Release(lease)).await?;
//!
//!     dsync.shutdown(Duration::from_secs(5)).await?;
//!     Ok(())
//! }
//! ```
//!
//! The runtime has a thread and an actix System of its own, so handlers that
//! block do not delay renewals, and it works under `#[tokio::main]` as well.
//!
//! # Leadership
//! A [`Campaign`] contends for a key again and again, until [`Resign`] or shutdown.
//! Its [`Tenure`] says at any moment, without a message, whether this process leads;
//! each [`Term`] is one leadership with a token of its own, in which work can be
//! [run](Term::run). [`Elected`], [`Deposed`] and [`LeaderChanged`] tell of it, and
//! [`Observe`] follows a leader without contending.
//!
//! ```no_run
//! use actix_dsync::{Campaign, Dsync, FencingToken};
//!
//! # async fn rebuild_until_dropped(fence: FencingToken) {}
//! # async fn example(dsync: &Dsync) -> Result<(), actix_dsync::Error> {
//! let tenure = dsync.send(Campaign::default()).await?;
//! loop {
//!     let term = tenure.elected().await;
//!     // Stopped at the moment at which this process leads no more.
//!     if term.run(rebuild_until_dropped(term.token())).await.is_ok() {
//!         return Ok(());
//!     }
//! }
//! # }
//! ```
//!
//! # Guarantees
//! - *Self-fencing.* From the moment at which another session can acquire a key,
//!   no [`Lease`] on it says that it is valid. That is judged by a monotonic clock
//!   at the moment of the question: it holds while the network is silent, Consul is
//!   frozen, or this process was stopped and continued. Once false, false for ever.
//! - *Loss is told.* Every ownership that ends other than by its owner's release
//!   ends with exactly one [`LockLost`] to each subscriber, and wakes
//!   [`Lease::lost`]; every term ends with exactly one [`Deposed`].
//! - *Fencing tokens grow.* Successive owners of a key, in whatever process, have
//!   strictly increasing tokens.
//! - *Nothing leaks.* A request that timed out or whose reply was dropped leaves
//!   nothing locked and nothing contending.
//! - *No false loss.* A short interruption, a failed renewal or a slow reply costs
//!   no lock, as long as a renewal is answered before the deadline.
//! - *Release is fenced.* A late or repeated release never frees a newer ownership.
//!
//! The module [`safety`] has them in full.
//!
//! # What a lock cannot do
//! The guarantees assume that the rates of clocks differ by less than
//! [`Timing::clock_drift`], and that Consul keeps a session for its TTL and a key
//! closed for its lock-delay. Outside of that only the token protects:
//! - an operator who deletes the key, or releases it in our name, lets the next
//!   owner in at once;
//! - a virtual machine that its hypervisor pauses, migrates or clones is covered by
//!   no clock inside it;
//! - a server that becomes leader from a snapshot inside a lock-delay has forgotten
//!   that delay;
//! - a store that was replaced by an older one counts its tokens from there;
//! - processes configured for different datacenters do not exclude each other.
//!
//! # Features
//! - `embedded`: the module `embedded`, a Consul-compatible agent in the process,
//!   for demos and tests.
//! - `tls`: `https://` addresses, with a rustls client configuration of the caller's.
//! - `web`: the module `web`, for actix-web services. [`Dsync`] and [`Tenure`] are
//!   extractors and errors are responses; `LockPath` locks what a path names for the time of a request;
//!   `Leader` and `LeaderOnly` are for handlers that only the leader runs; and there
//!   are routes for health checks and a status page.
//! - `metrics`: counts and measures for the `metrics` facade; see [`telemetry`].
//!
//! None is on by default.

mod actors;
mod clock;
mod config;
mod consul;
mod dsync;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod escape;
mod holding;
mod host;
mod key;
mod messages;
#[cfg(test)]
mod mutation;
mod ownership;
mod protocol;
mod secret;
#[cfg(test)]
mod simulation;
mod status;
mod token;
mod value;
#[cfg(feature = "web")]
pub mod web;
mod work;

pub use config::{Config, HASHICORP_LOCK_FLAGS, Limits, Retention, Timing};
pub use dsync::{Builder, Dsync, Reply, Request};
pub use error::{ConfigError, Error, Step};
pub use holding::{
    lease::Lease,
    observer::{Leadership, Observer},
    tenure::Tenure,
    term::Term,
};
pub use key::Key;
pub use messages::{
    Acquire, Campaign, Deposed, Elected, Event, Events, Explain, Filter, Inspect, LeaderChanged,
    List, LockAcquired, LockLost, LockReleased, Observe, Release, Resign, Subscribe,
    SubscriptionId, TryAcquire, Unsubscribe,
};
pub use ownership::{Holder, LossReason, Lost, Released};
pub use secret::Secret;
pub use status::telemetry;
pub use token::{FencingToken, InvalidToken};
pub use value::LockValue;
pub use work::{Singleton, SingletonHandle, Turn};

// Their types are in our signatures.
pub use actix;
#[cfg(feature = "web")]
pub use actix_web;
#[cfg(feature = "tls")]
pub use rustls;

pub mod report {
    //! What a runtime knows of itself, for people and for monitoring: the replies of
    //! [`Dsync::health`](crate::Dsync::health), [`Dsync::explain`](crate::Dsync::explain)
    //! and [`Dsync::list`](crate::Dsync::list).
    //!
    //! Everything here is what *this process* knows at one moment. As JSON, durations
    //! are whole milliseconds and their fields end in `_ms`. Nothing here is secret:
    //! the values of keys are what everybody may read who may read Consul.

    pub use crate::{
        ownership::KeyState,
        status::report::{
            HealthReport, Incident, KeyReport, Report, Role, Saturation, SessionReport,
        },
    };
}

#[doc = include_str!("../docs/safety.md")]
pub mod safety {}

#[cfg(all(doctest, feature = "web"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
