//! Whole runtimes in a deterministic world: one seed, one history.
//!
//! Several processes, each with the machines of its session, its locks and its
//! callers, share an embedded Consul over a network that loses, delays, repeats
//! and cuts off, while servers, operators, clocks and callers misbehave. After
//! each step the guarantees are checked from outside.

mod caller;
mod calls;
mod elections;
mod ending;
mod event;
mod failures;
mod faults;
mod invariants;
mod mutations;
mod network;
mod parts;
mod plan;
mod process;
mod question;
mod random;
mod regressions;
mod report;
mod runs;
mod server;
mod trace;
mod world;
