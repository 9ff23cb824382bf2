//! What the actors of one runtime say to each other. Each knows these messages and
//! none of the actors above it.

use std::time::Duration;

use actix::Message;
use tokio::sync::oneshot;

use crate::{
    error::Error,
    holding::watchers,
    protocol::{session, warden},
};

/// Something that the warden has to know, from any part of the runtime.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ForWarden(pub(crate) warden::Event);

/// Something that the session has to know, from the supervisor or from Consul.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ForSession(pub(super) session::Event);

/// Watches a key.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Watch(pub(super) watchers::Watch);

/// Ends a lock's actor: its slot is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Retire;

/// Ends the runtime in good order, within the limit.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop {
    pub(crate) limit: Duration,
    pub(crate) done: Option<oneshot::Sender<Result<(), Error>>>,
}
