//! The agent on Tokio's clock. Blocking reads wait here until they can be
//! answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

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
}

#[derive(Debug)]
struct State {
    api: Api,
    waiters: Waiters,
    /// The engine's version and life when [`State::settle`] last woke waiters.
    settled: (u64, u64),
}

impl Agent {
    pub(super) fn new() -> Self {
        let mut api = Api::new(Settings::default());
        api.engine.record_touched();
        let settled = (api.engine.version(), api.engine.life());
        let state = State { api, waiters: Waiters::default(), settled };
        Self { clock: Clock::tokio(), state: Mutex::new(state) }
    }

    /// Runs an operator action on the engine, then wakes the reads that it
    /// answers.
    pub(super) fn operate<T>(&self, act: impl FnOnce(&mut Engine, Moment) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.lock();
        let result = act(&mut state.api.engine, now);
        state.settle(now);
        result
    }

    /// Answers a request with any HTTP method.
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
