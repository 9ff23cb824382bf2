//! Lets tests kill a lock's actor in the middle of a turn.

use std::cell::Cell;

thread_local! {
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The payload with which the thread unwinds.
pub(crate) struct Burnt;

/// Lets this thread's next turns survive this many points and die at the next one.
pub(crate) fn light(points: u32) {
    LEFT.set(Some(points));
}

/// Disarms the fuse; returns whether nothing has died.
pub(crate) fn put_out() -> bool {
    LEFT.take().is_some()
}

/// A point at which a turn can die.
pub(super) fn burn() {
    match LEFT.get() {
        Some(0) => {
            LEFT.set(None);
            // Unlike a panic, it prints nothing.
            std::panic::resume_unwind(Box::new(Burnt));
        }
        left => LEFT.set(left.map(|left| left - 1)),
    }
}
