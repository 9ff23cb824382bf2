//! A backend that answers from a list and records the requests.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

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
    /// The time until a reply.
    pub(super) pace: Cell<Duration>,
}

impl Backend for Rc<Script> {
    fn exchange(&self, request: WireRequest) -> LocalBoxFuture<'_, Result<WireReply, Trouble>> {
        self.asked.borrow_mut().push(request);
        let reply = self.replies.borrow_mut().pop_front().flatten();
        let pace = self.pace.get();
        Box::pin(async move {
            if !pace.is_zero() {
                tokio::time::sleep(pace).await;
            }
            match reply {
                Some(reply) => Ok(reply),
                None => std::future::pending().await,
            }
        })
    }
}
