//! The lock machine's state as shown to users.

use super::{Leftover, Lock, Phase};
use crate::ownership::KeyState;

impl Lock {
    /// The current state as shown to users.
    pub(crate) fn state(&self) -> KeyState {
        match &self.phase {
            Phase::Idle if self.demand.wants() && self.session.is_none() => KeyState::NoSession,
            Phase::Idle => KeyState::Idle,
            Phase::Reading { .. } | Phase::Pausing { .. }
                if self.leftover == Leftover::Possible && !self.demand.wants() =>
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
}
