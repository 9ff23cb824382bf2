//! Which locks are sent, in which transactions, and what becomes of each when a
//! transaction fails.
//!
//! It sends nothing and knows no time: the client and the simulation drive it. `T` is what
//! they answer a lock by.

use std::collections::VecDeque;

use super::{ask::Lock, fact::Locked, txn::MOST_OPS};
#[cfg(test)]
use crate::mutation::Mutation;

/// The most lock transactions in flight; further locks wait in line.
pub(crate) const TURNS: usize = 4;
/// The most locks in one transaction. A lock needs two operations, the fence needs one.
pub(super) const MOST: usize = (MOST_OPS - 1) / 2;
/// The most bytes of keys and values in a transaction of several locks, as JSON. Consul
/// accepts 512 KiB.
pub(super) const MOST_BYTES: usize = 256 * 1024;

/// The lock transactions in flight and the locks in line.
#[derive(Debug)]
pub(crate) struct Batches<T> {
    turns: usize,
    under_way: usize,
    line: VecDeque<InLine<T>>,
    places: u64,
}

/// A lock in line.
#[derive(Debug)]
pub(crate) struct InLine<T> {
    place: u64,
    pub(crate) ask: Lock,
    pub(crate) tell: T,
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Self::new(TURNS)
    }
}

impl<T> Batches<T> {
    /// Allows this many transactions in flight.
    pub(crate) fn new(turns: usize) -> Self {
        Self { turns, under_way: 0, line: VecDeque::new(), places: 0 }
    }

    /// Takes a turn if one is free.
    pub(crate) fn begin(&mut self) -> bool {
        let is_free = self.under_way < self.turns;
        self.under_way += usize::from(is_free);
        is_free
    }

    /// Puts a lock at the end of the line. Returns its place.
    pub(crate) fn stand(&mut self, ask: Lock, tell: T) -> u64 {
        self.places += 1;
        self.line.push_back(InLine { place: self.places, ask, tell });
        self.places
    }

    /// Takes a lock out of the line, unless it has had its turn.
    pub(crate) fn leave(&mut self, place: u64) -> Option<InLine<T>> {
        // The line is sorted by place.
        let at = self.line.binary_search_by_key(&place, |other| other.place).ok()?;
        self.line.remove(at)
    }

    /// Passes a turn to the first in line, or frees it if nobody is there.
    pub(crate) fn pass_on(&mut self) -> Option<InLine<T>> {
        let next = self.line.pop_front();
        self.under_way -= usize::from(next.is_none());
        next
    }

    /// Removes the next locks in line that fit into one transaction with `ask`, which has
    /// left the line.
    pub(crate) fn take_along(&mut self, ask: &Lock) -> Vec<InLine<T>> {
        // Both operations contain the key; each byte may need an escape of six.
        let size = |ask: &Lock| 12 * ask.key.as_str().len() + 2 * ask.value.len();
        let mut room = MOST_BYTES.saturating_sub(size(ask));
        let line = &mut self.line;
        let mut taken: Vec<InLine<T>> = Vec::new();
        while taken.len() + 1 < MOST
            && let Some(next) = line.front()
            && (&next.ask.session, next.ask.fence) == (&ask.session, ask.fence)
            && size(&next.ask) <= room
            // Two locks of one key are not independent.
            && next.ask.key != ask.key
            && taken.iter().all(|other| other.ask.key != next.ask.key)
            && let Some(next) = line.pop_front()
        {
            room -= size(&next.ask);
            taken.push(next);
        }
        taken
    }

    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.under_way == 0 && self.line.is_empty()
    }
}

/// Locks of one session and fence that share a turn.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    locks: VecDeque<(Lock, T)>,
    /// Consul did not say which lock failed: each is sent alone.
    alone: bool,
    /// The locks were in a transaction that failed because of others.
    is_repeated: bool,
}

impl<T> Batch<T> {
    pub(crate) fn new(ask: Lock, tell: T, others: Vec<InLine<T>>) -> Self {
        let others = others.into_iter().map(|other| (other.ask, other.tell));
        Self {
            locks: std::iter::once((ask, tell)).chain(others).collect(),
            alone: false,
            is_repeated: false,
        }
    }

    /// Drops the locks that nobody waits for any more.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&T) -> bool) {
        self.locks.retain(|(_, tell)| wanted(tell));
    }

    /// The locks of the next transaction; none if every lock has its answer.
    pub(crate) fn next(&self) -> impl Iterator<Item = &(Lock, T)> {
        let most = if self.alone { 1 } else { usize::MAX };
        self.locks.iter().take(most)
    }

    /// Handles the answers to the locks of the last transaction. Returns the locks that
    /// have their answers. The others failed only because of these, and are sent again.
    pub(crate) fn answered(&mut self, answers: Vec<Option<Locked>>) -> Vec<(T, Locked)> {
        self.alone |= answers.iter().all(Option::is_none);
        let mut done = Vec::new();
        let mut again = Vec::new();
        for answer in answers {
            let Some((ask, tell)) = self.locks.pop_front() else { break };
            #[cfg(test)]
            if Mutation::BatchSentAgain.is_chosen() && matches!(answer, Some(Locked::Unknown(_))) {
                again.push((ask, tell));
                continue;
            }
            match answer {
                // A copy of the transaction that failed may have locked the key.
                Some(Locked::Unsent(trouble)) if self.is_repeated => {
                    done.push((tell, Locked::AsideUnsent(trouble)));
                }
                Some(answer) => done.push((tell, answer)),
                #[cfg(test)]
                None if Mutation::BatchSurvivorForgotten.is_chosen() => {}
                None => again.push((ask, tell)),
            }
        }
        self.is_repeated |= !again.is_empty();
        for lock in again.into_iter().rev() {
            self.locks.push_front(lock);
        }
        done
    }
}
