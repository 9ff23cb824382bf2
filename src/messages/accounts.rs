//! What is asked of the runtime about itself.

use actix::Message;

use crate::{
    error::Error,
    key::Key,
    status::report::{KeyReport, Report},
};

/// Asks what this process knows of a key, and does about it. Consul is not asked;
/// [`Inspect`](crate::Inspect) does that.
///
/// It is answered from memory at the sending, also while the runtime's thread is
/// stuck, and after a shutdown. A key that is not in use is
/// [`KeyState::Idle`](crate::report::KeyState::Idle).
///
/// # Errors
/// None by [`Dsync::send`](crate::Dsync::send).
///
/// # Cancel safety
/// Dropping the reply changes nothing.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<KeyReport, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Explain(
    /// The key to ask about.
    pub Key,
);

/// Asks what this process knows and does: its session, every key that is in use,
/// and what went wrong lately. As [`Explain`] in all else. It takes time in
/// proportion to the number of keys.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Report, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct List;
