//! The messages of the warden: its events, and its orders for slots and actors.

use std::time::Duration;

use crate::{
    error::Error,
    key::Key,
    ownership::LossReason,
    protocol::session::{self, LeftBehind, Notice, Request},
};

/// An input of the warden.
#[derive(Debug)]
pub(crate) enum Event {
    /// The runtime starts.
    Start,
    /// A slot was created for this key; it has no actor yet.
    SlotMade(Key),
    /// The key's actor is idle and offers to go.
    Idle(Key),
    /// A lock's request to the session.
    Asked(Request),
    /// A notice from the session to the locks.
    Notified(Notice),
    /// The session has stopped as requested. Consul refused to destroy one if `left` says why.
    SessionStopped {
        left: Option<Error>,
    },
    SessionDied,
    WatchDied,
    /// The actor of the key's slot with this number died.
    LockDied {
        key: Key,
        worker: u64,
    },
    /// The answer to [`ForSlots::Reap`]: the slots of these keys were removed, and
    /// `left` slots remain.
    Reaped {
        keys: Vec<Key>,
        left: usize,
    },
    /// The answer to [`ForSlots::Survey`]: the number of owned keys.
    Surveyed {
        owned: usize,
    },
    /// A request to stop the runtime within `limit`.
    Stop {
        limit: Duration,
    },
    /// A wakeup is due.
    Tick,
}

/// An output of the warden.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Effect {
    Slots(ForSlots),
    Actors(ForActors),
}

/// The slots that an order applies to.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Which {
    All,
    Of(Vec<Key>),
}

/// An order for slots, carried out at once.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum ForSlots {
    /// End every ownership of these keys for this reason, and publish the losses.
    Lose { which: Which, reason: LossReason },
    /// Pass the notice to the locks.
    Notify { which: Which, notice: Notice },
    /// Report to the locks that their watches will not be answered.
    WatchLost,
    /// Accept no more callers, refuse the waiting ones, end all leases and publish
    /// their end.
    StopCallers,
    /// Remove the slots that have nothing left to do; answer with [`Event::Reaped`].
    Reap(Which),
    /// Count the owned keys; answer with [`Event::Surveyed`].
    Survey,
}

/// An order for actors.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum ForActors {
    StartWatch,
    /// Start the session. It numbers its generations from `generation + 1` and destroys what
    /// one that died left behind.
    StartSession {
        generation: u64,
        left_behind: LeftBehind,
    },
    /// Start actor number `worker` on the key's slot. `recovering` if it succeeds one
    /// that died.
    StartLock {
        key: Key,
        worker: u64,
        recovering: bool,
    },
    /// Stop the actor of a removed slot.
    Retire {
        key: Key,
    },
    TellSession(Told),
    /// Publish the runtime's changed readiness.
    Show(Readiness),
    /// The runtime has ended.
    Finish(End),
}

/// A message from the warden to the session.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Told {
    Asked(Request),
    /// All losses of this generation have been published.
    Closed {
        generation: u64,
    },
    Stop,
}

impl From<Told> for session::Event {
    fn from(told: Told) -> Self {
        match told {
            Told::Asked(request) => Self::Asked(request),
            Told::Closed { generation } => Self::Told { generation },
            Told::Stop => Self::Stop,
        }
    }
}

/// Whether locks can be acquired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// There is no session, at startup or after a loss.
    Starting,
    Ready,
    /// The last attempt to create a session failed with this error.
    Troubled(Error),
    Stopped,
}

/// How the runtime ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every key was released and the session was destroyed.
    Orderly,
    /// Consul refused to destroy a session, for this reason. Its TTL will end it.
    SessionLeft(Error),
    LimitPassed,
}
