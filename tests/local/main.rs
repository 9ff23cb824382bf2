//! The runtime against the embedded Consul, mostly on a paused clock.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod basics;
