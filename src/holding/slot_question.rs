//! The questions of a slot's machine to Consul, and what their answers mean to it.

use super::asker::Asker;
use crate::{
    consul::ask::{
        JoinSemaphore, LeaveSemaphore, ListNow, PruneSemaphore, Read, Release, SessionInfo, Write,
    },
    protocol::{Ticket, lock, permit},
};

/// A question of a slot's machine to Consul. Locks are asked for otherwise, since several can
/// share a transaction.
#[derive(Clone, Debug)]
pub(crate) enum SlotQuestion {
    Release {
        ticket: Ticket,
        ask: Release,
    },
    /// Takes a permit; answered as a lock.
    Join {
        ticket: Ticket,
        ask: JoinSemaphore,
    },
    /// Gives a permit back; answered as a release.
    Leave {
        ticket: Ticket,
        ask: LeaveSemaphore,
    },
    /// Lists a semaphore's entries.
    ListHolders {
        ticket: Ticket,
        ask: ListNow,
    },
    Prune {
        ticket: Ticket,
        ask: PruneSemaphore,
    },
    Write {
        ticket: Ticket,
        ask: Write,
    },
    Read {
        ticket: Ticket,
        ask: Read,
    },
    AskSession {
        ticket: Ticket,
        ask: SessionInfo,
    },
}

impl SlotQuestion {
    /// Lets `asker` ask it.
    pub(crate) fn put<A: Asker<permit::Event>>(self, asker: A) -> A::Asked {
        use lock::Event;
        match self {
            Self::Release { ticket, ask } => {
                asker.ask(ask, move |answer| Event::Released { ticket, answer }.into())
            }
            Self::Join { ticket, ask } => {
                asker.ask(ask, move |answer| Event::Locked { ticket, answer }.into())
            }
            Self::Leave { ticket, ask } => {
                asker.ask(ask, move |answer| Event::Released { ticket, answer }.into())
            }
            Self::ListHolders { ticket, ask } => {
                asker.ask(ask, move |answer| permit::Event::Listed { ticket, answer })
            }
            Self::Prune { ticket, ask } => {
                asker.ask(ask, move |answer| permit::Event::Pruned { ticket, answer })
            }
            Self::Write { ticket, ask } => {
                asker.ask(ask, move |answer| Event::Written { ticket, answer }.into())
            }
            Self::Read { ticket, ask } => {
                asker.ask(ask, move |answer| Event::Read { ticket, answer }.into())
            }
            Self::AskSession { ticket, ask } => {
                asker.ask(ask, move |answer| Event::SessionSeen { ticket, answer }.into())
            }
        }
    }
}
