//! Distributed locks on Consul for actix services.

mod clock;
mod consul;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod key;
mod token;
mod value;

#[cfg(feature = "embedded")]
pub use embedded::{Embedded, EmbeddedEntry, EmbeddedServer, EmbeddedSession, EmbeddedSnapshot};
pub use error::{ConfigError, Error, Holder, LossReason, Lost, Step};
pub use key::Key;
pub use token::FencingToken;
pub use value::LockValue;
