//! The network between a handle and the agent.

use std::{future::pending, pin::pin, time::Duration};

use futures::future::{Either, select};
use tokio::sync::watch;

/// A network and its faults. Requests arrive at once; replies may be late or lost.
#[derive(Debug, Default)]
pub(super) struct Network(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    is_cut: bool,
    delay: Duration,
    /// How many replies to writes will be lost.
    to_lose: u32,
}

impl Network {
    pub(super) fn cut(&self, is_cut: bool) {
        self.0.send_modify(|state| state.is_cut = is_cut);
    }

    pub(super) fn delay(&self, delay: Duration) {
        self.0.send_modify(|state| state.delay = delay);
    }

    pub(super) fn lose(&self, count: u32) {
        self.0.send_modify(|state| state.to_lose = count);
    }

    /// Carries the reply of `served`. Never completes if the reply is lost, or the network
    /// cut before it arrives.
    pub(super) async fn carry<T>(&self, writes: bool, served: impl Future<Output = T>) -> T {
        let carried = async {
            let reply = served.await;
            if writes && self.loses() {
                return pending().await;
            }
            let delay = self.0.borrow().delay;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            reply
        };
        match select(pin!(self.is_cut()), pin!(carried)).await {
            Either::Left(_) => pending().await,
            Either::Right((reply, _)) => reply,
        }
    }

    /// Completes once the network is cut.
    async fn is_cut(&self) {
        // Cannot fail: `self` holds the sender.
        let _ = self.0.subscribe().wait_for(|state| state.is_cut).await;
    }

    /// Whether this reply is lost.
    fn loses(&self) -> bool {
        let mut is_lost = false;
        // Nobody waits for this change.
        self.0.send_if_modified(|state| {
            is_lost = state.to_lose > 0;
            state.to_lose = state.to_lose.saturating_sub(1);
            false
        });
        is_lost
    }
}
