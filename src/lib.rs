//! Distributed locks, leader election and semaphores on Consul for actix services. A holder
//! knows that it has lost a lock before anyone else can hold it.
//!
//! # What to know first
//! - **A lock without a token check is advisory.** A write that is already in flight
//!   cannot be recalled. Pass [`Lease::token`] to the protected resource and let it
//!   refuse older tokens. The token does not keep the *next* owner from repeating the
//!   work: check the state of what you write as well.
//! - [`Dsync`] is the handle to a process's locks. Clone it, share it, and send it
//!   messages: [`Acquire`], [`TryAcquire`], [`Release`], [`Inspect`], [`Campaign`].
//! - A granted request returns a [`Lease`]. Call [`Lease::is_valid`] before an operation
//!   that cannot be fenced, or run the work in [`Lease::run`], which stops it the moment
//!   the lock is lost. Dropping the lease releases the lock.
//! - Work for only one process at a time is an actor ([`Singleton`]) or a future
//!   ([`Dsync::while_leading`], or [`Dsync::every`] for once per period).
//! - When a service ends, call [`Dsync::hand_over`] first if it campaigns, and
//!   [`Dsync::shutdown`] last, so that other processes need not wait for the session to
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
//!     // The service's name, and the folder of its keys in Consul.
//!     let dsync = Dsync::from_env("billing")?.prefix("shop").start()?;
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
//! [`AcquireAll`] locks several keys at once, or none of them, and replies with a
//! [`LeaseSet`]. [`AcquirePermit`] takes one of a semaphore's permits.
//!
//! The runtime has its own thread and actix System. Handlers that block therefore do not
//! delay renewals, and the crate also works under `#[tokio::main]`.
//!
//! # Leadership
//! A [`Campaign`] contends for a key, and again after each loss, until [`Resign`] or
//! shutdown. Its [`Tenure`] reports at any moment, without a message, whether this
//! process leads. Each [`Term`] is one leadership with its own token, in which work can
//! be [run](Term::run). The events [`Elected`], [`Deposed`] and [`LeaderChanged`] report
//! changes, and [`Observe`] follows a leader without contending.
//!
//! ```no_run
//! use actix_dsync::{Campaign, Dsync, FencingToken};
//!
//! # async fn rebuild_until_dropped(fence: FencingToken) {}
//! # async fn example(dsync: &Dsync) -> Result<(), actix_dsync::Error> {
//! let tenure = dsync.send(Campaign::default()).await?;
//! loop {
//!     let term = tenure.elected().await;
//!     // Stopped the moment this process no longer leads.
//!     if term.run(rebuild_until_dropped(term.token())).await.is_ok() {
//!         return Ok(());
//!     }
//! }
//! # }
//! ```
//!
//! # Guarantees
//! - *Self-fencing.* From the moment at which another session can acquire a key, every
//!   [`Lease`] on it is invalid. [`Lease::is_valid`] reads a monotonic clock, so its answer is
//!   right while the network is silent, while Consul is frozen, and after this process was
//!   stopped and continued. Once false, it stays false.
//! - *Every loss is reported.* Every ownership that ends other than by its owner's
//!   release ends with exactly one [`LockLost`] to each subscriber, and completes
//!   [`Lease::lost`]. Every term ends with exactly one [`Deposed`].
//! - *Fencing tokens grow.* Successive owners of a key, in whatever process, have
//!   strictly increasing tokens.
//! - *Nothing leaks.* A request that timed out or whose reply was dropped leaves nothing
//!   locked and nothing contending.
//! - *No false loss.* A short interruption, a failed renewal or a slow reply loses no
//!   lock, as long as a renewal is answered before the deadline.
//! - *Releases are fenced.* A late or repeated release never frees a newer ownership.
//!
//! The module [`safety`] states them in full, and the module [`fencing`] says how a
//! resource checks tokens.
//!
//! # What a lock cannot do
//! The guarantees assume that the rates of clocks differ by less than
//! [`Timing::clock_drift`], and that Consul keeps a session for its TTL and a key closed
//! for its lock-delay. Beyond these assumptions, only the token protects:
//! - If an operator deletes the key, or releases it on our behalf, the next owner gets it
//!   at once.
//! - No clock inside a virtual machine detects that its hypervisor paused, migrated or
//!   cloned it.
//! - A server that becomes leader from a snapshot during a lock-delay does not know of
//!   that delay.
//! - If an older store replaces the current one, tokens continue from the older one.
//! - Processes configured for different datacenters do not exclude each other.
//!
//! # Features
//! - `embedded`: the module `embedded`, a Consul-compatible agent in the process,
//!   for demos and tests.
//! - `tls`: `https://` addresses, with CAs and a client certificate from files
//!   ([`TlsSettings`]) or a ready rustls client configuration.
//! - `web`: the module `web`, for actix-web services. [`Dsync`] and [`Tenure`] are
//!   extractors, and errors are responses. `LockPath` locks the resource that a path names
//!   for the duration of a request. `Leader` and `LeaderOnly` are for handlers that only
//!   the leader runs. There are routes for health checks and a status page.
//! - `cli`: the command-line tool `dsync`.
//! - `metrics`: counters, gauges and histograms for the `metrics` facade; see [`telemetry`].
//!
//! No feature is on by default. A [guide] and [recipes] are in the repository.
//!
//! [`Deposed`]: events::Deposed
//! [`Elected`]: events::Elected
//! [`LeaderChanged`]: events::LeaderChanged
//! [`LockLost`]: events::LockLost
//! [`Singleton`]: jobs::Singleton
//! [`TlsSettings`]: config::TlsSettings
//! [guide]: https://docs.rs/crate/actix-dsync/latest/source/docs/SUMMARY.md
//! [recipes]: https://docs.rs/crate/actix-dsync/latest/source/examples/

