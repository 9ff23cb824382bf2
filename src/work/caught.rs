//! A future of the user whose panics are caught, those of its destructors included.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

/// Runs `work`. Its output, or `None` if it panics. `report` gets the text of each panic, also
/// of one that happens while `work` is dropped.
pub(super) fn caught<W: Future>(
    work: W,
    report: impl Fn(&str),
) -> impl Future<Output = Option<W::Output>> {
    Caught { work: Some(Box::pin(work)), report }
}

struct Caught<W, R: Fn(&str)> {
    /// `None` once it has ended.
    work: Option<Pin<Box<W>>>,
    report: R,
}

/// The work is boxed, and the report is never pinned.
impl<W, R: Fn(&str)> Unpin for Caught<W, R> {}

impl<W: Future, R: Fn(&str)> Future for Caught<W, R> {
    type Output = Option<W::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        // Unwind safe: work that has panicked is dropped.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        let output = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Some(output),
            Err(panic) => {
                (self.report)(text_of(&*panic));
                None
            }
        };
        self.end();
        Poll::Ready(output)
    }
}

impl<W, R: Fn(&str)> Caught<W, R> {
    fn end(&mut self) {
        let work = self.work.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(work))) {
            (self.report)(text_of(&*panic));
        }
    }
}

impl<W, R: Fn(&str)> Drop for Caught<W, R> {
    fn drop(&mut self) {
        self.end();
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text")
}
