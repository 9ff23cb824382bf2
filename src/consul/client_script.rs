//! A transport that answers from a list and remembers what it was asked.

use std::{cell::RefCell, collections::VecDeque};

use crate::consul::{
    fact::Trouble,
    wire::{WireReply, WireRequest},
};

#[derive(Default)]
pub(super) struct Script {
    /// `None` never answers.
    pub(super) replies: RefCell<VecDeque<Option<WireReply>>>,
    pub(super) asked: RefCell<Vec<WireRequest>>,
}

impl Script {
    pub(super) async fn exchange(&self, request: WireRequest) -> Result<WireReply, Trouble> {
        self.asked.borrow_mut().push(request);
        let reply = self.replies.borrow_mut().pop_front().flatten();
        match reply {
            Some(reply) => Ok(reply),
            None => std::future::pending().await,
        }
    }
}
