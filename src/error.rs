//! What can go wrong, told so that a caller knows what to do next.

use std::{fmt, time::Duration};

use crate::{escape::Escaped, key::Key, ownership::Holder};

/// What was being asked of Consul when it could not be had.
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
    /// Recording a turn of a periodic job.
    Record,
    /// Destroying the session.
    DestroySession,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateSession => "create the session",
            Self::RenewSession => "renew the session",
            Self::Lock => "lock the key",
            Self::Read => "read the key",
            Self::Release => "release the key",
            Self::Record => "record the job's turn",
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
    /// Another holder has the lock. Only requests that do not wait say so.
    #[error("the lock {key} is held by {holder}")]
    Held {
        /// The key that was asked for.
        key: Key,
        /// Who has it.
        holder: Box<Holder>,
    },
    /// Nobody holds the key, but Consul keeps it closed for the lock-delay after
    /// a holder's session ended. Only requests that do not wait say so.
    #[error("the lock {key} is closed by Consul's lock-delay{}", remaining_text(*.remaining))]
    LockDelay {
        /// The key that was asked for.
        key: Key,
        /// How long it stays closed, if that could be known.
        remaining: Option<Duration>,
    },
    /// The time that the caller gave to wait has passed.
    #[error(
        "the lock {key} was not granted within {waited:.1?}{}", holder_text(.holder.as_deref())
    )]
    WaitedTooLong {
        /// The key that was asked for.
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
        /// The key that was asked for.
        key: Key,
        /// The limit in force.
        limit: usize,
    },
    /// As many keys are in use as `Limits::keys` allows.
    #[error("{limit} keys are in use already (limit: limits.keys)")]
    TooManyKeys {
        /// The limit in force.
        limit: usize,
    },
    /// The key exists and was not made by a lock of this kind; it is left as it
    /// is. Choose another key, or configure the flags that your locks carry.
    #[error(
        "the key {key} holds something that is no lock of ours (its flags are {found}); \
         it was left untouched"
    )]
    FlagConflict {
        /// The key that was asked for.
        key: Key,
        /// The flags that the key carries.
        found: u64,
    },
    /// The request or the configuration is not valid.
    #[error("{field} {}", Escaped(.why))]
    Invalid {
        /// Which input.
        field: &'static str,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// Work for the key runs in this runtime already, or is still stopping. It is
    /// refused because two pieces of work for one key would run at the same time in
    /// one process. Start it once, before `HttpServer::new`, whose closure runs once
    /// for each worker; give other work a key of its own.
    #[error(
        "work for {key} was started already in this process: start it once, outside of the closure \
         that HttpServer runs for each worker, or give it a key of its own"
    )]
    AlreadyStarted {
        /// The key.
        key: Key,
    },
    /// The ACL token lacks a right.
    #[error("Consul denied {}: give the ACL token that right", Escaped(.right))]
    Denied {
        /// The missing right.
        right: String,
    },
    /// Consul could not be asked, or did not answer as Consul does.
    #[error("could not {step}: {}", Escaped(.why))]
    Unavailable {
        /// What was being done.
        step: Step,
        /// What went wrong.
        why: String,
    },
    /// The runtime was shut down, or failed for good.
    #[error("the lock runtime has stopped")]
    Stopped,
}

fn remaining_text(remaining: Option<Duration>) -> String {
    remaining.map(|left| format!(" for another {left:.1?}")).unwrap_or_default()
}

fn holder_text(holder: Option<&Holder>) -> String {
    holder.map(|holder| format!("; it was last held by {holder}")).unwrap_or_default()
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field is outside its range.
    #[error("{field} is {value}; it must be {range}")]
    OutOfRange {
        /// The field, as the configuration file spells it.
        field: &'static str,
        /// The value given.
        value: String,
        /// The values that are allowed.
        range: String,
    },
    /// Two settings cannot work together.
    #[error("{0}")]
    Conflict(String),
    /// A variable of the environment cannot be read.
    #[error("environment variable {name}: {}", Escaped(.why))]
    Env {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The runtime's thread could not be started.
    #[error("could not start the lock runtime's thread: {0}")]
    Thread(#[source] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    static_assertions::assert_impl_all!(Error: Send, Sync, std::error::Error, Clone);
    static_assertions::assert_impl_all!(ConfigError: Send, Sync, std::error::Error);
    // An I/O error means nothing without the step that met it.
    static_assertions::assert_not_impl_any!(Error: From<std::io::Error>);
    static_assertions::assert_not_impl_any!(ConfigError: From<std::io::Error>);

    #[test]
    fn an_error_names_the_holder_it_met() {
        let holder = Holder {
            session: "s-1".into(),
            session_name: Some("orders".into()),
            node: None,
            value: b"{\"pid\":7}"[..].into(),
            since: 3,
        };
        let held = Error::Held { key: Key::new("orders/7").unwrap(), holder: Box::new(holder) };
        let text = held.to_string();
        assert_eq!(
            text,
            "the lock orders/7 is held by session s-1 of \"orders\" saying {\"pid\":7}"
        );
    }

    #[test]
    fn what_others_wrote_is_one_line_and_moves_no_cursor() {
        let wild = "\u{1b}[2Jall is well\r\n\u{202e}";
        let holder = Holder {
            session: wild.into(),
            session_name: Some(wild.into()),
            node: Some(wild.into()),
            value: wild.as_bytes().into(),
            since: 3,
        };
        let held = || Box::new(holder.clone());
        let key = || Key::new("orders/7").unwrap();
        for error in [
            Error::Held { key: key(), holder: held() },
            Error::WaitedTooLong { key: key(), waited: Duration::ZERO, holder: Some(held()) },
            Error::Invalid { field: "key", why: wild.into() },
            Error::Denied { right: wild.into() },
            Error::Unavailable { step: Step::Read, why: wild.into() },
        ] {
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(text.chars().all(crate::escape::is_printable), "{text:?}");
                assert!(text.contains("all is well"), "{text}");
            }
        }
    }
}
