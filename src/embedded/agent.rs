//! The agent on Tokio's clock. Blocking reads wait here until they can be
//! answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::{
    api::{Api, Parked, Reply, Response},
    engine::{Engine, Settings},
    waiters::Waiters,
};
use crate::clock::{Clock, Moment};

/// The API with a clock and the waiting reads; all handles share one.
#[derive(Debug)]
pub(super) struct Agent {
    clock: Clock,
    state: Mutex<State>,
    frozen: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    api: Api,
    waiters: Waiters,
    /// The engine's version and life when [`State::settle`] last woke waiters.
    settled: (u64, u64),
    /// Since when the agent is frozen. Its time stands still until it is thawed.
    frozen_at: Option<Moment>,
    /// The requests that arrived while the agent is frozen.
    held: Vec<Held>,
}

/// A request to a frozen agent. It is carried out even if its client no longer waits.
#[derive(Debug)]
struct Held {
    method: String,
    target: String,
    body: Vec<u8>,
    thawed: oneshot::Sender<Response<Reply>>,
}

impl Agent {
    pub(super) fn new() -> Self {
        let mut api = Api::new(Settings::default());
        api.engine.record_touched();
        let settled = (api.engine.version(), api.engine.life());
        let (waiters, frozen_at, held) = (Waiters::default(), None, Vec::new());
        let state = State { api, waiters, settled, frozen_at, held };
        Self { clock: Clock::tokio(), state: Mutex::new(state), frozen: watch::Sender::default() }
    }

    /// The number of connections that a client address may have, if that is limited, and
    /// whether the agent answers those beyond it.
    pub(super) fn connections(&self) -> (Option<usize>, bool) {
        let state = self.lock();
        (state.api.engine.connections(), state.api.engine.is_newer())
    }

    /// Answers nothing until [`thaw`](Self::thaw).
    pub(super) fn freeze(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.api.engine.advance(now);
        state.frozen_at.get_or_insert(now);
        self.frozen.send_replace(true);
    }

    /// Ends the sessions that were due meanwhile, and carries out what has arrived, in its order.
    pub(super) fn thaw(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.frozen_at = None;
        self.frozen.send_replace(false);
        state.api.engine.resume(now);
        state.settle(now);
        for Held { method, target, body, thawed } in std::mem::take(&mut state.held) {
            let response = state.api.serve(now, &method, &target, body);
            state.settle(now);
            // The client may be gone.
            let _ = thawed.send(response);
        }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// The agent is frozen, and answers later.
    fn take_in(
        &self,
        method: &str,
        target: &str,
        body: Vec<u8>,
    ) -> Result<Response<Reply>, oneshot::Receiver<Response<Reply>>> {
        let now = self.clock.now();
        let mut state = self.lock();
        if *self.frozen.borrow() {
            let (thawed, response) = oneshot::channel();
            let (method, target) = (method.to_owned(), target.to_owned());
            state.held.push(Held { method, target, body, thawed });
            return Err(response);
        }
        let response = state.api.serve(now, method, target, body);
        state.settle(now);
        Ok(response)
    }

    /// Runs an operator action on the engine, then wakes the reads that it
    /// answers.
    pub(super) fn operate<T>(&self, act: impl FnOnce(&mut Engine, Moment) -> T) -> T {
        let mut state = self.lock();
        let now = state.frozen_at.unwrap_or_else(|| self.clock.now());
        let result = act(&mut state.api.engine, now);
        state.settle(now);
        result
    }

    /// Answers a request with any HTTP method.
    pub(super) async fn serve(&self, method: &str, target: &str, body: Vec<u8>) -> Reply {
        let response = match self.take_in(method, target, body) {
            Ok(response) => response,
            Err(later) => match later.await {
                Ok(response) => response,
                // Never: a frozen agent keeps what it holds.
                Err(_) => std::future::pending().await,
            },
        };
        let parked = match response {
            Response::Now(reply) => return reply,
            Response::Parked(parked) => Arc::new(parked),
        };
        loop {
            // Cannot fail: `self` holds the sender.
            let _ = self.frozen.subscribe().wait_for(|frozen| !*frozen).await;
            let now = self.clock.now();
            let (waiting, woken, until) = {
                let mut state = self.lock();
                state.api.engine.advance(now);
                state.settle(now);
                if let Some(reply) = state.api.finish(now, &parked) {
                    return reply;
                }
                let (ticket, woken, until) = state.park(&parked);
                (Waiting { agent: self, ticket }, woken, until)
            };
            // Woken or timed out: check again in either case.
            let _ = tokio::time::timeout(until.since(now), woken).await;
            drop(waiting);
        }
    }

    /// The number of waiting blocking reads.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiters.count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds a waiter that wakes at the read's deadline or at the engine's next
    /// own change, whichever comes first.
    fn park(&mut self, parked: &Arc<Parked>) -> (u64, oneshot::Receiver<()>, Moment) {
        let deadline = parked.deadline();
        let until = self.api.next_wakeup().map_or(deadline, |due| due.min(deadline));
        let (ticket, woken) = self.waiters.add(parked, until);
        (ticket, woken, until)
    }

    /// Wakes the reads that the changes since the last call may answer.
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

/// Removes a waiter when its read is answered or abandoned.
struct Waiting<'a> {
    agent: &'a Agent,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.agent.lock().waiters.remove(self.ticket);
    }
}
