//! The facts that Consul's replies establish. The machines see Consul only in this form.
//!
//! Every outcome has a variant `Unknown`: the request may have taken effect, or may still
//! do so later.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    error::{Error, Step},
    escape::Escaped,
    key::Key,
    ownership::Holder,
};

/// The id of a Consul session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) Arc<str>);

impl SessionId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// This session as the holder of a key that has this value since that index.
    pub(crate) fn holder(
        &self,
        session_name: Option<String>,
        node: Option<String>,
        value: Arc<[u8]>,
        index: u64,
    ) -> Holder {
        Holder { session: self.to_string(), session_name, node, value, index }
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
    /// How often it was locked since it was last written without a lock.
    pub(crate) lock_index: u64,
    pub(crate) flags: u64,
    pub(crate) value: Vec<u8>,
}

impl Entry {
    /// Whether it is what a release without flags and value leaves of a lock. It holds no
    /// data.
    pub(crate) fn is_remnant(&self) -> bool {
        self.lock_index > 0 && self.session.is_none() && self.flags == 0 && self.value.is_empty()
    }

    /// Its holder, if a session holds it. `names` are those of the session and its node.
    pub(crate) fn into_holder(self, names: Option<(String, String)>) -> Option<Holder> {
        let (session_name, node) = names.unzip();
        Some(self.session?.holder(session_name, node, self.value.into(), self.modify_index))
    }
}

/// Why the effect of a request is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No complete answer within the request's time limit.
    Timeout(Duration),
    /// The same, and one round trip to Consul takes longer than the limit.
    TooFar { limit: Duration, round_trip: Duration },
    /// No connection was made: a write was not sent.
    Connect(String),
    /// The agent, or a proxy before it, accepts no more connections: a write was not sent.
    Refused(String),
    /// No ACL token could be had: a write was not sent.
    NoToken(String),
    /// The request waited in line for this time, or was part of a transaction that had no effect,
    /// and there was no time to send it again.
    InLine(Duration),
    /// The connection broke before the answer was complete.
    Broken(String),
    /// The agent answered with its own error, for instance that it has no leader.
    Server { status: u16, text: String },
    /// Consul does not know the ACL token: it may not be replicated yet, or was deleted. The
    /// request had no effect, unless a copy of it came to a server that knew the token.
    UnknownToken,
    /// The answer exceeds the length that this crate reads.
    TooLong,
    /// The answer is not from Consul, for instance a proxy's page.
    NotConsul(String),
}

impl Trouble {
    /// Whether a write that met it certainly had no effect.
    pub(crate) fn is_without_effect(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Refused(_) | Self::NoToken(_) | Self::UnknownToken)
    }

    /// The error of a step that this prevents.
    pub(crate) fn to_error(&self, step: Step) -> Error {
        Error::unavailable(step, self.to_string())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(limit) => write!(f, "no complete answer within {limit:.1?}"),
            Self::TooFar { limit, round_trip } => {
                write!(
                    f,
                    "no complete answer within {limit:.0?}: one round trip takes {round_trip:.0?}"
                )
            }
            Self::Connect(why) => write!(f, "no connection to the Consul agent: {}", Escaped(why)),
            Self::Refused(why) => {
                write!(f, "the agent takes no more connections: {}", Escaped(why))
            }
            Self::NoToken(why) => write!(f, "no ACL token: {}", Escaped(why)),
            Self::InLine(limit) => {
                write!(f, "not sent within {limit:.1?}: too many locks at once, or Consul is slow")
            }
            Self::Broken(why) => write!(f, "the connection broke: {}", Escaped(why)),
            Self::Server { status, text } => {
                write!(f, "Consul answered {status}: {}", Escaped(text))
            }
            Self::UnknownToken => f.write_str(
                "Consul does not know the ACL token; it is not replicated yet, or was deleted",
            ),
            Self::TooLong => f.write_str("the answer is too long to be read"),
            Self::NotConsul(what) => {
                write!(f, "the answer is not Consul's ({}); check the address", Escaped(what))
            }
        }
    }
}

/// The answer to the creation of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    Session(SessionId),
    /// The servers accept only TTLs of this range, in their words.
    TtlRefused(String),
    Denied(String),
    Unknown(Trouble),
}

/// The answer to the renewal of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    /// The session was renewed. `ttl` is the TTL that Consul reported, if readable.
    Alive {
        ttl: Option<Duration>,
    },
    /// Consul reported that the session does not exist.
    Gone,
    Denied(String),
    Unknown(Trouble),
}

/// The answer to a question about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionSeen {
    Exists {
        name: String,
        node: String,
        lock_delay: Duration,
        /// `None` if it has no TTL, or an unreadable one.
        ttl: Option<Duration>,
    },
    /// An empty list: the session does not exist, or the token may not read it.
    NotShown,
    Denied(String),
    Unknown(Trouble),
}

/// The answer to a listing of the sessions of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionsSeen {
    Found(Vec<SessionId>),
    Denied(String),
    Unknown(Trouble),
}

/// The answer to a listing of all sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllSessions {
    /// Each with its name, without the number that this crate adds, and its node.
    Found(Vec<(SessionId, String, String)>),
    Denied(String),
    Unknown(Trouble),
}

/// The answer to a listing of the fence entries that no session locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StaleFences {
    /// The session of each entry, and the index of the entry's last change.
    Found(Vec<(SessionId, u64)>),
    Denied(String),
    Unknown(Trouble),
}

