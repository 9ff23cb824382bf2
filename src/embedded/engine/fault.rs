//! The reasons for which Consul refuses an operation, with its error texts.

use std::fmt;

use super::super::golang::quote;

/// A refusal; `Display` gives Consul's error text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    MissingSession,
    /// The id is not a UUID, with the reason.
    SessionLookup(String),
    InvalidSession(String),
    MissingNode,
    NodeNotRegistered,
    InvalidBehavior(String),
    /// The TTL cannot be parsed: the TTL and the reason.
    UnreadableTtl(String, String),
    /// The TTL, in nanoseconds, is outside Consul's limits.
    TtlOutOfRange(i64),
    MissingCheck(String),
    CriticalCheck(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingSession => f.write_str("missing session"),
            Self::SessionLookup(why) => write!(f, "failed session lookup: index error: {why}"),
            Self::InvalidSession(id) => write!(f, "invalid session {}", quote(id.as_bytes())),
            Self::MissingNode => f.write_str("Must provide Node"),
            Self::NodeNotRegistered => f.write_str("Missing node registration"),
            Self::InvalidBehavior(text) => write!(f, "Invalid Behavior setting '{text}'"),
            Self::UnreadableTtl(ttl, why) => write!(f, "Session TTL '{ttl}' invalid: {why}"),
            Self::TtlOutOfRange(nanos) => {
                write!(f, "Invalid Session TTL '{nanos}', must be between [10s=24h0m0s]")
            }
            Self::MissingCheck(id) => write!(f, "Missing check '{id}' registration"),
            Self::CriticalCheck(id) => write!(f, "Check '{id}' is in critical state"),
        }
    }
}
