//! A lock runtime: its start, its requests, and its end.

mod administration;
mod builder;
mod description;
mod elections;
mod handle;
mod hindrance;
mod inspector;
pub(crate) mod intake;
mod launch;
mod permits;
mod reach;
mod reading;
mod reports;
mod request;
mod sets;
mod subscriptions;
mod survey;
#[cfg(feature = "embedded")]
mod testing;
mod writes;

pub use builder::Builder;
pub use handle::Dsync;
pub use request::{Reply, Request};
