//! The messages of the watch machine: its events and effects.

use std::{sync::Arc, time::Duration};

use crate::{
    consul::fact::{Listed, Seen, SessionId},
    key::Key,
    protocol::Ticket,
};

/// An input of the machine.
#[derive(Debug)]
pub(crate) enum Event {
    /// Answer when the key's index is no longer `after`, or shows another holder. Replaces
    /// an earlier watch of the key.
    Watch {
        key: Key,
        ticket: Ticket,
        after: u64,
        /// The session that holds the key at that index; `None` if any may.
        holder: Option<SessionId>,
        /// The watch is for a held key: its answer may be late, but must never be wrong.
        held: bool,
    },
    /// The answer to [`Effect::Read`] or [`Effect::Check`].
    Seen {
        read: Ticket,
        answer: Seen,
    },
    Listed {
        read: Ticket,
        answer: Listed,
    },
    /// A connection carries this many reads.
    Carries(usize),
    /// The agent refused a connection to a renewal or a call.
    Refused,
    /// The answer to [`Effect::Probe`].
    Probed {
        read: Ticket,
        refused: bool,
    },
    /// A wakeup is due.
    Tick,
}

/// An output of the machine.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Effect {
    /// Read the key when its index passes `after` or `wait` has elapsed.
    Read { read: Ticket, key: Key, after: u64, wait: Duration },
    /// Read the key from the leader, at once.
    Check { read: Ticket, key: Key },
    /// Read all keys under the prefix: with `after`, when its index passes that or
    /// `wait` has elapsed; without, from the leader at once.
    List { read: Ticket, prefix: Arc<str>, after: Option<u64>, wait: Duration },
    /// Open one more connection to learn whether the agent accepts it.
    Probe { read: Ticket },
    /// The answer to a watch: the key changed, or its read ended without news.
    Answer { key: Key, ticket: Ticket, answer: Seen },
    /// The key has not changed for a while. A lock that is still interested watches
    /// again.
    Unchanged { key: Key, ticket: Ticket },
}
