//! The machine of one key: of a lock, or of a semaphore's permit.

use super::{
    Ticket,
    lock::{self, Lock, Pause},
    permit::{Effect, Event, Permit},
};
use crate::{clock::Moment, ownership::KeyState};

/// What a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lock,
    /// A semaphore with this limit.
    Permit(u32),
}

/// The machine of one key.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all keys are locks")]
pub(crate) enum Machine {
    Lock(Lock),
    Permit(Box<Permit>),
}

impl Machine {
    fn lock(&self) -> &Lock {
        match self {
            Self::Lock(lock) => lock,
            Self::Permit(permit) => permit.lock(),
        }
    }

    /// Processes an event and appends the resulting effects.
    pub(crate) fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        match (self, event) {
            (Self::Lock(lock), Event::Lock(event)) => {
                as_lock(effects, |out| lock.handle(now, event, out));
            }
            // A lock does not ask these questions.
            (Self::Lock(_), Event::Listed { .. } | Event::Pruned { .. }) => {}
            (Self::Permit(permit), event) => permit.handle(now, event, effects),
        }
    }

    /// Recovers after the death of the actor that ran this machine. `floor` is the highest
    /// index at which a caller was ever granted the key.
    pub(crate) fn recover(&mut self, now: Moment, floor: u64, effects: &mut Vec<Effect>) {
        match self {
            Self::Lock(lock) => as_lock(effects, |out| lock.recover(now, floor, out)),
            Self::Permit(permit) => permit.recover(now, floor, effects),
        }
    }

    /// When a tick is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        match self {
            Self::Lock(lock) => lock.next_wakeup(),
            Self::Permit(permit) => permit.next_wakeup(),
        }
    }

    /// Whether nothing is wanted, in flight or left to clean up.
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Lock(lock) => lock.is_quiet(),
            Self::Permit(permit) => permit.is_quiet(),
        }
    }

    /// Whether nothing of this process is left to clean up. A permit may still watch others'
    /// ended sessions.
    pub(crate) fn may_stop(&self) -> bool {
        self.lock().is_quiet()
    }

    /// Whether a semaphore's machine may take another limit: nothing is in flight with this one.
    pub(crate) fn may_change_limit(&self) -> bool {
        match self {
            Self::Lock(_) => false,
            Self::Permit(permit) => permit.may_change_limit(),
        }
    }

    /// Whether the machine considers the key owned.
    pub(crate) fn owns(&self) -> bool {
        self.lock().owns()
    }

    /// Whether the end of the session would take the key from its owner, or end a release that
    /// may succeed.
    pub(crate) fn needs_session(&self) -> bool {
        self.lock().needs_session()
    }

    /// Whether the current attempt takes over a lock that our session has in Consul.
    pub(crate) fn takes_over(&self) -> bool {
        self.lock().takes_over()
    }

    /// Whether this is the ticket of the current attempt.
    pub(crate) fn tries(&self, ticket: Ticket) -> bool {
        self.lock().tries(ticket)
    }

    /// Whether the current ownership, or the one that is being released, was won at this index.
    pub(crate) fn has_won_at(&self, index: u64) -> bool {
        self.lock().has_won_at(index)
    }

    /// Whether the key is read from time to time for the effects of late attempts.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.lock().is_sweeping()
    }

    /// The current state as shown to users.
    pub(crate) fn state(&self) -> KeyState {
        self.lock().state()
    }

    /// The reason and the end of the machine's pause, if it pauses.
    pub(crate) fn pausing(&self, now: Moment) -> Option<(Pause, Moment)> {
        self.lock().pausing(now)
    }

    /// Sets the limit of a semaphore that nobody here uses.
    pub(crate) fn set_limit(&mut self, limit: u32) {
        if let Self::Permit(permit) = self {
            permit.set_limit(limit);
        }
    }

    /// Fixes the jitter at its least, so that an exploration has fewer states.
    #[cfg(test)]
    pub(crate) fn hold_steady(&mut self) {
        match self {
            Self::Lock(lock) => lock.hold_steady(),
            Self::Permit(permit) => permit.hold_steady(),
        }
    }
}

fn as_lock(effects: &mut Vec<Effect>, step: impl FnOnce(&mut Vec<lock::Effect>)) {
    let mut out = Vec::new();
    step(&mut out);
    effects.extend(out.into_iter().map(Effect::Lock));
}
