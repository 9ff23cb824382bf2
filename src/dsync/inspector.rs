//! The actor that asks Consul for callers.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use actix::prelude::*;
use futures::future::LocalBoxFuture;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::survey::Survey;
use crate::{actors::Settings, consul::client::Consul, key::Key, status::findings::Preflight};

/// Asks Consul on the runtime's thread, which owns the connections.
pub(super) struct Inspector {
    consul: Consul,
    settings: Rc<Settings>,
}

/// Requests a preflight.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RunPreflight {
    pub(super) keys: BTreeSet<Key>,
    pub(super) reply: oneshot::Sender<Preflight>,
    pub(super) permit: OwnedSemaphorePermit,
}

/// Asks Consul and sends the reply.
pub(super) type Task = Box<dyn FnOnce(Consul, Duration) -> LocalBoxFuture<'static, ()> + Send>;

/// Requests a task.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RunTask {
    pub(super) task: Task,
    /// The permit of a task whose number is limited, a read. It is held until the task ends,
    /// even if the caller has gone.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl Inspector {
    pub(super) fn new(consul: Consul, settings: Rc<Settings>) -> Self {
        Self { consul, settings }
    }
}

impl Actor for Inspector {
    type Context = Context<Self>;
}

impl Handler<RunTask> for Inspector {
    type Result = ();

    fn handle(&mut self, RunTask { task, permit }: RunTask, _: &mut Context<Self>) {
        let limit = self.settings.timing.request_timeout();
        let task = task(self.consul.clone(), limit);
        actix_rt::spawn(async move {
            task.await;
            drop(permit);
        });
    }
}

impl Handler<RunPreflight> for Inspector {
    type Result = ();

    fn handle(
        &mut self,
        RunPreflight { keys, reply, permit }: RunPreflight,
        _: &mut Context<Self>,
    ) {
        let (consul, settings) = (self.consul.clone(), self.settings.clone());
        actix_rt::spawn(async move {
            let survey = Survey {
                consul: &consul,
                service: &settings.service,
                timing: &settings.timing,
                watches: settings.watches,
                keys,
            };
            let found = survey.run().await;
            settings.journal.set_preflight(&found);
            let _ = reply.send(found);
            drop(permit);
        });
    }
}
