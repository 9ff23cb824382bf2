//! Batches concurrent lock requests into few transactions.
//!
//! ```text
//!   lock ─► a turn is free ─► sent alone, at once
//!     └───► no turn ─► waits in line ─► the first in line gets the next turn and takes
//!                                       those behind it along in one transaction
//! ```
//!
//! Consul applies all of a transaction or nothing. If it applies nothing, it names every
//! failed operation. Those locks get the answers that they would have got alone; the
//! others are sent again, while there is time. If the outcome of a transaction is unknown, the outcome of
//! every lock in it is unknown. [`Batches`](super::batches::Batches) and [`Batch`] decide
//! this.
//!
//! A transaction of several locks runs in its own task, so that dropping one lock's future
//! does not affect the others.

use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    ask::{Lock, Locks},
    batches::Batch,
    client::Consul,
    fact::{Locked, Trouble},
    limit::Limit,
    places::{Place, Tell, Told, Turn},
};

impl Consul {
    /// Locks a key. The request may wait in line for up to `limit`, and is answered within
    /// `limit` after it is sent.
    pub(crate) async fn lock(&self, ask: &Lock, limit: Duration) -> Locked {
        let Some(turn) = Turn::take(self.batches()) else {
            return self.lock_in_line(ask, limit).await;
        };
        let answer = self.lock_now(ask, limit).await;
        drop(turn);
        answer
    }

    /// Boxed: thousands of locks may wait in line, each with space for its request.
    fn lock_now<'a>(&'a self, ask: &'a Lock, limit: Duration) -> LocalBoxFuture<'a, Locked> {
        Box::pin(self.ask(ask, limit))
    }

    async fn lock_in_line(&self, ask: &Lock, limit: Duration) -> Locked {
        let (tell, mut told) = oneshot::channel();
        let batches = self.batches();
        let place = Place::take(batches, ask.clone(), tell);
        let told = match timeout(limit, &mut told).await {
            Ok(told) => told,
            Err(_) if place.leave() => return Locked::Unsent(Trouble::InLine(limit)),
            // It was sent, and its transaction has a time limit.
            Err(_) => told.await,
        };
        match told {
            Ok(Told::Answer(answer)) => answer,
            Ok(Told::Turn(turn)) => {
                let others = self.batches().borrow_mut().take_along(ask);
                if others.is_empty() {
                    let answer = self.lock_now(ask, limit).await;
                    drop(turn);
                    return answer;
                }
                let (tell, told) = oneshot::channel();
                let batch = Batch::new(ask.clone(), tell, others);
                let consul = self.clone();
                actix_rt::spawn(async move {
                    consul.lock_together(batch, limit).await;
                    drop(turn);
                });
                match told.await {
                    Ok(Told::Answer(answer)) => answer,
                    _ => Locked::Unknown(dropped()),
                }
            }
            Err(_) => Locked::Unknown(dropped()),
        }
    }

    /// Locks several keys, and sends each its answer. Locks that failed only because of others
    /// are sent again while there is time for an answer.
    async fn lock_together(&self, mut batch: Batch<Tell>, limit: Duration) {
        let begun = Instant::now();
        loop {
            // Skip locks whose caller is gone.
            batch.retain(|tell| !tell.is_closed());
            let locks: Vec<&Lock> = batch.next().map(|(ask, _)| ask).collect();
            if locks.is_empty() {
                return;
            }
            let rest = Limit::from(limit).after(begun.elapsed());
            let answers = if rest.time_to_send().is_zero() {
                locks.iter().map(|_| Some(Locked::Unsent(Trouble::InLine(limit)))).collect()
            } else {
                self.ask_once(&Locks(&locks), rest).await
            };
            for (tell, answer) in batch.answered(answers) {
                drop(tell.send(Told::Answer(answer)));
            }
        }
    }
}

fn dropped() -> Trouble {
    Trouble::Broken("the transaction was dropped".into())
}

#[cfg(test)]
mod tests;
