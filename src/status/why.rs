//! Why a key is not granted, in the words that every report uses.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::millis::optional_millis;
use crate::escape::Escaped;

/// Why a key is not granted to the callers of this process that want it, and for how long
/// at least, if that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Why {
    /// The kind of the reason.
    pub kind: Hindrance,
    /// The reason in words, on one line.
    pub text: String,
    /// When this process takes its next step, for instance because a lock-delay ends.
    /// `None` if that depends on others.
    #[serde(rename = "left_ms", serialize_with = "optional_millis")]
    pub left: Option<Duration>,
}

/// The kind of a [`Why`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hindrance {
    /// Another caller of this process, or another session, holds the key.
    Held,
    /// Many processes want the key. This one rests, because its turn is not near.
    Crowd,
    /// The session of the last holder ended, and Consul's lock-delay keeps the key closed.
    LockDelay,
    /// This process leaves the free key to other processes for a moment.
    Courtesy,
    /// The ACL token lacks a right.
    Denied,
    /// The key is not a lock of this service: its flags differ.
    FlagConflict,
    /// Consul, or a proxy before it, refuses the key's name.
    NameRefused,
    /// There is no Consul session to lock the key with.
    NoSession,
    /// A request to Consul failed, and is repeated after a pause.
    Unavailable,
    /// The key is wanted only together with others, one of which cannot be locked.
    Gathering,
    /// A lock request was not answered. A read decides whether it locked the key.
    Unclear,
}

impl Why {
    pub(crate) fn new(kind: Hindrance, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), left: None }
    }

    /// Adds when the next step is due, with the words for it.
    pub(crate) fn until(mut self, words: &str, left: Duration) -> Self {
        self.text.push_str(&format!("{words}{left:.1?}"));
        Self { left: Some(left), ..self }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped(&self.text))
    }
}
