//! Events and errors that no runtime made, for tests of what receives them.

use std::time::Duration;

use crate::{
    key::Key,
    messages::{
        Deposed, Elected, ForceReleased, HeldKey, LeaderChanged, LockAcquired, LockLost,
        LockReleased, SteppedDown, StoredEntry,
    },
    ownership::{Holder, LossReason, Lost},
    token::FencingToken,
};

impl LockAcquired {
    /// An event that did not happen, for tests of what a subscriber does.
    #[must_use]
    pub fn mock(key: Key, token: FencingToken) -> Self {
        Self { key, token }
    }
}

impl LockLost {
    /// An event that did not happen, for tests of what a subscriber does.
    #[must_use]
    pub fn mock(key: Key, token: FencingToken, reason: LossReason) -> Self {
        Self { key, token, reason }
    }
}

impl LockReleased {
    /// An event that did not happen, for tests of what a subscriber does.
    #[must_use]
    pub fn mock(key: Key, token: FencingToken) -> Self {
        Self { key, token }
    }
}

impl Elected {
    /// An event that did not happen, for tests of what a subscriber does.
    #[must_use]
    pub fn mock(key: Key, token: FencingToken) -> Self {
        Self { key, token }
    }
}

impl Deposed {
    /// An event that did not happen, for tests of what a subscriber does.
    #[must_use]
    pub fn mock(key: Key, token: FencingToken, reason: LossReason) -> Self {
        Self { key, token, reason }
    }
}

impl LeaderChanged {
    /// An event that did not happen, for tests of what a subscriber does.
    #[must_use]
    pub fn mock(key: Key, leader: Option<Holder>) -> Self {
        Self { key, leader }
    }
}

impl ForceReleased {
    /// An event that did not happen, for tests of what a subscriber does.
    #[must_use]
    pub fn mock(key: Key, holder: Holder, keeps: Duration) -> Self {
        Self { key, holder, keeps }
    }
}

impl SteppedDown {
    /// An event that did not happen, for tests of what a subscriber does.
    #[must_use]
    pub fn mock(key: Key, leader: Holder, keeps: Duration) -> Self {
        Self { key, leader, keeps }
    }
}

impl Holder {
    /// A holder that does not exist, with the index 1 and no names, for tests of what is done
    /// with [`Error::Held`](crate::Error::Held) or [`LeaderChanged`].
    #[must_use]
    pub fn mock(session: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        let (session, value) = (session.into(), value.as_ref().into());
        Self { session, session_name: None, node: None, value, index: 1 }
    }
}

impl HeldKey {
    /// An item that Consul did not report, for tests of what is done with the reply to
    /// [`Holders`](crate::admin::Holders).
    #[must_use]
    pub fn mock(key: impl Into<String>, holder: Holder) -> Self {
        Self { key: key.into(), holder }
    }
}

impl StoredEntry {
    /// An entry that does not exist, for tests of what is done with the reply to
    /// [`ReadEntry`](crate::fencing::ReadEntry).
    #[must_use]
    pub fn mock(value: impl AsRef<[u8]>, token: Option<FencingToken>, index: u64) -> Self {
        Self { value: value.as_ref().into(), token, index }
    }
}

impl Lost {
    /// A loss that did not happen, for tests of what is done with this error.
    #[must_use]
    pub fn mock(key: Key, token: FencingToken, reason: LossReason) -> Self {
        Self { key, token, reason }
    }
}
