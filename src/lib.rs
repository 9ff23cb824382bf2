//! Distributed locks on Consul for actix services.

mod clock;
mod consul;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod secret;
mod token;
mod value;

pub use error::{ConfigError, Error, Holder, LossReason, Lost, Step};
pub use key::Key;
pub use token::FencingToken;
pub use value::LockValue;
