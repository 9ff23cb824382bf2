//! The agent on Tokio's clock: blocking reads wait here until they can be
//! answered.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::{Either, LocalBoxFuture, select};
use tokio::sync::oneshot;

use super::{
    Embedded,
    api::{Api, Parked, Reply, Response},
    engine::{Engine, Settings},
    waiters::Waiters,
};
use crate::{
    clock::{Clock, Moment},
    consul::{
        fact::Trouble,
        link::Backend,
        wire::{Method, WireReply, WireRequest},
    },
};

/// What all handles of one agent share.
#[derive(Debug)]
pub(super) struct Shared {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    api: Api,
    waiters: Waiters,
    /// The engine's version and life when the waiters were last looked through.
    settled: (u64, u64),
}

impl Embedded {
    /// Answers one request; a blocking read when Consul would answer it.
    ///
    /// # Cancel safety
    /// Cancel safe. A write happens, if at all, when the future is first polled;
    /// a blocking read changes nothing.
    pub(crate) async fn exchange(&self, request: WireRequest) -> Result<WireReply, Trouble> {
        let method = match request.method {
            Method::Get => "GET",
            Method::Put => "PUT",
        };
        let served = pin!(self.shared.serve(method, &request.target, request.body));
        match select(pin!(self.is_cut()), served).await {
            // Whoever asked has a time limit.
            Either::Left(_) => std::future::pending().await,
            Either::Right((reply, _)) => Ok(reply.into()),
        }
    }

    /// Ends when the network is cut off; at once if it is.
    async fn is_cut(&self) {
        // The sender is here: there is no other end.
        let _ = self.cut.subscribe().wait_for(|cut| *cut).await;
    }
}

impl Backend for Embedded {
    fn exchange(&self, request: WireRequest) -> LocalBoxFuture<'_, Result<WireReply, Trouble>> {
        Box::pin(self.exchange(request))
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        let mut api = Api::new(Settings::default());
        api.engine.record_touched();
        let settled = (api.engine.version(), api.engine.life());
        let state = State { api, waiters: Waiters::default(), settled };
        Self { clock: Clock::tokio(), state: Mutex::new(state) }
    }

    /// Lets an operator act on the engine, then wakes the reads that can be
    /// answered.
    pub(super) fn operate<T>(&self, act: impl FnOnce(&mut Engine, Moment) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.lock();
        let result = act(&mut state.api.engine, now);
        state.settle(now);
        result
    }

    /// Answers one request with any method.
    pub(super) async fn serve(&self, method: &str, target: &str, body: Vec<u8>) -> Reply {
        let now = self.clock.now();
        let parked = {
            let mut state = self.lock();
            let response = state.api.serve(now, method, target, body);
            state.settle(now);
            match response {
                Response::Now(reply) => return reply,
                Response::Parked(parked) => Arc::new(parked),
            }
        };
        loop {
            let now = self.clock.now();
            let (waiting, woken, until) = {
                let mut state = self.lock();
                state.api.engine.advance(now);
                state.settle(now);
                if let Some(reply) = state.api.finish(now, &parked) {
                    return reply;
                }
                let (ticket, woken, until) = state.park(&parked);
                (Waiting { shared: self, ticket }, woken, until)
            };
            // An error is the end of the nap: time to look again.
            let _ = tokio::time::timeout(until.since(now), woken).await;
            drop(waiting);
        }
    }

    /// How many blocking reads wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiters.count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn park(&mut self, parked: &Arc<Parked>) -> (u64, oneshot::Receiver<()>, Moment) {
        let deadline = parked.deadline();
        let until = self.api.next_wakeup().map_or(deadline, |due| due.min(deadline));
        let (ticket, woken) = self.waiters.add(parked, until);
        (ticket, woken, until)
    }

    /// Wakes whoever is concerned by what has changed since the last time.
    fn settle(&mut self, now: Moment) {
        let touched = self.api.engine.take_touched();
        let seen = (self.api.engine.version(), self.api.engine.life());
        if seen == self.settled {
            return;
        }
        let same_life = seen.1 == self.settled.1;
        self.settled = seen;
        self.waiters.wake(&self.api, now, same_life.then_some(&touched));
    }
}

/// Forgets a waiter when its read is answered or given up.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.lock().waiters.remove(self.ticket);
    }
}
