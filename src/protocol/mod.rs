//! What to do next: pure state machines for the session, for a lock, for the
//! callers that queue for it, and for the campaign among those.
//!
//! ```text
//!   callers ──► queue ──demand──► lock ──► effects: lock, release, read, watch
//!     ▲           ▲ ▲              │ ▲
//!     └─ leases ──┤ └─ election    │ └──── session ──► effects: create, renew, …
//!                 └───own, lose────┘
//! ```
//!
//! They know neither actors nor sockets and read no clock: `now` is a parameter.
//! `handle(now, event, effects)` appends what is to be done, in order;
//! `next_wakeup()` is the one instant at which a `Tick` is due. Spurious ticks
//! are harmless. Every question carries a ticket; an answer with an old ticket
//! changes nothing.

pub(crate) mod backoff;
pub(crate) mod cell;
pub(crate) mod contest;
pub(crate) mod election;
pub(crate) mod gather;
pub(crate) mod lock;
pub(crate) mod permit;
pub(crate) mod queue;
pub(crate) mod seat;
pub(crate) mod session;
pub(crate) mod takeover;
pub(crate) mod warden;
pub(crate) mod watch;

#[cfg(test)]
pub(crate) use crate::mutation;

/// Names a question, so that its answer can be told from an older one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// Yields tickets that differ.
#[derive(Debug, Default)]
pub(crate) struct Tickets(u64);

impl Tickets {
    /// Yields tickets that differ from those of any [`Tickets::default`].
    pub(crate) fn above_others() -> Self {
        Self(1 << 63)
    }

    pub(crate) fn next(&mut self) -> Ticket {
        self.0 += 1;
        Ticket(self.0)
    }
}
