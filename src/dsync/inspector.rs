//! The actor that asks Consul for callers.

use std::time::Duration;

use actix::prelude::*;
use futures::future::LocalBoxFuture;
use tokio::sync::OwnedSemaphorePermit;

use crate::consul::client::Consul;

/// Asks Consul on the runtime's thread, which owns the connections.
pub(super) struct Inspector {
    consul: Consul,
    limit: Duration,
}

/// Reads something and sends the reply.
pub(super) type Reading = Box<dyn FnOnce(Consul, Duration) -> LocalBoxFuture<'static, ()> + Send>;

/// Requests a reading.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Look {
    pub(super) reading: Reading,
    /// A permit for one of the concurrent reads, if it is one; held until the read ends, even if the caller
    /// has gone.
    pub(super) permit: Option<OwnedSemaphorePermit>,
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

    fn handle(&mut self, Look { reading, permit }: Look, _: &mut Context<Self>) {
        let reading = reading(self.consul.clone(), self.limit);
        actix_rt::spawn(async move {
            reading.await;
            drop(permit);
        });
    }
}
