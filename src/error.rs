//! The errors of requests and configurations.

use std::{fmt, time::Duration};

use crate::{escape::Escaped, key::Key, ownership::Holder, token::FencingToken};

/// The operation that Consul did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Creating the session.
    CreateSession,
    /// Renewing the session.
    RenewSession,
    /// Locking a key.
    Lock,
    /// Reading a key.
    Read,
    /// Releasing a key.
    Release,
    /// Writing under a lock.
    Write,
    /// Recording a turn of a periodic job.
    Record,
    /// Destroying the session.
    DestroySession,
}

impl Step {
    fn concerns_a_key(self) -> bool {
        match self {
            Self::CreateSession | Self::RenewSession | Self::DestroySession => false,
            Self::Lock | Self::Read | Self::Release | Self::Write | Self::Record => true,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateSession => "create the session",
            Self::RenewSession => "renew the session",
            Self::Lock => "lock the key",
            Self::Read => "read the key",
            Self::Release => "release the key",
            Self::Write => "write under the lock",
            Self::Record => "record a turn of the job",
            Self::DestroySession => "destroy the session",
        })
    }
}

/// Why a request to the lock runtime was not granted.
///
/// Variants may be added. The fields of a variant stay as they are, so that a mock
/// can construct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another holder has the lock. Only requests that do not wait return this.
    #[error("the lock {key} is held by {holder}")]
    Held {
        /// The requested key.
        key: Key,
        /// The holder.
        holder: Box<Holder>,
    },
    /// Nobody holds the key, but Consul's lock-delay keeps it closed because a holder's
    /// session ended. Only requests that do not wait return this.
    #[error("the lock {key} is closed by Consul's lock-delay{}", remaining_text(*.remaining))]
    LockDelay {
        /// The requested key.
        key: Key,
        /// How long it stays closed, if known.
        remaining: Option<Duration>,
    },
    /// The caller's time limit for the wait has passed.
    #[error(
        "the lock {key} was not granted within {waited:.1?}{}", holder_text(.holder.as_deref())
    )]
    WaitedTooLong {
        /// The requested key.
        key: Key,
        /// How long the caller waited.
        waited: Duration,
        /// The last holder seen, if any.
        holder: Option<Box<Holder>>,
    },
    /// As many callers wait for this key as `Limits::waiters_per_key` allows.
    #[error(
        "{limit} callers of this process already wait for the lock {key} \
         (limit: limits.waiters_per_key)"
    )]
    TooManyWaiters {
        /// The requested key.
        key: Key,
        /// The limit in force.
        limit: usize,
    },
    /// As many keys are in use as `Limits::keys` allows for this kind of request.
    #[error(
        "no room for {key}: this process uses {limit} keys or more, the share of limits.keys for \
         this kind of request"
    )]
    TooManyKeys {
        /// The requested key.
        key: Key,
        /// The limit in force.
        limit: usize,
    },
    /// The key is used for something else than what was requested, and left unchanged: it
    /// exists and carries other flags than [`Config::flags`](crate::Config::flags), or than a
    /// semaphore's; or this process itself uses it as a lock, observes it, or uses it as a
    /// semaphore. Choose another key, or configure the flags of your locks. A lock also has
    /// flags of 0 if somebody edited its value, which sets them to 0, and its holder crashed
    /// then; a process that has never seen the lock cannot tell. Delete such a key.
    #[error(
        "the key {key} is used for something else (with the flags {found}); it was left \
         unchanged{}", flags_text(*.found)
    )]
    FlagConflict {
        /// The requested key.
        key: Key,
        /// The key's flags, or those of what this process uses it for.
        found: u64,
    },
    /// No permit for this caller: all are taken, or another caller of this process has the one
    /// permit that a process can have.
    #[error("no permit of {key} (limit {limit}) {} for this caller", free_text(*.waited))]
    NoPermit {
        /// The semaphore's key.
        key: Key,
        /// The limit of the semaphore.
        limit: u32,
        /// How long the caller waited; `None` for requests that do not wait.
        waited: Option<Duration>,
    },
    /// The semaphore has another limit. All processes must use the same; to change it, let
    /// all of them release their permits first.
    #[error(
        "the semaphore {key} has the limit {found}, not {asked}; all processes must use the same \
         limit, and it changes once all permits are released"
    )]
    LimitConflict {
        /// The semaphore's key.
        key: Key,
        /// The requested limit.
        asked: u32,
        /// The limit that the semaphore has.
        found: u64,
    },
    /// The key has a semaphore's flags, but its value is not a semaphore's. It is left
    /// unchanged. Delete such a key.
    #[error(
        "the key {key} is no semaphore ({}); it was left unchanged: delete it if nothing else \
         uses it", Escaped(.why)
    )]
    NoSemaphore {
        /// The semaphore's key.
        key: Key,
        /// What is wrong with the value.
        why: String,
    },
    /// Consul, or a proxy before it, refuses to read a key of this name, in a path and also
    /// in a transaction: see [`Key`](crate::Key). Waiting does not help. Make the key with
    /// [`Key::join`](crate::Key::join), or let the servers accept it: Consul from 1.21.6 on
    /// has the option `disable_kv_key_validation`.
    #[error(
        "the name of the lock {key} is refused by Consul, or by a proxy before it ({}); use \
         letters, digits and -_.,=/ as Key::join does", Escaped(.why)
    )]
    NameRefused {
        /// The requested key.
        key: Key,
        /// The refusal.
        why: String,
    },
    /// The request or the configuration is not valid.
    #[error("{field} {}", Escaped(.why))]
    Invalid {
        /// The invalid field.
        field: &'static str,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// Work for the key already runs in this runtime, or is still stopping. A second
    /// start is refused: two pieces of work for one key would run in one process at the
    /// same time. Start it once, before `HttpServer::new`, whose closure runs once per
    /// worker. Give other work its own key.
    #[error(
        "work for {key} already runs in this process: start it once, outside the closure \
         that HttpServer runs for each worker, or give it its own key"
    )]
    AlreadyStarted {
        /// The key.
        key: Key,
    },
    /// The ACL token lacks a right.
    #[error("Consul denied {}: grant the ACL token that right", Escaped(.right))]
    Denied {
        /// The missing right.
        right: String,
    },
    /// Consul was unreachable, or the answer was an error or not from Consul.
    #[error("could not {step}{}: {}", key_text(.key.as_ref()), Escaped(.why))]
    Unavailable {
        /// The operation that failed.
        step: Step,
        /// The key, unless the operation concerns the session or many keys.
        key: Option<Key>,
        /// What went wrong.
        why: String,
    },
    /// The lease or term under which to write has ended, or its key is no longer locked
    /// by this process. The write is refused, now and whenever it arrives.
    #[error("{key} is no longer held under the token {token}: the write was refused")]
    NotHeld {
        /// The key of the lock.
        key: Key,
        /// The token of the lease or term.
        token: FencingToken,
    },
    /// An entry does not have the state that a write requires, or the key has another holder
    /// than [`ForceRelease`](crate::admin::ForceRelease) or [`StepDown`](crate::admin::StepDown)
    /// names, or none. Nothing was changed. Read the entry again.
    #[error("{key} is not as it was read: nothing was changed")]
    Conflict {
        /// The entry.
        key: Key,
    },
    /// No complete answer arrived: the request may have taken effect, or may still do so.
    #[error(
        "could not learn whether this took effect: {step}{}: {}",
        key_text(.key.as_ref()), Escaped(.why)
    )]
    Unknown {
        /// The operation.
        step: Step,
        /// The key, unless the operation concerns the session or many keys.
        key: Option<Key>,
        /// What went wrong.
        why: String,
    },
    /// The runtime was shut down, or failed permanently; or it has handed its leadership over,
    /// and a singleton or a job is started.
    #[error("the lock runtime has stopped, or has handed its leadership over")]
    Stopped,
}

