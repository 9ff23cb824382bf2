use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering::Relaxed},
    },
};

use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::logs;

/// Panics at every call, and counts the spans that are entered.
#[derive(Default)]
struct Fragile(AtomicI32);

impl Subscriber for Fragile {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        assert_eq!(span.metadata().name(), "entered", "as the test wants it");
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        panic!("as the test wants it");
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        panic!("as the test wants it");
    }

    fn enter(&self, _: &Id) {
        self.0.fetch_add(1, Relaxed);
        panic!("as the test wants it");
    }

    fn exit(&self, _: &Id) {
        self.0.fetch_sub(1, Relaxed);
        panic!("as the test wants it");
    }

    fn try_close(&self, _: Id) -> bool {
        panic!("as the test wants it");
    }
}

#[actix::test]
async fn a_subscriber_that_panics_ends_no_step() {
    let _log = tracing::subscriber::set_default(Fragile::default());
    let key = "k";
    logs::error!(key, "an event");
    logs::warn!(%key, "an event");
    logs::info!(?key, "an event of {}", 1);
    logs::debug!("an event");
    logs::trace!("an event");
    drop(logs::span!("a span", key));
    let span = logs::span!("entered", key, token = tracing::field::Empty);
    span.record("token", 1);
    drop(span.clone());
    assert_eq!(logs::within(&span, || 1), 1);
    assert_eq!(logs::traced(span, Box::pin(async { 2 })).await, 2);
    drop(logs::traced(logs::span!("entered", key), Box::pin(async { 3 })));
}

#[test]
fn a_panic_of_the_work_itself_passes_whatever_the_subscriber_does() {
    let worked = |span: &logs::GuardedSpan| {
        let work = || logs::within(span, || panic!("as the test wants it"));
        catch_unwind(AssertUnwindSafe(work)).is_err()
    };
    assert!(worked(&logs::GuardedSpan::none()));
    let _log = tracing::subscriber::set_default(Fragile::default());
    assert!(worked(&logs::span!("entered")));
}

#[test]
fn a_span_is_left_although_the_subscriber_panicked_when_it_was_entered() {
    let fragile = Arc::new(Fragile::default());
    let _log = tracing::subscriber::set_default(fragile.clone());
    let entered = || fragile.0.load(Relaxed);
    let inside = logs::within(&logs::span!("entered"), entered);
    assert_eq!((inside, entered()), (1, 0));
}
