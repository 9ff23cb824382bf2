//! How many locks that are wanted at once share few transactions.
//!
//! ```text
//!   lock ─► a turn is free ──► alone, at once
//!     └──► none ─► in line ─► the first one gets a turn that ends, and takes
//!                             those behind it along in one transaction
//! ```
//!
//! A transaction is done whole or not at all. If it is not, Consul names every
//! operation that fails: those locks get the verdict that each would have got
//! alone, and the others, which failed for their sake only, are sent again. What
//! is unknown of a transaction is unknown of every lock in it.
//!
//! A transaction of several is a task of its own: a lock that is given up takes
//! nobody along.

use std::{cell::RefCell, collections::VecDeque, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    ask::{Lock, Locks},
    client::Consul,
    fact::{Locked, Trouble},
};

/// Lock transactions under way at one time before others stand in line.
const TURNS: usize = 4;
/// The most locks of one transaction: Consul takes 64 operations, of which a lock
/// needs two, and the fence one.
const MOST: usize = 31;
/// The most bytes that the keys and values of one transaction of several may come
/// to in JSON, of which Consul takes 512 KiB.
const MOST_BYTES: usize = 256 * 1024;

/// The locks that are under way and in line.
#[derive(Default)]
pub(super) struct Batches {
    under_way: usize,
    line: VecDeque<InLine>,
    tickets: u64,
}

struct InLine {
    ticket: u64,
    ask: Lock,
    tell: oneshot::Sender<Told>,
}

/// What a lock in line is told.
enum Told {
    /// It is first in line and may be sent.
    Turn(Turn),
    Answer(Locked),
}

/// The right to send a transaction; it passes to the first in line when dropped.
struct Turn(Consul);

impl Drop for Turn {
    fn drop(&mut self) {
        let next = loop {
            let mut batches = self.0.batches().borrow_mut();
            match batches.line.pop_front() {
                Some(next) if next.tell.is_closed() => {}
                Some(next) => break next,
                None => {
                    batches.under_way -= 1;
                    return;
                }
            }
        };
        let turn = Self(self.0.clone());
        // Whoever has gone by now passes it on likewise.
        drop(next.tell.send(Told::Turn(turn)));
    }
}

/// Leaves the line when dropped.
struct Place<'a> {
    batches: &'a RefCell<Batches>,
    ticket: u64,
}

impl Place<'_> {
    /// Whether the lock was still in line: it has not been sent.
    fn leave(&self) -> bool {
        let line = &mut self.batches.borrow_mut().line;
        // A line is in the order of its tickets.
        let place = line.binary_search_by_key(&self.ticket, |other| other.ticket);
        place.ok().and_then(|place| line.remove(place)).is_some()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Consul {
    /// Locks a key. What is wanted at once with many others may stand in line
    /// for up to `limit` before it is sent, and is answered within `limit` of
    /// that.
    pub(crate) async fn lock(&self, ask: &Lock, limit: Duration) -> Locked {
        let Some(turn) = self.turn() else { return self.lock_in_line(ask, limit).await };
        let answer = self.ask(ask, limit).await;
        drop(turn);
        answer
    }

    /// A turn, if one is free.
    fn turn(&self) -> Option<Turn> {
        let mut batches = self.batches().borrow_mut();
        if batches.under_way >= TURNS {
            return None;
        }
        batches.under_way += 1;
        Some(Turn(self.clone()))
    }

    async fn lock_in_line(&self, ask: &Lock, limit: Duration) -> Locked {
        let (tell, mut told) = oneshot::channel();
        let place = {
            let mut batches = self.batches().borrow_mut();
            batches.tickets += 1;
            let ticket = batches.tickets;
            batches.line.push_back(InLine { ticket, ask: ask.clone(), tell });
            Place { batches: self.batches(), ticket }
        };
        let told = match timeout(limit, &mut told).await {
            Ok(told) => told,
            Err(_) if place.leave() => return Locked::Unsent(Trouble::InLine(limit)),
            // It has been sent, and its transaction has a limit.
            Err(_) => told.await,
        };
        match told {
            Ok(Told::Answer(answer)) => answer,
            Ok(Told::Turn(turn)) => {
                let others = self.take_along(ask);
                if others.is_empty() {
                    let answer = self.ask(ask, limit).await;
                    drop(turn);
                    return answer;
                }
                let (tell, told) = oneshot::channel();
                let mut all = vec![(ask.clone(), tell)];
                all.extend(others.into_iter().map(|other| (other.ask, other.tell)));
                actix_rt::spawn(async move {
                    turn.0.lock_together(all, limit).await;
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

    /// Those in line that fit into one transaction with `ask`, which has left it.
    fn take_along(&self, ask: &Lock) -> Vec<InLine> {
        // A key stands in both operations, each of its bytes escaped at worst.
        let size = |ask: &Lock| 12 * ask.key.as_str().len() + 2 * ask.value.len();
        let mut room = MOST_BYTES.saturating_sub(size(ask));
        let line = &mut self.batches().borrow_mut().line;
        let mut taken: Vec<InLine> = Vec::new();
        while taken.len() + 1 < MOST
            && let Some(next) = line.front()
            && (&next.ask.session, next.ask.fence) == (&ask.session, ask.fence)
            && size(&next.ask) <= room
            // Two operations on one key are not independent.
            && next.ask.key != ask.key
            && taken.iter().all(|other| other.ask.key != next.ask.key)
            && let Some(next) = line.pop_front()
        {
            room -= size(&next.ask);
            taken.push(next);
        }
        taken
    }

    /// Locks several keys of one session and fence, and tells each how it went.
    async fn lock_together(&self, mut asks: Vec<(Lock, oneshot::Sender<Told>)>, limit: Duration) {
        let end = Instant::now() + limit;
        let mut alone = false;
        while !asks.is_empty() {
            // Who has gone before it was sent needs no lock.
            asks.retain(|(_, tell)| !tell.is_closed());
            let rest = asks.split_off(if alone { asks.len().min(1) } else { asks.len() });
            let left = end.saturating_duration_since(Instant::now());
            let locks: Vec<&Lock> = asks.iter().map(|(ask, _)| ask).collect();
            let answers = self.ask(&Locks(&locks), left).await;
            // Nothing is known of which was at fault: then each is sent alone.
            alone |= answers.iter().all(Option::is_none);
            let mut again = Vec::new();
            for ((ask, tell), answer) in asks.into_iter().zip(answers) {
                match answer {
                    Some(answer) => drop(tell.send(Told::Answer(answer))),
                    None => again.push((ask, tell)),
                }
            }
            again.extend(rest);
            asks = again;
        }
    }
}

fn dropped() -> Trouble {
    Trouble::Broken("the transaction was dropped".into())
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
