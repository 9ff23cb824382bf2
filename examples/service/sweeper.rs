//! The work that only one of the service's processes does.

use std::time::Duration;

use actix::{Actor, AsyncContext as _, Context};
use actix_dsync::{
    Dsync, Error, Term,
    jobs::{Singleton, SingletonHandle},
};

const PERIOD: Duration = Duration::from_secs(10);

/// Sweeps the orders periodically, in the process that leads.
pub(crate) struct Sweeper {
    term: Term,
}

impl Sweeper {
    /// Starts one for when this process leads. It lives while the handle does.
    pub(crate) fn start(dsync: &Dsync) -> Result<SingletonHandle<Self>, Error> {
        Singleton::new(|term| Self { term }).start(dsync)
    }
}

impl Actor for Sweeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        tracing::info!(token = %self.term.token(), "this process leads: it sweeps");
        ctx.run_interval(PERIOD, |sweeper, _| {
            tracing::info!(token = %sweeper.term.token(), "swept");
        });
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        tracing::info!(token = %self.term.token(), "this process sweeps no longer");
    }
}
