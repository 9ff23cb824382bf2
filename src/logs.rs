//! Calls of the process's tracing subscriber, which may panic.
//!
//! A panic in the middle of a step would end an actor, and with it locks; a subscriber that prints
//! to a closed stderr panics at each event. The macros take what those of `tracing` take.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
};

use tracing::{Dispatch, Id, Span, Value};

macro_rules! event {
    ($level:ident: $($event:tt)+) => {{
        $crate::logs::guarded(|| ::tracing::$level!($($event)+));
    }};
}

macro_rules! error { ($($event:tt)+) => { $crate::logs::event!(error: $($event)+) } }
// Under the name `warn`, it would be ambiguous with the attribute.
macro_rules! warning { ($($event:tt)+) => { $crate::logs::event!(warn: $($event)+) } }
macro_rules! info { ($($event:tt)+) => { $crate::logs::event!(info: $($event)+) } }
macro_rules! debug { ($($event:tt)+) => { $crate::logs::event!(debug: $($event)+) } }
macro_rules! trace { ($($event:tt)+) => { $crate::logs::event!(trace: $($event)+) } }

/// A span of the level `debug`.
macro_rules! span {
    ($($span:tt)+) => {
        $crate::logs::GuardedSpan::of(|| ::tracing::debug_span!($($span)+))
    };
}

pub(crate) use {debug, error, event, info, span, trace, warning as warn};

/// Catches a panic of the process's tracing subscriber, or of its recorder of metrics. The panic
/// hook reports it.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// A span whose calls of the subscriber are guarded, also when it is dropped.
#[derive(Debug)]
pub(crate) struct GuardedSpan(Span);

impl GuardedSpan {
    pub(crate) fn none() -> Self {
        Self(Span::none())
    }

    /// The span that `span` makes; none if the subscriber panics.
    pub(crate) fn of(span: impl FnOnce() -> Span) -> Self {
        guarded(span).map_or_else(Self::none, Self)
    }

    /// The current span.
    pub(crate) fn current() -> Self {
        Self::of(Span::current)
    }

    /// Sets a field of the span.
    pub(crate) fn record(&self, field: &str, value: impl Value) {
        guarded(|| {
            self.0.record(field, value);
        });
    }

    fn tell(&self, what: impl FnOnce((&Id, &Dispatch))) {
        guarded(|| self.0.with_subscriber(what));
    }
}

impl Clone for GuardedSpan {
    fn clone(&self) -> Self {
        Self::of(|| self.0.clone())
    }
}

impl Drop for GuardedSpan {
    fn drop(&mut self) {
        let span = std::mem::replace(&mut self.0, Span::none());
        guarded(|| drop(span));
    }
}

/// Enters a span, and leaves it when dropped, even if the subscriber panicked on entering: the
/// registry of `tracing-subscriber` notes the span before its layers run.
struct Entered<'a>(&'a GuardedSpan);

impl<'a> Entered<'a> {
    fn enter(span: &'a GuardedSpan) -> Self {
        span.tell(|(id, subscriber)| subscriber.enter(id));
        Self(span)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.tell(|(id, subscriber)| subscriber.exit(id));
    }
}

/// Does `work` within the span. A panic of `work` passes.
pub(crate) fn within<T>(span: &GuardedSpan, work: impl FnOnce() -> T) -> T {
    let _entered = Entered::enter(span);
    work()
}

/// Polls `future` within the span. An asynchronous function would reserve space for its arguments
/// twice, and thousands of callers may be waiting.
pub(crate) fn traced<F: Future>(
    span: GuardedSpan,
    mut future: Pin<Box<F>>,
) -> impl Future<Output = F::Output> {
    poll_fn(move |cx| within(&span, || future.as_mut().poll(cx)))
}

#[cfg(test)]
mod tests;
