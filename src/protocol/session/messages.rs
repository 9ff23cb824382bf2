//! The messages of the session machine: its events and effects, and the
//! conversation between the session and its locks.

use std::{sync::Arc, time::Duration};

use crate::{
    consul::fact::{
        Created, Destroyed, Fence, Raised, Renewed, Seen, SessionId, SessionsSeen, StaleFences,
    },
    error::Error,
    ownership::LossReason,
    protocol::{Ticket, cell::DeadlineCell},
};

/// An open session, as locks see it.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) struct SessionView {
    pub(crate) generation: u64,
    pub(crate) id: SessionId,
    pub(crate) cell: Arc<DeadlineCell>,
    /// How far a renewal moves the deadline.
    pub(crate) lease: Duration,
    pub(crate) fence: Fence,
}

/// A message from the session to its locks.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Notice {
    /// A session is open, and locks can use it.
    Opened(SessionView),
    /// The fence changed to this state; attempts made with another one fail.
    Fenced { generation: u64, fence: Fence },
    /// Nothing is owned under this generation any more. The session does not destroy or
    /// replace it until [`Event::Told`] confirms that the locks know.
    Closed { generation: u64, reason: LossReason },
    /// Creating or renewing the session failed with this error.
    Troubled(Error),
}

/// The sessions that a session's machine which died may have left in Consul.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeftBehind {
    /// None: this is the first machine.
    Nothing,
    /// Perhaps some. Nobody knows their ids.
    Unknown,
    /// This one, which was opened last, and perhaps others.
    Session(SessionId),
}

/// A message from a lock to the session.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Request {
    /// Void every lock attempt made with the fence `seen`.
    RaiseFence { generation: u64, seen: Fence },
    /// A key is being released under this generation, which is about to be closed. The end of a
    /// session that holds a key starts a lock-delay, so the session is destroyed only after
    /// [`ReleaseEnded`](Self::ReleaseEnded).
    ReleaseBegun { generation: u64 },
    /// That release was answered, or its lock does not know.
    ReleaseEnded { generation: u64 },
    /// Renew the session now: it may have ended.
    Renew { generation: u64 },
    /// Close the generation: there is proof that it is unreliable.
    Distrust { generation: u64, reason: LossReason },
    /// Replace the session once nothing is owned or being released under it: its late
    /// attempts cannot be voided, or only its end frees a key.
    Suspect { generation: u64 },
}

/// An input of the machine.
#[derive(Debug)]
pub(crate) enum Event {
    /// The runtime requests a session.
    Start,
    Created {
        ticket: Ticket,
        answer: Created,
    },
    Renewed {
        ticket: Ticket,
        answer: Renewed,
    },
    /// The answer to [`Effect::Destroy`] or [`Effect::DeleteFence`].
    Destroyed {
        ticket: Ticket,
        answer: Destroyed,
    },
    Asked(Request),
    Raised {
        ticket: Ticket,
        answer: Raised,
    },
    FenceRead {
        ticket: Ticket,
        answer: Seen,
    },
    /// The answer to [`Effect::List`].
    Listed {
        ticket: Ticket,
        answer: SessionsSeen,
    },
    /// The answer to [`Effect::ListFences`].
    StaleFences {
        ticket: Ticket,
        answer: StaleFences,
    },
    /// Every loss under the generation has been reported to its owner.
    Told {
        generation: u64,
    },
    /// Nothing is owned or wanted any more: end the session.
    Stop,
    /// A wakeup is due.
    Tick,
}

/// An output of the machine.
#[derive(Debug)]
pub(crate) enum Effect {
    Create {
        ticket: Ticket,
    },
    Renew {
        ticket: Ticket,
        session: SessionId,
    },
    Destroy {
        ticket: Ticket,
        session: SessionId,
    },
    /// Delete the fence entry of a session that is destroyed.
    DeleteFence {
        ticket: Ticket,
        session: SessionId,
    },
    Raise {
        ticket: Ticket,
        session: SessionId,
        from: Fence,
    },
    ReadFence {
        ticket: Ticket,
        session: SessionId,
    },
    /// List the sessions with this process's name, which no other process uses.
    List {
        ticket: Ticket,
    },
    /// List the fence entries that no session locks.
    ListFences {
        ticket: Ticket,
    },
    /// Delete fence entries that are unchanged since they were listed. Expects no
    /// answer.
    DeleteFences {
        stale: Vec<(SessionId, u64)>,
    },
    Notify(Notice),
    /// Locks work only once an operator has mended this.
    Blocked(String),
    /// Renewals succeed again.
    Recovered,
    /// The session was stopped as requested; no further effect follows. Consul refused to destroy
    /// one if `left` says why: its TTL will end it.
    Stopped {
        left: Option<Error>,
    },
}
