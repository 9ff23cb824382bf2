//! Settings shared by all actors of one runtime.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    config::{Retention, Timing},
    consul::ask::Checks,
    status::journal::Journal,
};

/// The settings of one runtime, and the journal of its actors.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) service: String,
    /// The name of the runtime's sessions, which no other process uses.
    pub(crate) session_name: String,
    pub(crate) clock: Clock,
    pub(crate) timing: Timing,
    pub(crate) retention: Retention,
    pub(crate) flags: u64,
    pub(crate) checks: Checks,
    /// The number of connections for blocking reads.
    pub(crate) watches: usize,
    /// Holds and waits that last longer are reported.
    pub(crate) warn_after: Option<Duration>,
    pub(crate) journal: Arc<Journal>,
}
