//! The state of a runtime, for people and for monitoring.

pub(crate) mod findings;
pub(crate) mod history;
pub(crate) mod journal;
pub(crate) mod leader_program;
mod millis;
pub(crate) mod report;
pub mod telemetry;
pub(crate) mod why;
