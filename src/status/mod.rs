//! What a runtime knows of itself, for people and for monitoring.

pub(crate) mod journal;
pub(crate) mod kin;
pub(crate) mod report;
pub mod telemetry;
