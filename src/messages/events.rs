//! Facts that the runtime tells its subscribers.
//!
//! They speak of the *process's* ownership of a key in Consul, not of each
//! hand-over between its callers: one `LockAcquired`, then one `LockLost` or one
//! `LockReleased`.
//!
//! Those of leadership come where the process campaigns or observes, in a fixed
//! order. Election: `LockAcquired`, `Elected`, `LeaderChanged` to this process.
//! Loss: `LockLost`, `Deposed`, `LeaderChanged` to nobody known. Resignation:
//! `Deposed`, then, when Consul has the key back, `LockReleased` and
//! `LeaderChanged`. Where an ordinary lease of this process comes before or after
//! a term without a round trip to Consul, there is no `LockAcquired` or
//! `LockReleased` between them, and the leader is the same session.

use actix::Message;

use crate::{
    key::Key,
    ownership::{Holder, LossReason},
    token::FencingToken,
};

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

/// This process leads a key from now on, by its [`Campaign`](crate::Campaign).
///
/// A new subscriber is first sent one for each key that is led at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Elected {
    /// The key.
    pub key: Key,
    /// The token of the term.
    pub token: FencingToken,
}

/// This process leads a key no longer.
///
/// When it arrives, [`Tenure::is_leader`](crate::Tenure::is_leader) and the
/// term's [`is_valid`](crate::Term::is_valid) say so already, and nothing has
/// been done yet to clean up, to give the key back or to get it again. There is
/// exactly one for each [`Elected`], with its token, whatever ended the term.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Deposed {
    /// The key.
    pub key: Key,
    /// The token of the term that has ended.
    pub token: FencingToken,
    /// Why; [`LossReason::Resigned`] if this process stood down.
    pub reason: LossReason,
}

/// Another session holds a key than before, or none.
///
/// It is told of keys for which this process campaigns, or which it observes.
/// Changes that follow each other faster than Consul was read are told as one,
/// and between two leaders there may be a moment without. A new subscriber is
/// first sent one for each such key whose leader is known.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct LeaderChanged {
    /// The key.
    pub key: Key,
    /// Who holds it now according to Consul; this process, too, and also by an
    /// ordinary lease. `None` if nobody does, or it is not known. The names of
    /// the session are usually not known yet:
    /// [`Observer::leader`](crate::Observer::leader) has them later.
    pub leader: Option<Holder>,
}
