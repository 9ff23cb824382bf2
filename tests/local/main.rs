//! The runtime against the embedded Consul, mostly on a paused clock.

mod basics;
