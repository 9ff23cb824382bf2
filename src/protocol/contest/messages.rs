//! The messages of the contest: the events that it publishes, and its effects.

use std::{sync::Arc, time::Duration};

use crate::{
    ownership::{Holder, LossReason, Released},
    protocol::{
        cell::DeadlineCell,
        queue::{CallId, Obstacle},
    },
    token::FencingToken,
};

/// An event of a key to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Acquired {
        token: FencingToken,
    },
    Lost {
        token: FencingToken,
        reason: LossReason,
    },
    Released {
        token: FencingToken,
    },
    Elected {
        token: FencingToken,
    },
    Deposed {
        token: FencingToken,
        reason: LossReason,
    },
    LeaderChanged {
        leader: Option<Box<Holder>>,
    },
    /// The campaign pauses: an operator who took the key from this process demands it.
    StoodBack {
        pause: Duration,
    },
}

/// The effects of a step, in order.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Effect {
    /// The caller owns the key from now on; `leads` if it is the campaign.
    Grant { call: CallId, token: FencingToken, cell: Arc<DeadlineCell>, leads: bool },
    /// The caller will not be granted the key.
    Refuse { call: CallId, obstacle: Obstacle },
    /// The caller's lease is no longer valid.
    End { call: CallId, how: Ending },
    /// The reply to the caller's release.
    Confirm { call: CallId, released: Released },
    /// There is news, or the demand has changed.
    Poke,
}

/// How a lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By its owner's release.
    Returned,
    /// Other than by release; the reason follows.
    Revoked,
    Lost(LossReason),
}
