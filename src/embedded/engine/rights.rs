//! The ACLs: which rights the clients lack, and how Consul says so.

use super::Engine;

/// A right that [`allow`](crate::embedded::Embedded::allow) withdraws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EmbeddedRight {
    /// `key:read` for every key. As in Consul, there is no `key:write` without it: listings
    /// find nothing, and reads of one key are denied.
    KeyRead,
    /// `key:write` for every key.
    KeyWrite,
    /// `session:read` for every node. As in Consul, there is no `session:write` without it:
    /// reads find no session.
    SessionRead,
    /// `session:write` for every node.
    SessionWrite,
    /// The agent knows the clients' token. Otherwise it denies every request but
    /// `/v1/status/leader` with `ACL not found`.
    Token,
}

/// The token that denials name.
const ACCESSOR: &str = "8a2d52a0-6b41-7077-8374-09d4fafa2d30";

impl EmbeddedRight {
    /// The right as a denial names it.
    fn name(self) -> &'static str {
        match self {
            Self::KeyRead => "key:read",
            Self::KeyWrite => "key:write",
            Self::SessionRead => "session:read",
            Self::SessionWrite => "session:write",
            Self::Token => "any",
        }
    }
}

impl Engine {
    pub(crate) fn allow(&mut self, right: EmbeddedRight, is_allowed: bool) {
        let lacking = &mut self.settings.lacking;
        if is_allowed {
            lacking.remove(&right)
        } else {
            lacking.insert(right)
        };
    }

    pub(crate) fn lacks(&self, right: EmbeddedRight) -> bool {
        let implied = match right {
            EmbeddedRight::KeyWrite => EmbeddedRight::KeyRead,
            EmbeddedRight::SessionWrite => EmbeddedRight::SessionRead,
            other => other,
        };
        [right, implied].iter().any(|right| self.settings.lacking.contains(right))
    }

    /// The text of a denial, if the right for the key or node of this name is lacking.
    pub(crate) fn denial(&self, right: EmbeddedRight, name: &[u8]) -> Option<String> {
        if !self.lacks(right) {
            return None;
        }
        if right == EmbeddedRight::Token {
            return Some("ACL not found".into());
        }
        Some(match self.settings.newer {
            false => "Permission denied".into(),
            // The name is quoted, but not escaped.
            true => format!(
                "Permission denied: token with AccessorID '{ACCESSOR}' lacks permission '{}' on \"{}\"",
                right.name(),
                String::from_utf8_lossy(name)
            ),
        })
    }
}
