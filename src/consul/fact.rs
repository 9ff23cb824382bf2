//! What a reply of Consul tells: the only form in which machines see Consul.
//!
//! Every outcome has a variant for "nothing is known": the request may or may
//! not have taken effect, and may still do so later.

use std::{fmt, sync::Arc, time::Duration};

use crate::escape::Escaped;

/// The id of a Consul session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) Arc<str>);

impl SessionId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SessionId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key as Consul stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) session: Option<SessionId>,
    /// The raft index of the entry's last change: the fence of a release.
    pub(crate) modify_index: u64,
    /// How often it was locked since somebody last wrote it without a lock.
    pub(crate) lock_index: u64,
    pub(crate) flags: u64,
    pub(crate) value: Vec<u8>,
}

impl Entry {
    /// Whether it is what a release without flags and value leaves of a lock:
    /// nothing that anybody could miss.
    pub(crate) fn is_remnant(&self) -> bool {
        self.lock_index > 0 && self.session.is_none() && self.flags == 0 && self.value.is_empty()
    }
}

/// Why nothing is known about a request's effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No complete answer within the request's time limit.
    Timeout(Duration),
    /// No connection could be made: a write was not sent.
    Connect(String),
    /// The agent, or a proxy before it, takes no more connections: a write was
    /// not sent.
    Refused(String),
    /// It stood in line for so long, and was not sent.
    InLine(Duration),
    /// The connection broke before the answer was complete.
    Broken(String),
    /// The agent answered with an error of its own: it has no leader, say.
    Server { status: u16, text: String },
    /// The answer is longer than this crate reads.
    TooLong,
    /// The answer is not one that Consul gives: a proxy's page, say.
    NotConsul(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(limit) => write!(f, "no complete answer within {limit:?}"),
            Self::Connect(why) => write!(f, "no connection to the Consul agent: {}", Escaped(why)),
            Self::Refused(why) => {
                write!(f, "the agent takes no more connections: {}", Escaped(why))
            }
            Self::InLine(limit) => write!(f, "not sent within {limit:?}: too many locks at once"),
            Self::Broken(why) => write!(f, "the connection broke: {}", Escaped(why)),
            Self::Server { status, text } => {
                write!(f, "Consul answered {status}: {}", Escaped(text))
            }
            Self::TooLong => f.write_str("the answer is too long to be read"),
            Self::NotConsul(what) => {
                write!(f, "the answer is not Consul's ({}); check the address", Escaped(what))
            }
        }
    }
}

/// Answer to a session's creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    Session(SessionId),
    /// The servers take TTLs of that range only, in their words.
    TtlRefused(String),
    Denied(String),
    Unknown(Trouble),
}

/// Answer to a session's renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    /// The session lives on; the TTL that Consul answered, if it can be read.
    Alive {
        ttl: Option<Duration>,
    },
    /// Consul's own word that there is no such session.
    Gone,
    Denied(String),
    Unknown(Trouble),
}

/// Answer to the question after a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionSeen {
    Exists {
        name: String,
        node: String,
        lock_delay: Duration,
    },
    /// An empty list: there is none, or this token may not read it.
    NotShown,
    Denied(String),
    Unknown(Trouble),
}

/// Answer to a listing of the sessions of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionsSeen {
    Found(Vec<SessionId>),
    Denied(String),
    Unknown(Trouble),
}

/// Answer to a listing of the fence entries that no session locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StaleFences {
    /// Whose they were, and the index of each one's last change.
    Found(Vec<(SessionId, u64)>),
    Denied(String),
    Unknown(Trouble),
}

/// Answer to a session's destruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destroyed {
    /// It is gone now, whether or not it was there before.
    Done,
    Denied(String),
    Unknown(Trouble),
}

/// The state of a session's fence entry, which every lock transaction checks:
/// raising it makes every earlier transaction fail whenever it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// The entry does not exist.
    Unraised,
    /// The entry was last written at this index.
    At(u64),
    /// The entry may not be read or written with this token; it is not checked.
    Unusable,
}

/// What a lock transaction expects of the key before it locks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Missing,
    /// It exists, last changed at this index.
    Index(u64),
}

/// Answer to a lock transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// Our session holds the key, locked or re-locked at this index.
    At(u64),
    /// The key is not as expected (it exists, is missing, or has another index).
    Changed,
    /// Another session holds the key.
    Held,
    /// Consul's lock-delay keeps the key closed.
    Delayed,
    /// The session's fence entry is not as expected.
    Fenced,
    /// Consul's own word that the session does not exist.
    SessionGone,
    /// The token lacks a right on the key.
    Denied(String),
    /// The token has its right on the key and lacks one on the fence entry:
    /// lock again with [`Fence::Unusable`].
    FenceDenied(String),
    /// Consul will never take this request; nothing happened.
    Refused(String),
    /// Consul never saw this request, and never will.
    Unsent(Trouble),
    Unknown(Trouble),
}

impl Locked {
    /// What is known of a lock that was not answered.
    pub(crate) fn unanswered(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Connect(_) | Trouble::Refused(_) => Self::Unsent(trouble),
            _ => Self::Unknown(trouble),
        }
    }
}

/// Answer to a fenced release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    Done,
    /// The key is not held by our session at the expected index: nothing
    /// happened.
    FenceFailed,
    Denied(String),
    Unknown(Trouble),
}

/// Answer to a read of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Found {
        entry: Entry,
        /// `X-Consul-Index`: what a blocking read continues from. At least 1.
        index: u64,
    },
    Missing {
        index: u64,
    },
    Denied(String),
    Unknown(Trouble),
}

/// Answer to a listing of all keys that begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// The entries that the token may read, by their keys as the runtime names
    /// them; none of them is a fence entry.
    Found {
        entries: Vec<(Box<str>, Entry)>,
        /// `X-Consul-Index`: what a blocking listing continues from. At least 1,
        /// and no lower than the index of any entry.
        index: u64,
    },
    Denied(String),
    Unknown(Trouble),
}

/// Answer to raising a session's fence entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Raised {
    /// The entry was written at this index.
    At(u64),
    /// The entry is not at the index from which it was to be raised: an earlier
    /// raise took effect. Read it.
    Stale,
    Denied(String),
    Unknown(Trouble),
}

/// Answer to the record of a turn beside a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// The record was written.
    Done,
    /// Somebody has written it since it was read. Read it.
    Stale,
    /// Our session does not hold the key.
    NotHeld,
    Denied(String),
    Unknown(Trouble),
}
