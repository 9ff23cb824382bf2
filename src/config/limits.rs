//! The resources that one process may use.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// The resources that one process may use. Beyond a limit, a request fails at once with a
/// typed error, so a public handler cannot queue without bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// The most keys that are waited for, held or being cleaned up at one time, 1 to
    /// 1,000,000. Beyond it, requests fail with
    /// [`Error::TooManyKeys`](crate::Error::TooManyKeys).
    ///
    /// A tenth, at most 200, is reserved for campaigns and observers. A web request under
    /// `LockPath` opens a further key only while less than half of the rest is in use, by
    /// whomever, so a flood of keys chosen by clients stops neither elections nor the service's
    /// own locks.
    ///
    /// Default: 20,000.
    pub keys: usize,
    /// The most callers of this process that wait for one key, 1 to 1,000,000. Beyond it,
    /// requests fail with [`Error::TooManyWaiters`](crate::Error::TooManyWaiters).
    ///
    /// Default: 1,000.
    pub waiters_per_key: usize,
    /// The most connections to the Consul agent, 12 to 190. The agent accepts 200 per
    /// client address, which all processes of a host share; beyond that it resets
    /// connections without an answer. Ten are reserved for renewals and writes; the others
    /// carry blocking reads, which wait for keys to change. A few more are open for short
    /// times: while those that may be dead are replaced, and while the runtime tries whether
    /// the agent accepts another one.
    ///
    /// They watch any number of keys: a few keys with one read each, the others with
    /// listings of shared key prefixes. Over TLS, a connection carries 240 reads, so most
    /// keys have their own read.
    ///
    /// If the agent refuses connections, the runtime uses fewer, down to one besides those
    /// for renewals and writes, and adds them again one by one.
    ///
    /// Default: `None`, which means 16, or 48 for an `https://` address, where a
    /// connection carries many reads and few are opened.
    pub connections: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { keys: 20_000, waiters_per_key: 1_000, connections: None }
    }
}

impl Limits {
    /// Sets [`keys`](Limits::keys).
    #[must_use]
    pub fn with_keys(self, keys: usize) -> Self {
        Self { keys, ..self }
    }

    /// Sets [`waiters_per_key`](Limits::waiters_per_key).
    #[must_use]
    pub fn with_waiters_per_key(self, waiters_per_key: usize) -> Self {
        Self { waiters_per_key, ..self }
    }

    /// Sets [`connections`](Limits::connections).
    #[must_use]
    pub fn with_connections(self, connections: usize) -> Self {
        Self { connections: Some(connections), ..self }
    }

    /// Connections for renewals. While none is answered, a renewal is sent every quarter
    /// of the request timeout.
    pub(crate) const RENEWALS: usize = 4;
    /// Connections for single writes and reads.
    pub(crate) const WRITES: usize = 6;

    /// The most keys that are reserved for campaigns and observers.
    pub(crate) const LEADERSHIP_KEYS: usize = 200;

    const CONNECTIONS: usize = 16;
    const CONNECTIONS_OVER_TLS: usize = 48;

    /// The number of connections for blocking reads.
    pub(crate) fn watches(&self, https: bool) -> usize {
        let default = if https { Self::CONNECTIONS_OVER_TLS } else { Self::CONNECTIONS };
        self.connections.unwrap_or(default).saturating_sub(Self::RENEWALS + Self::WRITES)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (field, value, range) in [
            ("limits.keys", self.keys, 1..=1_000_000),
            ("limits.waiters_per_key", self.waiters_per_key, 1..=1_000_000),
            ("limits.connections", self.connections.unwrap_or(Self::CONNECTIONS), 12..=190),
        ] {
            if !range.contains(&value) {
                let range = format!("{} to {}", range.start(), range.end());
                return Err(ConfigError::OutOfRange { field, value: value.to_string(), range });
            }
        }
        Ok(())
    }
}
