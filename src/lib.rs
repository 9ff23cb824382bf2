//! Distributed locks on Consul for actix services.

mod actors;
mod callers;
mod clock;
mod config;
mod consul;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod lease;
mod messages;
mod ownership;
mod protocol;
mod runtime;
mod secret;
#[cfg(test)]
mod simulation;
mod token;
mod value;

pub use actors::{Event, Events};
pub use config::{Config, HASHICORP_LOCK_FLAGS, Limits, Retention, Timing};
#[cfg(feature = "embedded")]
pub use embedded::{Embedded, EmbeddedEntry, EmbeddedServer, EmbeddedSession, EmbeddedSnapshot};
pub use error::{ConfigError, Error, Step};
pub use key::Key;
pub use lease::Lease;
pub use messages::{
    Acquire, Filter, Inspect, LockAcquired, LockLost, LockReleased, Release, Subscribe,
    SubscriptionId, TryAcquire, Unsubscribe,
};
pub use ownership::{Holder, LossReason, Lost, Released};
pub use runtime::{Builder, Dsync, Reply, Request};
pub use secret::Secret;
pub use token::FencingToken;
pub use value::LockValue;

#[doc = include_str!("../docs/safety.md")]
pub mod safety {}
