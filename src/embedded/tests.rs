//! The embedded agent as its handle shows it.
