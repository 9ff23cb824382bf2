//! The messages of the lock machine: its events and effects.

use std::sync::Arc;

use crate::{
    consul::fact::{Expect, Fence, Locked, Released, Seen, SessionId, SessionSeen, Written},
    error::Error,
    ownership::LossReason,
    protocol::{
        Ticket,
        cell::DeadlineCell,
        queue::{Demand, Obstacle},
        session::{Notice, Request},
    },
};

/// An input of the machine.
#[derive(Debug)]
pub(crate) enum Event {
    /// The callers' current demand.
    Demand(Demand),
    Session(Notice),
    Locked {
        ticket: Ticket,
        answer: Locked,
    },
    Released {
        ticket: Ticket,
        answer: Released,
    },
    Read {
        ticket: Ticket,
        answer: Seen,
    },
    Watched {
        ticket: Ticket,
        answer: Seen,
    },
    /// The open watch, if any, will not be answered.
    WatchLost,
    /// The watched key has not changed for a while. A machine that is still interested
    /// watches it again.
    Unchanged {
        ticket: Ticket,
    },
    SessionSeen {
        ticket: Ticket,
        answer: SessionSeen,
    },
    /// The answer to a write by the owner.
    Written {
        ticket: Ticket,
        answer: Written,
    },
    /// A wakeup is due.
    Tick,
}

/// An output of the machine.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Effect {
    Lock {
        ticket: Ticket,
        session: SessionId,
        fence: Fence,
        expect: Expect,
    },
    /// Release the key if our session holds it at `index`. If the entry is retained,
    /// its value becomes `found`, or else the value that we locked it with.
    Release {
        ticket: Ticket,
        session: SessionId,
        index: u64,
        found: Option<Vec<u8>>,
    },
    /// Read the key from the leader.
    Read {
        ticket: Ticket,
    },
    /// Answer when the key's index passes `after`, or if that index shows another holder.
    Watch {
        ticket: Ticket,
        after: u64,
        /// `None` for a semaphore, whose entry no session locks.
        holder: Option<SessionId>,
    },
    AskSession {
        ticket: Ticket,
        session: SessionId,
    },
    Request(Request),
    /// The lock just won replaced this value, which somebody else had written over an
    /// earlier lock.
    Overwrote(Vec<u8>),
    /// The process owns the key.
    Own {
        index: u64,
        session: SessionId,
        cell: Arc<DeadlineCell>,
    },
    /// The ownership has ended; its reason follows in [`Effect::Lost`].
    Revoke,
    /// The ownership has ended for this reason.
    Lost {
        reason: LossReason,
    },
    /// The key is released in Consul.
    Released,
    /// The release fails with this error; it is retried.
    Unreleased(Error),
    /// Send the owner's next write, or the current one again, if our session holds the
    /// key at `index`.
    Write {
        ticket: Ticket,
        session: SessionId,
        index: u64,
    },
    /// The current write has this outcome.
    Wrote(Written),
    /// The key has this value while the process owns it, whoever wrote it.
    ValueSeen(Vec<u8>),
    /// Nobody holds the followed key.
    Free,
    /// The key cannot be acquired for now.
    Obstructed(Obstacle),
    /// The key cannot be acquired, and waiting does not help.
    Failed(Obstacle),
}
