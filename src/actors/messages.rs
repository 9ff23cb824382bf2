//! Messages between the actors of one runtime.
//!
//! An actor imports these messages, not the actors that start it.

use std::time::Duration;

use actix::Message;
use tokio::sync::oneshot;

use crate::{
    error::Error,
    holding::watchers,
    protocol::{session, warden},
};

/// An event for the warden, from any part of the runtime.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ForWarden(pub(crate) warden::Event);

/// An event for the session machine, from the supervisor or from a Consul request.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ForSession(pub(super) session::Event);

/// Starts a watch on a key.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Watch(pub(super) watchers::Watch);

/// Stops a lock actor whose slot was removed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Retire;

/// Shuts the runtime down cleanly, within `limit`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop {
    pub(crate) limit: Duration,
    pub(crate) done: Option<oneshot::Sender<Result<(), Error>>>,
}
