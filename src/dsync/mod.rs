//! A lock runtime: its start, its requests, and its end.

mod account;
mod builder;
mod handle;
mod inspector;
pub(crate) mod intake;
mod launch;
mod reach;
mod request;

pub use builder::Builder;
pub use handle::Dsync;
pub use request::{Reply, Request};
