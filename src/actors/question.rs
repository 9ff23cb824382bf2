//! How Consul is asked beside an actor, with whom the question must not die.

use actix_rt::task::JoinHandle;

use crate::consul::fact::Trouble;

/// A question under way. It is always answered: if it is dropped, with the news
/// that nothing will come.
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

/// Runs `question` as a task of the arbiter and hands its answer to `tell`, or
/// `lost` if it comes to nothing.
pub(super) fn ask_beside<A: 'static>(
    lost: A,
    tell: impl FnMut(A) + 'static,
    question: impl Future<Output = A> + 'static,
) {
    ask_until_aborted(lost, tell, question);
}

/// As [`ask_beside`], for a question that may be given up. It goes on if the
/// handle is dropped.
pub(super) fn ask_until_aborted<A: 'static>(
    lost: A,
    tell: impl FnMut(A) + 'static,
    question: impl Future<Output = A> + 'static,
) -> JoinHandle<()> {
    let pending = Question { answer: Some(lost), tell };
    // Boxed: a task has room for what it captures beside what it awaits, and
    // thousands of reads may wait.
    let question = Box::pin(question);
    actix_rt::spawn(async move { pending.answered(question.await) })
}

/// What is known of a question that came to nothing.
pub(super) fn unanswered() -> Trouble {
    Trouble::Broken("the question was dropped".into())
}

#[cfg(test)]
mod tests;
