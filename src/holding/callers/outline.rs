//! What can be told of the callers of a key, for people.

use std::time::Duration;

use super::Callers;
use crate::{
    ownership::Holder, protocol::queue::Obstacle, status::report::Role, token::FencingToken,
};

/// The callers of a key at one moment.
#[derive(Debug)]
pub(crate) struct Outline {
    /// The token of the lease that is out, and how long it stays valid as far as
    /// the clock goes.
    pub(crate) lease: Option<(FencingToken, Duration)>,
    /// A lease is out that is not valid any more.
    pub(crate) is_lost: bool,
    /// This process, while it owns the key.
    pub(crate) owner: Option<Holder>,
    pub(crate) waiting: usize,
    /// Why the key could not be had so far.
    pub(crate) obstacle: Option<Obstacle>,
    /// Who leads, as far as is known.
    pub(crate) leader: Option<Holder>,
    pub(crate) role: Option<Role>,
}

impl Callers {
    /// How many callers wait.
    #[cfg(feature = "metrics")]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().contest.queue().waiting()
    }

    /// What can be told of the callers at this moment.
    pub(crate) fn outline(&self) -> Outline {
        let inner = self.lock();
        let lease = inner.lease.as_ref().filter(|(_, state)| state.is_valid());
        Outline {
            is_lost: lease.is_none() && inner.lease.is_some(),
            lease: lease.map(|(_, state)| (state.token(), state.remaining())),
            owner: inner.contest.queue().holder().cloned(),
            waiting: inner.contest.queue().waiting(),
            obstacle: inner.contest.queue().obstacle().cloned(),
            leader: inner.contest.election().leader().cloned(),
            role: match inner.contest.election().campaign() {
                Some(_) if inner.contest.election().token().is_some() && lease.is_some() => {
                    Some(Role::Leader)
                }
                Some(_) => Some(Role::Candidate),
                None => inner.contest.election().is_followed().then_some(Role::Observer),
            },
        }
    }
}
