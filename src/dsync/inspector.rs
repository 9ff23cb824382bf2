//! The actor that reads a key's holder from Consul.

use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    consul::{
        ask::{Read, SessionInfo},
        client::Consul,
        fact::{Seen, SessionSeen},
    },
    error::{Error, Step},
    key::Key,
    ownership::Holder,
    protocol::session::unavailable,
};

/// Reads keys on the runtime's thread, which owns the connections.
pub(super) struct Inspector {
    consul: Consul,
    limit: Duration,
}

/// Requests the holder of a key.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Look {
    pub(super) key: Key,
    pub(super) reply: oneshot::Sender<Result<Option<Holder>, Error>>,
    /// A permit for one of the concurrent reads; held until the read ends, even if the caller
    /// has gone.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Inspector {
    /// `limit` applies to each request to Consul.
    pub(super) fn new(consul: Consul, limit: Duration) -> Self {
        Self { consul, limit }
    }
}

impl Actor for Inspector {
    type Context = Context<Self>;
}

impl Handler<Look> for Inspector {
    type Result = ();

    fn handle(&mut self, Look { key, reply, permit }: Look, _: &mut Context<Self>) {
        let (consul, limit) = (self.consul.clone(), self.limit);
        if reply.is_closed() {
            return;
        }
        actix_rt::spawn(async move {
            // Fails if the caller has gone, which is fine.
            let _ = reply.send(look(&consul, &key, limit).await);
            drop(permit);
        });
    }
}

async fn look(consul: &Consul, key: &Key, limit: Duration) -> Result<Option<Holder>, Error> {
    let entry = match consul.ask(&Read::Key(key.clone()), limit).await {
        Seen::Found { entry, .. } => entry,
        Seen::Missing { .. } => return Ok(None),
        Seen::Denied(right) => return Err(Error::Denied { right }),
        Seen::NameRefused(why) => return Err(Error::NameRefused { key: key.clone(), why }),
        Seen::Unknown(trouble) => return Err(unavailable(Step::Read, &trouble)),
    };
    let Some(session) = entry.session else { return Ok(None) };
    let info = SessionInfo { session: session.clone() };
    let (session_name, node) = match consul.ask(&info, limit).await {
        SessionSeen::Exists { name, node, .. } => (Some(name), Some(node)),
        // The holder is known; its names are optional.
        _ => (None, None),
    };
    Ok(Some(Holder {
        session: session.to_string(),
        session_name,
        node,
        value: entry.value.into(),
        since: entry.modify_index,
    }))
}
