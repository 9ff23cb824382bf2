//! Descriptions of an ownership: its holder, its state, its end.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct as _};

use crate::{escape::Escaped, key::Key, token::FencingToken};

/// The session that holds a key according to Consul.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Holder {
    /// The id of the Consul session that holds the key.
    pub session: String,
    /// The name of that session. This crate names its sessions `<service>#<number>`; here
    /// such a name is the service. `None` if it was not looked up or the token may not read it.
    pub session_name: Option<String>,
    /// The node of that session. `None` if it was not looked up or the token may
    /// not read it.
    pub node: Option<String>,
    /// The key's value, as the holder wrote it. Shared: it may have 512 KiB, and a
    /// holder is cloned for each caller that is refused.
    pub value: Arc<[u8]>,
    /// The Consul index of the key's last change, its `ModifyIndex`. An update of the value moves
    /// it, too.
    pub index: u64,
}

#[cfg(test)]
impl Holder {
    /// A holder whose every text is `text`.
    pub(crate) fn of_text(text: &str) -> Self {
        Self {
            session: text.into(),
            session_name: Some(text.into()),
            node: Some(text.into()),
            value: text.as_bytes().into(),
            index: 3,
        }
    }
}

impl Holder {
    /// The value as JSON, if it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.value).ok()
    }
}

/// The value is serialized as JSON if it is JSON, otherwise as text with invalid
/// UTF-8 replaced.
impl Serialize for Holder {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { session, session_name, node, value, index } = self;
        let mut holder = to.serialize_struct("Holder", 5)?;
        holder.serialize_field("session", session)?;
        holder.serialize_field("session_name", session_name)?;
        holder.serialize_field("node", node)?;
        match self.json() {
            Some(json) => holder.serialize_field("value", &json)?,
            None => holder.serialize_field("value", &String::from_utf8_lossy(value))?,
        }
        holder.serialize_field("index", index)?;
        holder.end()
    }
}

/// The longest value, or part of one, that an error shows, in bytes.
const LONGEST_SHOWN: usize = 256;

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, session_name, node, value, index } = self;
        let (shown, rest) = value.split_at(value.len().min(LONGEST_SHOWN));
        let more = if rest.is_empty() { "" } else { "…" };
        f.debug_struct("Holder")
            .field("session", session)
            .field("session_name", session_name)
            .field("node", node)
            .field("value", &format_args!("\"{}\"{more}", shown.escape_ascii()))
            .field("index", index)
            .finish()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}", Escaped(&self.session))?;
        if let Some(name) = self.session_name.as_deref().filter(|name| !name.is_empty()) {
            write!(f, " of {name:?}")?;
        }
        if let Some(node) = &self.node {
            write!(f, " on node {node:?}")?;
        }
        if let (Ok(text), 1..=LONGEST_SHOWN) = (std::str::from_utf8(&self.value), self.value.len())
        {
            write!(f, " saying {}", Escaped(text))?;
        }
        Ok(())
    }
}

/// What this process is doing about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyState {
    /// Nothing.
    Idle,
    /// It owns the key.
    Held,
    /// It wants the key and waits for a session to lock it with.
    NoSession,
    /// A lock request is in flight.
    Trying,
    /// Its callers want the key only together with others ([`AcquireAll`]). It could be
    /// locked now; another of those keys cannot.
    ///
    /// [`AcquireAll`]: crate::AcquireAll
    Gathering,
    /// Another session holds the key; this process waits for it.
    Waiting,
    /// It waits for a moment before the next lock request: for the lock-delay, after
    /// a failed request, or to give other processes a turn.
    Pausing,
    /// It checks whether a request with an unknown outcome locked the key.
    Unclear,
    /// It has lost the key and determines the reason.
    Losing,
    /// A release is in flight.
    Releasing,
    /// It watches the holder without contending.
    Observing,
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Held => "held",
            Self::NoSession => "no session",
            Self::Trying => "trying",
            Self::Gathering => "gathering",
            Self::Waiting => "waiting",
            Self::Pausing => "pausing",
            Self::Unclear => "unclear",
            Self::Losing => "losing",
            Self::Releasing => "releasing",
            Self::Observing => "observing",
        })
    }
}

