//! The actor that asks Consul for callers.

use std::{collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

use actix::prelude::*;
use futures::future::LocalBoxFuture;
use tokio::sync::{Semaphore, oneshot};

use super::survey::Survey;
use crate::{actors::Settings, consul::client::Consul, key::Key, status::findings::Preflight};

/// How many readings and preflights are under way at most; others wait for their turn.
const MOST_READINGS: usize = 64;

/// Asks Consul on the runtime's thread, which owns the connections.
pub(super) struct Inspector {
    consul: Consul,
    settings: Rc<Settings>,
    /// The runtime's tasks wait for it, not the callers' futures: one that nobody polls would
    /// keep its turn.
    turns: Arc<Semaphore>,
}

/// Requests a preflight.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RunPreflight {
    pub(super) keys: BTreeSet<Key>,
    pub(super) reply: oneshot::Sender<Preflight>,
}

/// Asks Consul and sends the reply.
pub(super) type Task = Box<dyn FnOnce(Consul, Duration) -> LocalBoxFuture<'static, ()> + Send>;

/// Requests a task.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RunTask {
    pub(super) task: Task,
    /// It reads: the number of such tasks is limited.
    pub(super) reads: bool,
}

impl Inspector {
    pub(super) fn new(consul: Consul, settings: Rc<Settings>) -> Self {
        Self { consul, settings, turns: Arc::new(Semaphore::new(MOST_READINGS)) }
    }
}

impl Actor for Inspector {
    type Context = Context<Self>;
}

impl Handler<RunTask> for Inspector {
    type Result = ();

    fn handle(&mut self, RunTask { task, reads }: RunTask, _: &mut Context<Self>) {
        let (consul, turns) = (self.consul.clone(), self.turns.clone());
        let limit = self.settings.timing.request_timeout();
        actix_rt::spawn(async move {
            let _turn = if reads { turns.acquire().await.ok() } else { None };
            task(consul, limit).await;
        });
    }
}

impl Handler<RunPreflight> for Inspector {
    type Result = ();

    fn handle(&mut self, RunPreflight { keys, reply }: RunPreflight, _: &mut Context<Self>) {
        let (consul, settings) = (self.consul.clone(), self.settings.clone());
        let turns = self.turns.clone();
        actix_rt::spawn(async move {
            let _turn = turns.acquire().await.ok();
            if reply.is_closed() {
                return;
            }
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
        });
    }
}