#![cfg_attr(docsrs, feature(doc_cfg))]

mod actors;
mod clock;
pub mod config;
mod consul;
mod dsync;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod escape;
#[cfg(test)]
mod fuzz;
mod holding;
mod host;
#[cfg(test)]
mod house;
mod key;
mod logs;
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

pub use config::{Config, Timing};
pub use dsync::{Builder, Dsync, Reply, Request};
pub use error::{ConfigError, Error, Step};
pub use holding::{
    claim::Claim,
    lease::Lease,
    lease_set::LeaseSet,
    observer::{Leadership, Observer},
    tenure::Tenure,
    term::Term,
};
pub use key::Key;
pub use messages::{
    Acquire, AcquireAll, AcquirePermit, Campaign, Explain, Inspect, List, Observe, Release,
    ReleaseAll, Resign, TryAcquire, TryAcquirePermit, UpdateValue,
};
pub use ownership::{Holder, LossReason, Lost, Released};
pub use status::telemetry;
pub use token::{FencingToken, InvalidToken};
pub use value::LockValue;

// Their types are in our signatures.
pub use actix;
#[cfg(feature = "web")]
pub use actix_web;
#[cfg(feature = "tls")]
pub use rustls;
pub use serde_json;

pub mod admin {
    //! For operators: who holds what, and how to take a lock from its holder.

    pub use crate::messages::{ForceRelease, HeldKey, Holders, StepDown};
}

pub mod events {
    //! What happens to the locks and the leadership of a process, and how actors
    //! subscribe to it.

    pub use crate::messages::{
        Deposed, Elected, Event, Events, Filter, ForceReleased, LeaderChanged, LockAcquired,
        LockLost, LockReleased, SteppedDown, Subscribe, SubscriptionId, Unsubscribe,
    };
}

pub mod jobs {
    //! Work that one process does at a time.

    pub use crate::work::{Missed, Period, Schedule, Singleton, SingletonHandle, Turn};
}

pub mod report {
    //! What a runtime knows of itself, for people and for monitoring: the replies of
    //! [`Dsync::health`](crate::Dsync::health), [`Dsync::explain`](crate::Dsync::explain),
    //! [`Dsync::list`](crate::Dsync::list) and
    //! [`Dsync::preflight`](crate::Dsync::preflight).
    //!
    //! Everything here is what *this process* knows at one moment. As JSON, durations
    //! are whole milliseconds and their fields end in `_ms`. There are no ACL tokens
    //! and no passwords in it, but keys, the values of holders and answers of Consul: show it to
    //! operators only.

    pub use crate::{
        ownership::KeyState,
        status::findings::{Check, Finding, Preflight, Verdict},
        status::report::{
            Change, HealthReport, Incident, KeyReport, Report, Role, Saturation, SessionReport,
            StuckJob, What,
        },
        status::why::{Hindrance, Why},
    };
}

/// For the tool `dsync`, and no part of the public API.
#[doc(hidden)]
pub mod tool {
    pub use crate::escape::{escaped, json_escaped};
}

// The first definition of a link holds: here the page's links lead to what rustdoc knows.
#[doc = "[fencing]: crate::fencing"]
#[doc = "[operations]: https://docs.rs/crate/actix-dsync/latest/source/docs/operations.md"]
#[doc = "[ledger]: https://docs.rs/crate/actix-dsync/latest/source/docs/ledger.md"]
#[doc = ""]
#[doc = include_str!("../docs/safety.md")]
pub mod safety {}

#[doc = include_str!("../docs/fencing.md")]
pub mod fencing {
    pub use crate::messages::{ReadEntry, StoredEntry, Write};
}

/// Compiles the examples of the README and of the guide.
#[cfg(all(doctest, feature = "embedded", feature = "web"))]
mod pages {
    macro_rules! compiled {
        ($($name:ident: $page:literal,)*) => {
            $(#[doc = include_str!($page)] struct $name;)*
        };
    }

    compiled! {
        Readme: "../README.md",
        Architecture: "../docs/guide/architecture.md",
        ChoosingAStore: "../docs/guide/choosing-a-store.md",
        ComingFrom: "../docs/guide/coming-from.md",
        Events: "../docs/guide/events.md",
        Introduction: "../docs/guide/introduction.md",
        Leadership: "../docs/guide/leadership.md",
        Locks: "../docs/guide/locks.md",
        Operations: "../docs/operations.md",
        QuickStart: "../docs/guide/quick-start.md",
        Reference: "../docs/guide/reference.md",
        SemaphoresSetsWrites: "../docs/guide/semaphores-sets-writes.md",
        Testing: "../docs/guide/testing.md",
        Web: "../docs/guide/web.md",
    }
}
