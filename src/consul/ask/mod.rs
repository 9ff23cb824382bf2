//! The questions to Consul, one file each: the request, the parser of the reply, and the
//! time limit.
//!
//! A positive answer needs Consul's own status and content, with the names of the request.
//! Every other reply leaves the outcome unknown.

mod create_session;
mod delete_fence;
mod destroy_session;
mod duration;
mod entry;
mod get;
mod join_semaphore;
mod leave_semaphore;
mod list;
mod list_sessions;
mod lock;
mod lock_all;
mod log_in;
mod prune_semaphore;
mod raise_fence;
mod read;
mod record;
mod release;
mod renew_session;
mod session_info;
mod stale_fences;
mod survey;
mod watch;
mod write;

use std::time::Duration;

pub(crate) use create_session::{Checks, CreateSession};
pub(crate) use delete_fence::DeleteFence;
pub(crate) use destroy_session::DestroySession;
pub(crate) use join_semaphore::JoinSemaphore;
pub(crate) use leave_semaphore::{LeaveSemaphore, Left};
pub(crate) use list::{List, ListNow};
pub(crate) use list_sessions::{ListAllSessions, ListSessions};
pub(crate) use lock::{Lock, Locks};
pub(crate) use lock_all::LockAll;
pub(super) use log_in::{IsVisible, LogIn, LogOut, LoggedIn};
pub(crate) use prune_semaphore::PruneSemaphore;
pub(crate) use raise_fence::RaiseFence;
pub(crate) use read::Read;
pub(crate) use record::Record;
pub(crate) use release::{Release, ReleaseHow};
pub(crate) use renew_session::RenewSession;
pub(crate) use session_info::SessionInfo;
pub(crate) use stale_fences::{DeleteStaleFences, ListStaleFences};
pub(crate) use survey::{Agent, Leader, MayList, MayRead, MayWrite, Place};
pub(crate) use watch::Watch;
pub(crate) use write::{EntryOp, MOST_ENTRIES, What, Write};

use super::{
    answer::Answer,
    fact::{SessionId, Trouble},
    http::Purpose,
    wire::WireRequest,
};
use crate::key::{Key, RESERVED};

/// A question to Consul.
pub(crate) trait Ask {
    /// The fact that an answer establishes.
    type Fact;

    /// Returns the request. Equal questions give equal bytes, so that a repeated lock
    /// changes nothing in Consul.
    fn request(&self, keys: &Keyspace) -> WireRequest;

    /// Parses Consul's reply.
    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Self::Fact;

    /// Returns the fact if no complete reply arrives.
    fn unanswered(&self, trouble: Trouble) -> Self::Fact;

    /// Returns another question for the same fact, if `fact` says that Consul, or a proxy
    /// before it, does not answer this one.
    fn otherwise(
        &self,
        _keys: &Keyspace,
        _fact: &Self::Fact,
    ) -> Option<Box<dyn Ask<Fact = Self::Fact>>> {
        None
    }

    /// Returns the time limit of the answer. `limit` applies to requests that Consul
    /// answers at once.
    fn limit(&self, limit: Duration) -> Duration {
        limit
    }

    /// The purpose, which selects the connections.
    fn purpose(&self) -> Purpose {
        Purpose::Call
    }
}

/// Maps a runtime's keys to keys in Consul's store, below the prefix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keyspace {
    /// Ends in `/` unless it is empty.
    prefix: String,
    scope: Scope,
}

/// The namespace and the partition of the keys, if they are not the token's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) namespace: Option<String>,
    pub(crate) partition: Option<String>,
}

impl Keyspace {
    /// `prefix` is a valid path without a slash at either end.
    pub(crate) fn below(prefix: Option<&str>) -> Self {
        let prefix = prefix.map(|prefix| format!("{prefix}/")).unwrap_or_default();
        Self { prefix, scope: Scope::default() }
    }

    /// The same keys in another namespace or partition.
    pub(crate) fn within(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn key(&self, key: &Key) -> String {
        [self.prefix(), key.as_str()].concat()
    }

    /// The fence entry of a session.
    pub(crate) fn fence(&self, session: &SessionId) -> String {
        [self.prefix(), RESERVED, "/", session.as_str()].concat()
    }

    /// The record beside a key.
    pub(crate) fn record(&self, key: &Key) -> String {
        [self.prefix(), RESERVED, "/every/", key.as_str()].concat()
    }
}

/// The time limit of a blocking read. Consul may prolong its wait by a sixteenth, and our
/// clock may run a tenth fast.
fn prolonged(wait: Duration, limit: Duration) -> Duration {
    wait.saturating_add(wait / 16).saturating_add(wait / 8).saturating_add(limit)
}

/// Formats a duration with its unit, which every field of Consul accepts. Consul's meaning
/// of a bare number depends on its size.
fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// Escapes every byte of `path` that is special in a URL's path, except `/`.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'/'
            | b','
            | b'=' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Whether this key, relative to the runtime's prefix, is one of the crate's own entries.
fn is_reserved(key: &str) -> bool {
    key.split('/').next() == Some(RESERVED)
}

fn read_right(key: &str) -> String {
    format!("key:read on \"{key}\"")
}

fn write_right(key: &str) -> String {
    format!("key:write on \"{key}\"")
}

#[cfg(test)]
pub(crate) mod tests;
