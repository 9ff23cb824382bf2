//! What is said of an ownership: who has it, how it ended.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct as _};

use crate::{key::Key, token::FencingToken};

/// Who owns a key according to Consul.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Holder {
    /// The id of the Consul session that holds the key.
    pub session: String,
    /// The name of that session; this crate names its sessions after the
    /// service. `None` if it was not asked for or may not be read.
    pub session_name: Option<String>,
    /// The node to which that session belongs. `None` as above.
    pub node: Option<String>,
    /// The key's value, as the holder wrote it.
    pub value: Vec<u8>,
    /// The Consul index of the key's last change.
    pub since: u64,
}

impl Holder {
    /// The value as JSON, if it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.value).ok()
    }
}

/// The value as JSON if it is JSON, else as text, in which what is not UTF-8 is
/// replaced.
impl Serialize for Holder {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { session, session_name, node, value, since } = self;
        let mut holder = to.serialize_struct("Holder", 5)?;
        holder.serialize_field("session", session)?;
        holder.serialize_field("session_name", session_name)?;
        holder.serialize_field("node", node)?;
        match self.json() {
            Some(json) => holder.serialize_field("value", &json)?,
            None => holder.serialize_field("value", &String::from_utf8_lossy(value))?,
        }
        holder.serialize_field("since", since)?;
        holder.end()
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, session_name, node, value, since } = self;
        f.debug_struct("Holder")
            .field("session", session)
            .field("session_name", session_name)
            .field("node", node)
            .field("value", &format_args!("\"{}\"", value.escape_ascii()))
            .field("since", since)
            .finish()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}", self.session)?;
        if let Some(name) = self.session_name.as_deref().filter(|name| !name.is_empty()) {
            write!(f, " of {name:?}")?;
        }
        if let Some(node) = &self.node {
            write!(f, " on node {node:?}")?;
        }
        if let (Ok(text), 1..=256) = (std::str::from_utf8(&self.value), self.value.len()) {
            write!(f, " saying {text}")?;
        }
        Ok(())
    }
}

/// What a process does about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyState {
    /// Nothing.
    Idle,
    /// It has the key.
    Held,
    /// It wants the key and has no session to lock it with.
    NoSession,
    /// It asks Consul for the key.
    Trying,
    /// Somebody else has the key; it waits.
    Waiting,
    /// It tries again in a moment: the lock-delay, after trouble, or so that others
    /// have their turn.
    Pausing,
    /// It finds out whether a request with an unknown outcome took the key.
    Unclear,
    /// It has lost the key and finds out why.
    Losing,
    /// It gives the key back.
    Releasing,
    /// It only looks at who has the key.
    Observing,
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Held => "held",
            Self::NoSession => "no session",
            Self::Trying => "trying",
            Self::Waiting => "waiting",
            Self::Pausing => "pausing",
            Self::Unclear => "unclear",
            Self::Losing => "losing",
            Self::Releasing => "releasing",
            Self::Observing => "observing",
        })
    }
}

/// Why an ownership ended without its owner's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossReason {
    /// No renewal of the session was answered in time. Consul may be out of
    /// reach, or this process was stopped; nobody else owns the key yet.
    DeadlinePassed,
    /// Consul says that the session is gone: destroyed by hand, or invalidated
    /// with its node, its agent or one of its checks.
    SessionGone,
    /// Somebody deleted the key.
    KeyDeleted,
    /// Somebody released the key in our session's name.
    ForceReleased,
    /// Consul's store was replaced: a snapshot restored, or an agent restarted
    /// empty.
    StoreReplaced,
    /// The part of this runtime that kept the lock failed. It was restarted.
    RuntimeFailed,
    /// The runtime was shut down while the lease was held.
    Shutdown,
    /// This process stood down from leadership by a [`Resign`](crate::Resign).
    /// Only terms end so.
    Resigned,
}

impl LossReason {
    /// Every reason, at the place of its code.
    pub(crate) const ALL: [Self; 8] = [
        Self::DeadlinePassed,
        Self::SessionGone,
        Self::KeyDeleted,
        Self::ForceReleased,
        Self::StoreReplaced,
        Self::RuntimeFailed,
        Self::Shutdown,
        Self::Resigned,
    ];

    /// A small number that stands for it.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The reason with that code.
    pub(crate) fn of_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// As it is written in JSON and in labels.
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
        }
    }
}

const _: () = {
    let mut place = 0;
    while place < LossReason::ALL.len() {
        assert!(LossReason::ALL[place].code() as usize == place);
        place += 1;
    }
    // A reason that is added goes to the end, here and in `ALL`.
    assert!(LossReason::ALL.len() == LossReason::Resigned.code() as usize + 1);
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
        })
    }
}

/// Work stopped because its lease was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the lock {key} (fencing token {token}) was lost: {reason}")]
#[non_exhaustive]
pub struct Lost {
    /// The key of the lost lease.
    pub key: Key,
    /// The token of the lost lease.
    pub token: FencingToken,
    /// Why it was lost.
    pub reason: LossReason,
}

/// How a release went. There is no third way.
///
/// As JSON: `"confirmed"` or `{"already_lost":"session_gone"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use = "a lock that was lost before its release did not protect the work to its end"]
pub enum Released {
    /// The lock was owned until the release, and is given back: the next caller
    /// of this process has it, or Consul confirmed that it is free.
    Confirmed,
    /// The lock was lost before it could be given back. No
    /// [`LockLost`](crate::LockLost) follows.
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
mod tests {
    use super::*;

    #[test]
    fn what_another_process_wrote_into_a_key_is_printed_escaped() {
        let holder = Holder {
            session: "s-1".into(),
            session_name: None,
            node: None,
            value: b"{\"a\":1}\n\x1b[31m \xff".to_vec(),
            since: 3,
        };
        let debug = format!("{holder:?}");
        assert!(debug.contains(r#"value: "{\"a\":1}\n\x1b[31m \xff""#), "{debug}");
        assert!(!holder.to_string().contains(['\n', '\u{1b}']));
    }

    #[test]
    fn the_end_of_a_release_has_words_and_json() {
        let lost = Released::AlreadyLost(LossReason::SessionGone);
        for (released, text, json) in [
            (Released::Confirmed, "released", r#""confirmed""#),
            (
                lost,
                "lost before its release: the Consul session is gone",
                r#"{"already_lost":"session_gone"}"#,
            ),
        ] {
            assert_eq!(released.to_string(), text);
            assert_eq!(serde_json::to_string(&released).unwrap(), json);
            assert_eq!(serde_json::from_str::<Released>(json).unwrap(), released);
        }
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn a_reason_has_one_name_in_labels_and_in_json() {
        for reason in [
            LossReason::DeadlinePassed,
            LossReason::SessionGone,
            LossReason::KeyDeleted,
            LossReason::ForceReleased,
            LossReason::StoreReplaced,
            LossReason::RuntimeFailed,
            LossReason::Shutdown,
            LossReason::Resigned,
        ] {
            assert_eq!(serde_json::json!(reason), reason.name());
        }
    }
}
