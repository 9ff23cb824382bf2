//! Keeps a runtime running while a user holds any part of it.

use std::fmt;

/// Ends the runtime in the background when its last owner is dropped.
///
/// Handles, pending replies, leases, terms, tenures, observers and recipients share
/// one. Nothing inside the runtime may own it, or the runtime would never end.
pub(crate) struct KeepAlive(Box<dyn Fn() + Send + Sync>);

impl KeepAlive {
    pub(crate) fn new(end: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(end))
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeepAlive")
    }
}
