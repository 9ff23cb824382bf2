//! Requests of administrators.

use actix::Message;
use serde::Serialize;

use crate::{
    error::Error,
    key::Key,
    messages::{ForceReleased, SteppedDown},
    ownership::Holder,
};

/// Takes a lock away from its holder, and frees it.
///
/// The request names the holder as [`Inspect`](crate::Inspect) or [`Holders`] returned it. If
/// the key has changed since, in its holder or its value, nothing happens
/// ([`Error::Conflict`]): a newer holder is never hit.
///
/// A lock that is released in its holder's name has no lock-delay, so the next owner would
/// overlap with a holder that is cut off. Therefore a session made for this purpose takes the
/// key over in one transaction and keeps it for the TTL of the holder's session, at most 60 s
/// (60 s also if the TTL cannot be read). By then the holder's lease has ended, even if its
/// process was stopped or cut off. The key is then released, with its value. A holder that
/// Consul reaches learns it within moments and reports
/// [`LossReason::ForceReleased`](crate::LossReason::ForceReleased).
///
/// One holder is not covered: one that renews its session but never learns that the key has
/// changed, because its right to read the key is missing, or because only its blocking reads
/// are lost. Its session stays alive, and it believes that it has the lock until a read is
/// answered.
///
/// The reply comes when the key is free. A subscriber of this runtime gets [`ForceReleased`]
/// as soon as the key is taken over.
///
/// The holder keeps its session and may contend again: a campaign does so at once, like
/// everybody else. This request needs the rights `session:write`, and `key:write` on the key.
///
/// # Errors
/// [`Error::Conflict`] if the key has changed, or nobody holds it; [`Error::Unknown`] if no
/// complete answer to the take-over arrived, or if the lock was taken away and its release could
/// not be confirmed, whatever prevented it; [`Error::Denied`]; [`Error::NameRefused`];
/// [`Error::Invalid`] if the servers do not allow a session with such a TTL;
/// [`Error::Unavailable`]; [`Error::Stopped`].
///
/// # Cancel safety
/// Dropping the reply changes nothing: the release is completed, and keeps the runtime running
/// until then. If the runtime is shut down while it keeps the key, the key becomes free when
/// the session made for it has expired and its lock-delay is over: after at most about three
/// minutes.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<ForceReleased, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct ForceRelease {
    pub(crate) key: Key,
    pub(crate) session: String,
    pub(crate) index: u64,
    pub(crate) immediate: bool,
}

impl ForceRelease {
    /// Takes `key` away from `holder`.
    pub fn of(key: Key, holder: &Holder) -> Self {
        Self { key, session: holder.session.clone(), index: holder.index, immediate: false }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Frees the key at once, instead of keeping it while the holder's lease may last.
    ///
    /// **This waives the guarantee that the holder knows first.** Until the holder notices, or
    /// its lease ends, it and the next owner can both believe that they have the lock; only
    /// fencing tokens protect. Use it if you know that the holder's process has ended.
    pub fn immediate(self) -> Self {
        Self { immediate: true, ..self }
    }
}

/// Makes the leader of a key step down, so that another candidate is elected.
///
/// The request names the leader as [`Inspect`](crate::Inspect), [`Holders`] or an
/// [`Observer`](crate::Observer) returned it. If the key has changed since, in its holder or
/// its value, nothing happens ([`Error::Conflict`]): a newer leader is never hit. To resign
/// from this process's own leadership, send [`Resign`](crate::Resign): it needs no wait.
///
/// As for [`ForceRelease`], a session made for this purpose takes the key over and keeps it
/// while the leader's lease may last, so that the next leader does not overlap with one that
/// is cut off. Meanwhile nobody leads, and the key's value tells the old leader's process to
/// stand back: its campaign continues, but does not contend until 2 s after the key is free.
/// A candidate elsewhere wins meanwhile. If there is none, the old leader is elected again. A
/// leader that Consul does not reach while the key is kept contends like everybody else.
///
/// The reply comes when the key is free. A subscriber of this runtime gets [`SteppedDown`] as
/// soon as the key is taken over. The old leader's process reports
/// [`Deposed`](crate::events::Deposed) with
/// [`LossReason::ForceReleased`](crate::LossReason::ForceReleased).
///
/// An ordinary lease is taken away just the same; only a campaign stands back. This request
/// needs the rights of [`ForceRelease`].
///
/// # Errors
/// As for [`ForceRelease`].
///
/// # Cancel safety
/// As for [`ForceRelease`].
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SteppedDown, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct StepDown {
    pub(crate) key: Key,
    pub(crate) session: String,
    pub(crate) index: u64,
}

impl StepDown {
    /// Makes `leader` step down from the leadership of `key`.
    pub fn of(key: Key, leader: &Holder) -> Self {
        Self { key, session: leader.session.clone(), index: leader.index }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }
}

/// Lists who holds what in all processes, below a prefix of the runtime's keys.
///
/// The reply is the state at Consul's leader at that moment, sorted by key: every entry that
/// a session locks, whichever program created it. Its cost is proportional to the number of
/// entries below the prefix, locked or not.
///
/// # Errors
/// [`Error::Denied`], [`Error::Unavailable`], [`Error::Stopped`]; [`Error::Invalid`] with the
/// field `prefix` if its name is refused. Without `session:read`, the names and nodes of
/// sessions are missing. Consul omits keys that the token may not read.
///
/// # Cancel safety
/// Dropping the reply changes nothing.
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "Result<Vec<HeldKey>, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Holders {
    pub(crate) prefix: String,
}

impl Holders {
    /// Lists the holders of keys that begin with `prefix`, which need not end at a `/`.
    ///
    /// Default: every key below the runtime's [prefix](crate::Builder::prefix).
    pub fn below(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The prefix of the listed keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// A key that a session holds: an item of the reply to [`Holders`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HeldKey {
    /// The key, without the runtime's prefix. Other programs may lock keys that are no
    /// [`Key`] of this crate.
    pub key: String,
    /// Who holds it.
    pub holder: Holder,
}
