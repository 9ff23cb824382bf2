//! Facts that the runtime tells its subscribers.
//!
//! They speak of the *process's* ownership of a key in Consul, not of each
//! hand-over between its callers: one `LockAcquired`, then one `LockLost` or one
//! `LockReleased`.

use actix::Message;

use crate::{key::Key, ownership::LossReason, token::FencingToken};

/// The process has come to own a key.
///
/// A new subscriber is first sent one for each key that is owned at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct LockAcquired {
    /// The key.
    pub key: Key,
    /// The token with which the ownership began; later callers have larger ones.
    pub token: FencingToken,
}

/// The process has lost a key that a caller had.
///
/// When it arrives, no lease of that ownership says that it is valid, and
/// nothing has been done yet to clean up or to get the key again. There is
/// exactly one for each ownership that ends other than by its owner's release.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct LockLost {
    /// The key.
    pub key: Key,
    /// The token of the lease that was lost.
    pub token: FencingToken,
    /// Why.
    pub reason: LossReason,
}

/// The process's ownership of a key has ended by its owner's release.
///
/// Usually Consul confirmed that. Where it could not be asked until the session
/// had ended, the end of the session freed the key; and an owner whose release
/// was answered [`AlreadyLost`](crate::Released::AlreadyLost) knows that it came
/// too late.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct LockReleased {
    /// The key.
    pub key: Key,
    /// The token of the last lease of that ownership.
    pub token: FencingToken,
}
