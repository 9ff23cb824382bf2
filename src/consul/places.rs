//! Turns to send a lock transaction, and places in the line for one.

use std::{cell::RefCell, rc::Rc};

use tokio::sync::oneshot;

use super::{ask::Lock, batches::Batches, fact::Locked};

/// The channel that reports to a lock in line.
pub(super) type Tell = oneshot::Sender<Told>;

/// A message to a lock in line.
pub(super) enum Told {
    /// It is first in line and may be sent.
    Turn(Turn),
    Answer(Locked),
}

/// The right to send a transaction. When dropped, it passes to the first in line.
pub(super) struct Turn(Rc<RefCell<Batches<Tell>>>);

impl Turn {
    /// Takes a turn, if one is free.
    pub(super) fn take(batches: &Rc<RefCell<Batches<Tell>>>) -> Option<Self> {
        batches.borrow_mut().begin().then(|| Self(Rc::clone(batches)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = loop {
            let next = self.0.borrow_mut().pass_on();
            match next {
                Some(next) if next.tell.is_closed() => {}
                Some(next) => break next,
                None => return,
            }
        };
        let turn = Self(Rc::clone(&self.0));
        // If the receiver is gone, dropping the turn passes it on.
        drop(next.tell.send(Told::Turn(turn)));
    }
}

/// A place in line. Dropping it leaves the line.
pub(super) struct Place<'a> {
    batches: &'a RefCell<Batches<Tell>>,
    place: u64,
}

impl<'a> Place<'a> {
    /// Puts a lock at the end of the line.
    pub(super) fn take(batches: &'a RefCell<Batches<Tell>>, ask: Lock, tell: Tell) -> Self {
        let place = batches.borrow_mut().stand(ask, tell);
        Self { batches, place }
    }

    /// Leaves the line. Returns whether the lock was still in it and thus was not sent.
    pub(super) fn leave(&self) -> bool {
        self.batches.borrow_mut().leave(self.place).is_some()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
