//! What keeps a runtime running: everything that a user holds of it.

use std::fmt;

/// Ends the runtime in the background when the last owner of it is dropped.
///
/// Handles, pending replies, leases, terms, tenures, observers and recipients own
/// one together. Nothing inside the runtime may, or it would never end.
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
