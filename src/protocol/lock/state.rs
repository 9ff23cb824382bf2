//! The lock machine's state as shown to users.

use super::{Lock, Phase};
use crate::{clock::Moment, ownership::KeyState, protocol::queue::Obstacle};

/// What a pausing lock waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The turn of this process, among many.
    Herd,
    /// The end of Consul's lock-delay, or the next attempt if that is not known.
    Delay { known: bool },
    /// Other processes have a turn.
    Courtesy,
    /// The next attempt after a failed one.
    Again,
}

impl Lock {
    /// The current state as shown to users.
    pub(crate) fn state(&self) -> KeyState {
        match &self.phase {
            Phase::Idle if self.demand.wants() && self.session.is_none() => KeyState::NoSession,
            Phase::Idle => KeyState::Idle,
            Phase::Reading { .. } | Phase::Pausing { .. }
                if self.leftover.needs_a_read() && !self.demand.wants() =>
            {
                KeyState::Unclear
            }
            Phase::Trying { .. } | Phase::Reading { .. } => KeyState::Trying,
            Phase::Waiting { .. } if !self.demand.wants() => KeyState::Observing,
            Phase::Waiting { .. } | Phase::Resting { .. } => KeyState::Waiting,
            Phase::Pausing { .. } => KeyState::Pausing,
            Phase::Fencing { .. } => KeyState::Unclear,
            Phase::Owned(_) => KeyState::Held,
            Phase::Losing { .. } => KeyState::Losing,
            Phase::Releasing(_) => KeyState::Releasing,
            Phase::Following { .. } => KeyState::Observing,
        }
    }

    /// The reason and the end of the lock's pause, if it pauses.
    pub(crate) fn pausing(&self, now: Moment) -> Option<(Pause, Moment)> {
        match &self.phase {
            Phase::Resting { until } => Some((Pause::Herd, *until)),
            Phase::Pausing { until, .. } => {
                let pause = match &self.obstacle {
                    _ if now < self.yields_until && *until <= self.yields_until => Pause::Courtesy,
                    Some(Obstacle::Delayed { remaining }) => {
                        Pause::Delay { known: remaining.is_some() }
                    }
                    _ => Pause::Again,
                };
                Some((pause, *until))
            }
            Phase::Following { until } => Some((Pause::Again, *until)),
            _ => None,
        }
    }
}
