//! Whole runtimes in a deterministic world: one seed, one history.
//!
//! Several processes share an embedded Consul over a network that loses, delays,
//! repeats and cuts off, while servers, operators, clocks and callers misbehave. Each
//! process drives what the actors drive: the warden, the session, the watches, and
//! slots in turns. Its parts have mailboxes of their own (`parts.rs`); they die, and
//! runtimes shut down, at any moment (`failures.rs`). After each step the guarantees
//! are checked from outside.
//!
//! # What is left out
//!
//! Each is a limit of what Consul lets a client do, and `docs/safety.md` names it:
//!
//! - *A copy of an answered lock request* that arrives after its lock was given back and
//!   the key deleted, or after the lock-delay that it was refused for
//!   (`Question::outlives`). No fence is raised for an attempt that was answered.
//! - *A lock that rises with a restored snapshot* although its session had given it back
//!   (`release_the_risen`), and *a late request that passes the older fence* of that
//!   snapshot (`withhold_the_late`). No index of ours tells the two stores apart before
//!   something is locked.
//! - *A server that lets sessions live shorter than asked.* Consul's contract excludes
//!   it: it may answer a higher TTL only.
//! - *A deposed leader that answers consistent reads, locks or renewals from the past.*
//!   Raft excludes the first two; the third is an assumption.
//! - *Foreign entries that nobody takes away.* Nobody can be served then.

mod caller;
mod calls;
mod elections;
mod ending;
mod event;
mod failures;
mod faults;
mod invariants;
mod mutations;
mod names;
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
