//! Requests for reports.

use actix::Message;

use crate::{
    error::Error,
    key::Key,
    status::report::{KeyReport, Report},
};

/// Requests a report on a key: its state in this process. It does not ask Consul;
/// [`Inspect`](crate::Inspect) does.
///
/// The reply comes from memory when the request is sent, even while the runtime's
/// thread is stuck and after a shutdown. A key that is not in use is
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
    /// The key to report on.
    pub Key,
);

/// Requests a report on this process: its session, every key in use, and recent
/// incidents. Its cost is proportional to the number of keys.
///
/// As for [`Explain`], the reply comes from memory, and does not ask Consul.
///
/// # Errors
/// None by [`Dsync::send`](crate::Dsync::send).
///
/// # Cancel safety
/// Dropping the reply changes nothing.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Report, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct List;
