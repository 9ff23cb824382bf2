//! The settings of the transport.

use super::address::Address;
use crate::{config::TlsSettings, secret::Secret};

/// The address of the agent and the number of connections to it.
#[derive(Clone, Debug)]
pub(crate) struct HttpConfig {
    pub(crate) address: Address,
    /// `user:password` for a proxy.
    pub(crate) basic: Option<Secret>,
    /// Added to the query of every request: `ns=a&dc=b`, or empty.
    pub(crate) query: String,
    /// Connections for renewals: enough for all that can hang at the same time.
    pub(crate) renewals: usize,
    /// Connections for everything but renewals and blocking reads.
    pub(crate) calls: usize,
    /// Connections for blocking reads.
    pub(crate) watches: usize,
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "for https://"))]
    pub(crate) tls: TlsSettings,
    /// Used instead of the files of `tls`. HTTP/2 is offered unless it names other protocols.
    #[cfg(feature = "tls")]
    pub(crate) ready_tls: Option<std::sync::Arc<rustls::ClientConfig>>,
}
