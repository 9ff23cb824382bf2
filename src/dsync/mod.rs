//! A lock runtime: its start, its requests, and its end.

mod account;
mod administration;
mod builder;
mod handle;
mod hindrance;
mod inspector;
pub(crate) mod intake;
mod launch;
mod permits;
mod reach;
mod reading;
mod request;
mod sets;
mod survey;
#[cfg(feature = "embedded")]
mod testing;
mod writing;

pub use builder::Builder;
pub use handle::Dsync;
pub use request::{Reply, Request};
