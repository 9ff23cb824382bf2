//! Runs Consul requests as tasks that outlive the actor that sent them.

use std::time::Duration;

use actix_rt::task::JoinHandle;
use futures::FutureExt;

use crate::{
    consul::{ask::Ask, client::Consul, fact::Trouble},
    logs::{self, GuardedSpan},
};

/// A request in flight. It always produces an answer: if it panics or is dropped, the fallback.
struct Question<A, T: FnMut(A)> {
    answer: Option<A>,
    tell: T,
}

impl<A, T: FnMut(A)> Question<A, T> {
    fn answered(mut self, answer: A) {
        self.answer = Some(answer);
    }
}

impl<A, T: FnMut(A)> Drop for Question<A, T> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            (self.tell)(answer);
        }
    }
}

/// Asks Consul in a task of its own and passes the fact to `tell`, also if the task is
/// dropped. [`Consul::ask`] explains `limit`.
pub(super) fn ask<A: Ask + 'static>(
    consul: &Consul,
    ask: A,
    limit: Duration,
    tell: impl FnMut(A::Fact) + 'static,
) -> JoinHandle<()>
where
    A::Fact: 'static,
{
    let (lost, consul) = (ask.unanswered(dropped()), consul.clone());
    run(lost, tell, async move { consul.ask(&ask, limit).await })
}

/// Runs `question` as a task on the arbiter, in the current span, and passes its answer to
/// `tell`, or `lost` if it panics or is dropped. Dropping the handle does not abort it.
pub(super) fn run<A: 'static>(
    lost: A,
    tell: impl FnMut(A) + 'static,
    question: impl Future<Output = A> + 'static,
) -> JoinHandle<()> {
    let pending = Question { answer: Some(lost), tell };
    let asked = logs::traced(GuardedSpan::current(), Box::pin(question));
    // An asynchronous block would reserve space for what it captures twice, and thousands of
    // requests may be waiting.
    actix_rt::spawn(asked.map(move |answer| pending.answered(answer)))
}

/// The trouble reported for a request that was dropped unanswered.
pub(super) fn dropped() -> Trouble {
    Trouble::Broken("the request was dropped".into())
}

#[cfg(test)]
mod tests;
