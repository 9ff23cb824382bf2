//! An outline of a key's callers, for reports.

use std::time::Duration;

use super::Callers;
use crate::{
    ownership::Holder, protocol::queue::Obstacle, status::report::Role, token::FencingToken,
};

/// The callers of a key at one moment.
#[derive(Debug)]
pub(crate) struct Outline {
    /// The token of the current lease while it is valid, and the time until its
    /// deadline.
    pub(crate) lease: Option<(FencingToken, Duration)>,
    /// The current lease is no longer valid.
    pub(crate) is_lost: bool,
    /// This process as a holder, while it owns the key.
    pub(crate) owner: Option<Holder>,
    pub(crate) waiting: usize,
    /// The longest wait of a caller.
    pub(crate) oldest_wait: Option<Duration>,
    /// How long the current lease has been held.
    pub(crate) held: Option<Duration>,
    /// How long the holder that is the obstacle has been seen with the key.
    pub(crate) met: Option<Duration>,
    /// Why the key could not be acquired so far.
    pub(crate) obstacle: Option<Obstacle>,
    /// How long the campaign rests before its next attempt.
    pub(crate) rests: Option<Duration>,
    /// The leader, if known.
    pub(crate) leader: Option<Holder>,
    pub(crate) role: Option<Role>,
}

impl Callers {
    /// Describes the callers at this moment.
    pub(crate) fn outline(&self) -> Outline {
        let (inner, now) = (self.lock(), self.clock.now());
        let lease = inner.lease.as_ref().filter(|(_, state)| state.is_valid());
        let campaign = inner.contest.election().campaign();
        let failure = inner.times.failure().filter(|_| campaign.is_some());
        Outline {
            oldest_wait: inner.oldest_wait(now),
            held: lease.map(|_| inner.times.held(now)),
            met: inner.times.met(now),
            is_lost: lease.is_none() && inner.lease.is_some(),
            lease: lease.map(|(_, state)| (state.token(), state.remaining())),
            owner: inner.contest.queue().holder().cloned(),
            waiting: inner.contest.queue().waiting(),
            obstacle: inner.contest.queue().obstacle().or(failure).cloned(),
            rests: inner.contest.next_wakeup().map(|until| until.since(now)),
            leader: inner.contest.election().leader().cloned(),
            role: match campaign {
                Some(_) if inner.contest.election().token().is_some() && lease.is_some() => {
                    Some(Role::Leader)
                }
                Some(_) => Some(Role::Candidate),
                None => inner.contest.election().is_followed().then_some(Role::Observer),
            },
        }
    }
}