/// The answer to the destruction of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destroyed {
    /// It does not exist now, whether or not it existed before.
    Done,
    Denied(String),
    Unknown(Trouble),
}

/// The state of a session's fence entry, which every lock transaction checks. Raising it
/// makes every earlier transaction fail, whenever it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// The entry does not exist.
    Unraised,
    /// The entry was last written at this index.
    At(u64),
    /// The token may not read or write the entry, so it is not checked.
    Unusable,
}

/// The state of the key that a lock transaction requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Missing,
    /// The key exists and was last changed at this index.
    Index(u64),
}

/// The answer to a lock transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// Our session holds the key, locked or re-locked at this index.
    At(u64),
    /// The key does not meet [`Expect`]: it exists, is missing, or has another index.
    Changed,
    /// Another session holds the key.
    Held,
    /// Consul's lock-delay keeps the key closed.
    Delayed,
    /// The session's fence entry has another state than [`Fence`].
    Fenced,
    /// Consul reported that the session does not exist.
    SessionGone,
    /// The token lacks a right on the key.
    Denied(String),
    /// The token has the right on the key but lacks one on the fence entry: lock again
    /// with [`Fence::Unusable`].
    FenceDenied(String),
    /// Consul never accepts this request; it had no effect.
    Refused(String),
    /// The request was not sent, or Consul does not know the token. It had no effect;
    /// [`Trouble::UnknownToken`] names the exception.
    Unsent(Trouble),
    /// It failed only because another lock of its transaction failed.
    Aside,
    /// The same, and it could not be sent again.
    AsideUnsent(Trouble),
    /// It was taken back before it was sent.
    Withdrawn,
    Unknown(Trouble),
}

impl Locked {
    /// The answer to a lock request without a conclusive reply.
    pub(crate) fn unanswered(trouble: Trouble) -> Self {
        if trouble.is_without_effect() { Self::Unsent(trouble) } else { Self::Unknown(trouble) }
    }
}

/// The answer to a fenced release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    Done,
    /// Our session does not hold the key at the expected index. The release had no effect.
    FenceFailed,
    Denied(String),
    Unknown(Trouble),
}

/// The answer to the removal of ended sessions from a semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pruned {
    Done,
    /// The semaphore, or the entry of one of these sessions, was changed since it was
    /// listed. Nothing was written.
    Stale,
    Denied(String),
    Unknown(Trouble),
}

/// The answer to a write under a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It took effect. The locked key has this index.
    Done {
        index: u64,
    },
    /// Our session does not hold the key. Nothing was written.
    NotHeld,
    /// Our session holds the key at this index, not at the expected one. Nothing was
    /// written.
    Moved(u64),
    /// This entry does not have the required state. Nothing was written.
    Conflict(Key),
    Denied(String),
    /// Consul never accepts this request; it had no effect.
    Refused(String),
    /// It had no effect and never will: it was not sent, or Consul rejects it for now.
    Failed(Trouble),
    Unknown(Trouble),
}

/// The answer to a read of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Found {
        entry: Entry,
        /// `X-Consul-Index`, from which a blocking read continues. At least 1.
        index: u64,
    },
    Missing {
        /// At least 1. The largest number if the reply has none.
        index: u64,
    },
    Denied(String),
    /// Consul, or a proxy before it, refuses the key's name.
    NameRefused(String),
    Unknown(Trouble),
}

impl Seen {
    /// The entry of `key`, which was read; `None` if there is none.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn into_entry(self, key: &Key) -> Result<Option<Entry>, Error> {
        match self {
            Self::Found { entry, .. } => Ok(Some(entry)),
            Self::Missing { .. } => Ok(None),
            Self::Denied(right) => Err(Error::Denied { right }),
            Self::NameRefused(why) => Err(Error::NameRefused { key: key.clone(), why }),
            Self::Unknown(trouble) => Err(trouble.to_error(Step::Read).naming(key)),
        }
    }
}

/// The answer to a listing of all keys that begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// The entries that the token may read, with their keys relative to the runtime's
    /// prefix. Entries below the reserved segment are omitted.
    Found {
        entries: Vec<(Box<str>, Entry)>,
        /// `X-Consul-Index`, from which a blocking listing continues. At least 1, and at
        /// least the index of every entry.
        index: u64,
    },
    Denied(String),
    /// Consul, or a proxy before it, refuses the prefix.
    NameRefused(String),
    Unknown(Trouble),
}

/// The answer to raising a session's fence entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Raised {
    /// The entry was written at this index.
    At(u64),
    /// The entry has another index than the one to raise: an earlier raise took effect.
    /// Read it.
    Stale,
    Denied(String),
    Unknown(Trouble),
}

/// The answer to recording a turn beside a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// The record was written.
    Done,
    /// The record was changed since it was read. Read it.
    Stale,
    /// Our session does not hold the key.
    NotHeld,
    Denied(String),
    Unknown(Trouble),
}

/// The answer to whether the agent knows a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaderSeen {
    Answered { has_leader: bool },
    Unknown(Trouble),
}

/// The answer to a question about the agent itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AgentSeen {
    Known {
        version: String,
        node: String,
        /// The most connections of one client address.
        connections: Option<u64>,
        /// The longest value, in bytes.
        value_bytes: Option<u64>,
        shortest_ttl: Option<Duration>,
    },
    /// The token lacks `agent:read`.
    Denied,
    Unknown(Trouble),
}

/// Whether the token has a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Granted,
    /// The missing right.
    Denied(String),
    Unknown(Trouble),
}
