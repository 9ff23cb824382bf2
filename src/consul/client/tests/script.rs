//! A backend that answers from a list and records the requests.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use futures::future::LocalBoxFuture;

use crate::consul::{
    fact::Trouble,
    link::Backend,
    wire::{WireReply, WireRequest},
};

#[derive(Default)]
pub(super) struct Script {
    /// `None` never answers.
    pub(super) replies: RefCell<VecDeque<Option<WireReply>>>,
    pub(super) asked: RefCell<Vec<WireRequest>>,
}

impl Backend for Rc<Script> {
    fn exchange(&self, request: WireRequest) -> LocalBoxFuture<'_, Result<WireReply, Trouble>> {
        self.asked.borrow_mut().push(request);
        let reply = self.replies.borrow_mut().pop_front().flatten();
        Box::pin(async move {
            match reply {
                Some(reply) => Ok(reply),
                None => std::future::pending().await,
            }
        })
    }
}
