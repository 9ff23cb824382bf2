//! The events that the runtime sends to its subscribers.
//!
//! Lock events report the *process's* ownership of a key in Consul, not each hand-over
//! between its callers: one `LockAcquired`, then one `LockLost` or one `LockReleased`.
//!
//! Leadership events report keys for which the process campaigns or which it observes,
//! in a fixed order. Election: `LockAcquired`, `Elected`, `LeaderChanged` to this
//! process. Loss: `LockLost`, `Deposed`, `LeaderChanged` to nobody. Resignation:
//! `Deposed`, and once Consul has confirmed the release, `LockReleased` and
//! `LeaderChanged`. If an ordinary lease of this process precedes or follows a term
//! without a round trip to Consul, there is no `LockAcquired` or `LockReleased` between
//! them, and the leader is the same session.

use std::time::Duration;

use actix::Message;

use crate::{
    key::Key,
    ownership::{Holder, LossReason},
    token::FencingToken,
};

/// This process has acquired a key.
///
/// A new subscriber first receives one for each key that is owned at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct LockAcquired {
    /// The key.
    pub key: Key,
    /// The token at the start of the ownership; later callers have larger tokens. What a new
    /// subscriber first receives has the token of the current caller.
    pub token: FencingToken,
}

/// This process has lost a key that a caller owned.
///
/// When it arrives, every lease of that ownership is already invalid, and neither a
/// clean-up nor a new attempt has begun. Exactly one is sent for each ownership that ends
/// other than by its owner's release.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct LockLost {
    /// The key.
    pub key: Key,
    /// The token of the lost lease.
    pub token: FencingToken,
    /// Why the lease was lost.
    pub reason: LossReason,
}

/// This process's ownership of a key has ended by its owner's release.
///
/// Usually Consul confirmed the release. If Consul was unreachable until the session
/// ended, the end of the session freed the key. An owner whose release came too late got
/// the reply [`AlreadyLost`](crate::Released::AlreadyLost).
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct LockReleased {
    /// The key.
    pub key: Key,
    /// The token of the last lease of that ownership.
    pub token: FencingToken,
}

/// This process leads from now on, through its [`Campaign`](crate::Campaign) for a key.
///
/// A new subscriber first receives one for each key that is led at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Elected {
    /// The key.
    pub key: Key,
    /// The token of the term.
    pub token: FencingToken,
}

/// This process no longer leads.
///
/// When it arrives, [`Tenure::is_leader`](crate::Tenure::is_leader) and the term's
/// [`is_valid`](crate::Term::is_valid) are already false, and neither a clean-up, a
/// release nor a new attempt has begun. Exactly one is sent for each [`Elected`], with the
/// same token, whatever ended the term.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Deposed {
    /// The key.
    pub key: Key,
    /// The token of the term that has ended.
    pub token: FencingToken,
    /// Why the term ended; [`LossReason::Resigned`] if this process resigned.
    pub reason: LossReason,
}

/// This process has taken a key away from its holder, by
/// [`ForceRelease`](crate::admin::ForceRelease).
///
/// The holder's process reports the loss as [`LockLost`] with
/// [`LossReason::ForceReleased`].
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct ForceReleased {
    /// The key.
    pub key: Key,
    /// Who held it.
    pub holder: Holder,
    /// How long this process keeps the key, so that the holder's lease ends before anybody
    /// else can have it. Zero if this wait was waived.
    pub keeps: Duration,
}

/// This process has made the leader of a key step down, by
/// [`StepDown`](crate::admin::StepDown).
///
/// The leader's process reports [`LockLost`] and [`Deposed`] with
/// [`LossReason::ForceReleased`].
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct SteppedDown {
    /// The key.
    pub key: Key,
    /// Who led.
    pub leader: Holder,
    /// How long this process keeps the key, so that the leader's lease ends before anybody
    /// else can lead.
    pub keeps: Duration,
}

/// The leader of a key has changed: another session holds it, or none.
///
/// It is sent for keys for which this process campaigns or which it observes. Changes
/// that happen between two reads of Consul are reported as one, and between two leaders
/// there may be a moment without a leader. A new subscriber first receives one for each
/// such key whose leader is known.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct LeaderChanged {
    /// The key.
    pub key: Key,
    /// The current holder according to Consul, which may be this process, also through an
    /// ordinary lease. `None` if nobody holds the key, or if that is not known. Names of
    /// the session and node are usually not known yet;
    /// [`Observer::leader`](crate::Observer::leader) returns them later.
    pub leader: Option<Holder>,
}