/// Why an ownership, or a lease or term of it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossReason {
    /// No renewal of the session succeeded before the deadline, for instance because
    /// Consul was unreachable or this process was stopped. At the deadline, nobody else
    /// owns the key; if this process was stopped for longer, somebody may own it by now.
    DeadlinePassed,
    /// Consul reported that the session is gone: an operator destroyed it, or Consul
    /// invalidated it with its node, its agent or one of its checks.
    SessionGone,
    /// The key was deleted.
    KeyDeleted,
    /// The key was released on behalf of this process's session. Also the reason of a key
    /// that is not locked by that session any more, if it was deleted and locked again before
    /// its absence was seen, or if Consul did not answer within 250 ms that the session is gone.
    ForceReleased,
    /// Consul's store was replaced, by a restored snapshot or an empty restart.
    StoreReplaced,
    /// The part of this runtime that maintained the lock failed and was restarted.
    RuntimeFailed,
    /// The runtime was shut down while the lease was held.
    Shutdown,
    /// This process resigned from leadership with [`Resign`](crate::Resign). Only
    /// terms end for this reason.
    Resigned,
    /// The owner released the lock, so nothing was lost. Only a copy of a `HeldLease`, of the
    /// feature `web`, that outlives its request ends for this reason.
    Released,
}

impl LossReason {
    /// Every reason, indexed by its code.
    pub(crate) const ALL: [Self; 9] = [
        Self::DeadlinePassed,
        Self::SessionGone,
        Self::KeyDeleted,
        Self::ForceReleased,
        Self::StoreReplaced,
        Self::RuntimeFailed,
        Self::Shutdown,
        Self::Resigned,
        Self::Released,
    ];

    /// The reason as a small number.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The reason with the given code.
    pub(crate) fn of_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The reason's name in JSON and in metric labels.
    #[cfg(feature = "metrics")]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DeadlinePassed => "deadline_passed",
            Self::SessionGone => "session_gone",
            Self::KeyDeleted => "key_deleted",
            Self::ForceReleased => "force_released",
            Self::StoreReplaced => "store_replaced",
            Self::RuntimeFailed => "runtime_failed",
            Self::Shutdown => "shutdown",
            Self::Resigned => "resigned",
            Self::Released => "released",
        }
    }
}

const _: () = {
    let mut place = 0;
    while place < LossReason::ALL.len() {
        assert!(LossReason::ALL[place].code() as usize == place);
        place += 1;
    }
    // Add a new reason at the end, here and in `ALL`.
    assert!(LossReason::ALL.len() == LossReason::Released.code() as usize + 1);
};

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeadlinePassed => "no renewal was answered before the deadline",
            Self::SessionGone => "the Consul session is gone",
            Self::KeyDeleted => "the key was deleted",
            Self::ForceReleased => "the key was released by somebody else",
            Self::StoreReplaced => "Consul's store was replaced",
            Self::RuntimeFailed => "the lock runtime failed",
            Self::Shutdown => "the lock runtime was shut down",
            Self::Resigned => "this process resigned",
            Self::Released => "its owner released it",
        })
    }
}

/// The error of work that was stopped because its lease was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the lock {key} (fencing token {token}) was lost: {reason}")]
#[non_exhaustive]
pub struct Lost {
    /// The key of the lost lease.
    pub key: Key,
    /// The token of the lost lease.
    pub token: FencingToken,
    /// Why the lease was lost.
    pub reason: LossReason,
}

/// The outcome of a release.
///
/// As JSON: `"confirmed"` or `{"already_lost":"session_gone"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use = "a lock that was lost before its release did not protect the work to its end"]
pub enum Released {
    /// The lock was owned until the release and is released: the next caller of
    /// this process has it, or Consul confirmed that it is free.
    Confirmed,
    /// The lock was lost before it could be released. No
    /// [`LockLost`](crate::events::LockLost) follows.
    AlreadyLost(LossReason),
}

impl fmt::Display for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confirmed => f.write_str("released"),
            Self::AlreadyLost(reason) => write!(f, "lost before its release: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests;
