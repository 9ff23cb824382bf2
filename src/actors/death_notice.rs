//! Reports an actor's death to the supervisor: actix does not restart an actor that
//! panicked.

use std::rc::Rc;

use actix::{Message, Recipient};

/// Sends its message when dropped, including during unwinding, unless withdrawn.
pub(super) struct DeathNotice<M>(Option<(Rc<Recipient<M>>, M)>)
where
    M: Message + Send + 'static,
    M::Result: Send;

impl<M> DeathNotice<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    pub(super) fn new(to: impl Into<Rc<Recipient<M>>>, message: M) -> Self {
        Self(Some((to.into(), message)))
    }

    /// Cancels the message, because the actor stops normally.
    pub(super) fn withdraw(&mut self) {
        self.0 = None;
    }
}

impl<M> Drop for DeathNotice<M>
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
