//! Runs Consul requests as tasks that outlive the actor that sent them.

use actix_rt::task::JoinHandle;

use crate::consul::fact::Trouble;

/// A request in flight. It always produces an answer: if dropped, the fallback.
struct Question<A, F: FnMut(A)> {
    answer: Option<A>,
    tell: F,
}

impl<A, F: FnMut(A)> Question<A, F> {
    fn answered(mut self, answer: A) {
        self.answer = Some(answer);
    }
}

impl<A, F: FnMut(A)> Drop for Question<A, F> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            (self.tell)(answer);
        }
    }
}

/// Runs `question` as a task on the arbiter and passes its answer to `tell`, or
/// `lost` if it panics or is dropped.
pub(super) fn ask_detached<A: 'static>(
    lost: A,
    tell: impl FnMut(A) + 'static,
    question: impl Future<Output = A> + 'static,
) {
    ask_abortable(lost, tell, question);
}

/// Like [`ask_detached`], but returns a handle that can abort the question. Dropping
/// the handle does not abort it.
pub(super) fn ask_abortable<A: 'static>(
    lost: A,
    tell: impl FnMut(A) + 'static,
    question: impl Future<Output = A> + 'static,
) -> JoinHandle<()> {
    let pending = Question { answer: Some(lost), tell };
    // Boxed: a task reserves space for its captures as well as for the future it
    // awaits, and thousands of reads may be waiting.
    let question = Box::pin(question);
    actix_rt::spawn(async move { pending.answered(question.await) })
}

/// The trouble reported for a request that was dropped unanswered.
pub(super) fn unanswered() -> Trouble {
    Trouble::Broken("the request was dropped".into())
}

#[cfg(test)]
mod tests;