impl Error {
    /// [`Error::Unavailable`], which does not name a key yet.
    pub(crate) fn unavailable(step: Step, why: impl Into<String>) -> Self {
        Self::Unavailable { step, key: None, why: why.into() }
    }

    /// [`Error::Unknown`], which does not name a key yet.
    pub(crate) fn unknown(step: Step, why: impl Into<String>) -> Self {
        Self::Unknown { step, key: None, why: why.into() }
    }

    /// This error, which names `of` if it is about a key and names none.
    pub(crate) fn naming(mut self, of: &Key) -> Self {
        if let Self::Unavailable { step, key, .. } | Self::Unknown { step, key, .. } = &mut self
            && step.concerns_a_key()
        {
            key.get_or_insert_with(|| of.clone());
        }
        self
    }
}

fn key_text(key: Option<&Key>) -> String {
    key.map(|key| format!(" {key}")).unwrap_or_default()
}

fn flags_text(found: u64) -> &'static str {
    if found == 0 { "; if it is a lock whose value somebody edited, delete the key" } else { "" }
}

fn remaining_text(remaining: Option<Duration>) -> String {
    remaining.map(|left| format!(" for another {left:.1?}")).unwrap_or_default()
}

fn free_text(waited: Option<Duration>) -> String {
    match waited {
        Some(waited) => format!("became free within {waited:.1?}"),
        None => "is free".into(),
    }
}

fn holder_text(holder: Option<&Holder>) -> String {
    holder.map(|holder| format!("; it was last held by {holder}")).unwrap_or_default()
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field is outside its range.
    #[error("{field} is {}; it must be {range}", Escaped(.value))]
    OutOfRange {
        /// The field, as spelled in a configuration file.
        field: &'static str,
        /// The configured value.
        value: String,
        /// The allowed values.
        range: String,
    },
    /// A setting is invalid, or two settings cannot work together.
    #[error("{}", Escaped(.0))]
    Conflict(String),
    /// An environment variable is invalid, unreadable or not supported.
    #[error("environment variable {name}: {}", Escaped(.why))]
    Env {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The operating system did not start the runtime's thread.
    #[error("could not start the lock runtime's thread: {0}")]
    Thread(#[source] std::io::Error),
}

#[cfg(test)]
mod tests;
