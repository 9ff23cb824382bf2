//! How the supervisor notices that an actor died: actix restarts none after a
//! panic.

use std::rc::Rc;

use actix::{Message, Recipient};

/// Sends its message when it is dropped, also while unwinding, unless it was
/// withdrawn.
pub(super) struct Obituary<M>(Option<(Rc<Recipient<M>>, M)>)
where
    M: Message + Send + 'static,
    M::Result: Send;

impl<M> Obituary<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    pub(super) fn new(to: impl Into<Rc<Recipient<M>>>, message: M) -> Self {
        Self(Some((to.into(), message)))
    }

    /// The actor stops in good order.
    pub(super) fn withdraw(&mut self) {
        self.0 = None;
    }
}

impl<M> Drop for Obituary<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn drop(&mut self) {
        if let Some((to, message)) = self.0.take() {
            to.do_send(message);
        }
    }
}
