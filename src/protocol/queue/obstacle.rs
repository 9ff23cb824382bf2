//! Why the key could not be acquired.

use std::time::Duration;

use crate::{error::Error, key::Key, ownership::Holder};

/// Why the key could not be acquired so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Held(Box<Holder>),
    Delayed {
        remaining: Option<Duration>,
    },
    /// The key exists with other flags than those of our locks.
    Foreign {
        flags: u64,
    },
    /// Consul, or a proxy before it, refuses to read a key of this name.
    NameRefused {
        why: String,
    },
    /// The key is a semaphore with another limit.
    LimitDiffers {
        asked: u32,
        found: u64,
    },
    /// The key has a semaphore's flags, but not its content.
    NoSemaphore {
        why: String,
    },
    Trouble(Error),
}

impl Obstacle {
    /// The error of a request for `key` that this obstacle ends.
    pub(crate) fn into_error(self, key: &Key) -> Error {
        let key = key.clone();
        match self {
            Self::Held(holder) => Error::Held { key, holder },
            Self::Delayed { remaining } => Error::LockDelay { key, remaining },
            Self::Foreign { flags } => Error::FlagConflict { key, found: flags },
            Self::NameRefused { why } => Error::NameRefused { key, why },
            Self::LimitDiffers { asked, found } => Error::LimitConflict { key, asked, found },
            Self::NoSemaphore { why } => Error::NoSemaphore { key, why },
            Self::Trouble(error) => error.naming(&key),
        }
    }
}
