//! The lock transactions in flight and the locks in line.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use tokio::sync::oneshot;

use super::{ask::Lock, fact::Locked};

/// The most lock transactions in flight; further locks wait in line.
pub(super) const TURNS: usize = 4;
/// The most locks in one transaction: Consul accepts 64 operations. A lock needs two, the
/// fence needs one.
pub(super) const MOST: usize = 31;
/// The most bytes of keys and values in a transaction of several locks, as JSON. Consul
/// accepts 512 KiB.
pub(super) const MOST_BYTES: usize = 256 * 1024;

/// The locks in flight and in line.
#[derive(Default)]
pub(super) struct Batches {
    pub(super) under_way: usize,
    pub(super) line: VecDeque<InLine>,
    tickets: u64,
}

pub(super) struct InLine {
    ticket: u64,
    pub(super) ask: Lock,
    pub(super) tell: oneshot::Sender<Told>,
}

/// A message to a lock in line.
pub(super) enum Told {
    /// It is first in line and may be sent.
    Turn(Turn),
    Answer(Locked),
}

/// The right to send a transaction. When dropped, it passes to the first in line.
pub(super) struct Turn(Rc<RefCell<Batches>>);

impl Drop for Turn {
    fn drop(&mut self) {
        let next = loop {
            let mut batches = self.0.borrow_mut();
            match batches.line.pop_front() {
                Some(next) if next.tell.is_closed() => {}
                Some(next) => break next,
                None => {
                    batches.under_way -= 1;
                    return;
                }
            }
        };
        let turn = Self(Rc::clone(&self.0));
        // If the receiver is gone, dropping the turn passes it on.
        drop(next.tell.send(Told::Turn(turn)));
    }
}

/// A place in line. Dropping it leaves the line.
pub(super) struct Place<'a> {
    batches: &'a RefCell<Batches>,
    ticket: u64,
}

impl Place<'_> {
    /// Leaves the line. Returns whether the lock was still in it and thus was not sent.
    pub(super) fn leave(&self) -> bool {
        let line = &mut self.batches.borrow_mut().line;
        // The line is sorted by ticket.
        let place = line.binary_search_by_key(&self.ticket, |other| other.ticket);
        place.ok().and_then(|place| line.remove(place)).is_some()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Batches {
    /// Takes a turn, if one is free.
    pub(super) fn turn(this: &Rc<RefCell<Self>>) -> Option<Turn> {
        let mut batches = this.borrow_mut();
        if batches.under_way >= TURNS {
            return None;
        }
        batches.under_way += 1;
        Some(Turn(Rc::clone(this)))
    }

    /// Puts a lock at the end of the line.
    pub(super) fn stand(this: &RefCell<Self>, ask: Lock, tell: oneshot::Sender<Told>) -> Place<'_> {
        let mut batches = this.borrow_mut();
        batches.tickets += 1;
        let ticket = batches.tickets;
        batches.line.push_back(InLine { ticket, ask, tell });
        Place { batches: this, ticket }
    }

    /// Removes the next locks in line that fit into one transaction with `ask`, which has
    /// left the line.
    pub(super) fn take_along(&mut self, ask: &Lock) -> Vec<InLine> {
        // Both operations contain the key; each byte may need an escape of six.
        let size = |ask: &Lock| 12 * ask.key.as_str().len() + 2 * ask.value.len();
        let mut room = MOST_BYTES.saturating_sub(size(ask));
        let line = &mut self.line;
        let mut taken: Vec<InLine> = Vec::new();
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
}
