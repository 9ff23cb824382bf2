//! Runs Consul requests as tasks that outlive the actor that sent them.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_rt::task::JoinHandle;
use futures::FutureExt;

use crate::{
    consul::{ask::Ask, client::Consul, fact::Trouble},
    logs::{self, GuardedSpan, Traced},
};

/// A request in flight. It always produces an answer: if it panics or is dropped, the fallback.
struct Question<A, T: FnMut(A), F> {
    asked: Traced<F>,
    answer: Option<A>,
    tell: T,
}

impl<A, T: FnMut(A), F> Question<A, T, F> {
    fn conclude(&mut self) {
        if let Some(answer) = self.answer.take() {
            (self.tell)(answer);
        }
    }
}

/// No field is pinned in place.
impl<A, T: FnMut(A), F> Unpin for Question<A, T, F> {}

/// A type of its own instead of an asynchronous block, which would reserve space for its captures
/// twice: thousands of requests may be waiting.
impl<A, T: FnMut(A), F: Future<Output = A>> Future for Question<A, T, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let answer = ready!(self.asked.poll_unpin(cx));
        self.answer = Some(answer);
        self.conclude();
        Poll::Ready(())
    }
}

impl<A, T: FnMut(A), F> Drop for Question<A, T, F> {
    fn drop(&mut self) {
        self.conclude();
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
    let asked = logs::traced(GuardedSpan::current(), Box::pin(question));
    actix_rt::spawn(Question { asked, answer: Some(lost), tell })
}

/// The trouble reported for a request that was dropped unanswered.
pub(super) fn dropped() -> Trouble {
    Trouble::Broken("the request was dropped".into())
}

#[cfg(test)]
mod tests;
