//! Whole runtimes in a deterministic world: one seed, one history.
//!
//! Several processes share an embedded Consul over a network that loses, delays,
//! duplicates and cuts off messages, while servers, operators, clocks and callers
//! misbehave. Each process drives the same machines as the actors: the warden, the
//! session, the watches, slots in turns, and the batches of locks (`client.rs`). Its parts
//! have separate mailboxes (`parts.rs`). Parts die, and runtimes shut down, at any moment (`failures.rs`).
//! After each step, the guarantees are checked from outside.
//!
//! # What is left out
//!
//! Each is a limit of what Consul lets a client do, described in `docs/safety.md`:
//!
//! - *A copy of an answered lock request* that arrives after its lock was released and
//!   the key deleted, after the lock-delay for which it was refused, after the right that it
//!   lacked was granted, or, for a set, after the key for which it was refused became free
//!   (`Question::outlives`). No fence is raised for an answered attempt. Nor *a copy of a
//!   denied request* of a process that may not read the key either (`Server::keeps_reads`).
//! - *A lock or a permit restored by a snapshot* although its session had released it
//!   (`release_the_risen`), *a late request that passes the older fence* of that snapshot
//!   or expects an index that its entry has again (`withhold_the_late`,
//!   `World::is_misled`), and *a lock that was in line when its session ended*
//!   (`World::ask`). No index distinguishes the two stores before something is locked.
//! - *A server that expires sessions earlier than requested.* Consul's contract excludes
//!   it: a server may only answer a higher TTL.
//! - *A deposed leader that serves stale consistent reads, locks or renewals.* Raft
//!   excludes the first two; the third is an assumption.
//! - *Foreign entries that nobody removes.* No caller can be served then.
//!
//! The checks excuse what a holder cannot know, or a process cannot do:
//!
//! - *An ownership older than what bypassed it*: a deletion of its key, a release by force, or
//!   another store (`bypassed_at`; G1, G3, G6).
//! - *A lock that an operator took away from a living session*, until its holder has read that: it
//!   renews the session, which does not tell it (`Takeovers::may_be_unheard`; G1).
//! - *A session that is left to its TTL* by a process that lacked a right, or after a snapshot was
//!   restored (`check_finished`; G7), and *a loss of a session that a snapshot brought back* (G5).
//! - *An early end of a session under `fast_failover`* is not generated: only the TTL protects a
//!   lease then (`faults.rs`).
//!
//! Others are left to tests of one machine, or of the runtime:
//!
//! - *Requests that Consul never accepts*, for their name, their length or their TTL, *a token
//!   that a server does not know*, and *listings from a deposed leader*.
//! - *What only carries machines out*: actors, connections and the log.
//! - *The leader's work* (`Singleton`, `every`, `while_leading`) has histories of its own, with
//!   the real actors: `work/tests.rs`.
//!
//! The client of a real process does not send locks again, after a transaction that failed because
//! of others, if there is no time for an answer. This one does: it has one more fault to endure.

mod caller;
mod calls;
mod client;
mod elections;
mod ending;
mod event;
mod exchanges;
mod exploration;
mod failures;
mod faults;
mod focus;
mod invariants;
mod mutations;
mod names;
mod network;
mod operator;
mod parts;
mod permits;
mod plan;
mod process;
mod question;
pub(crate) mod random;
mod reached;
mod record;
mod regressions;
mod report;
pub(crate) mod runs;
mod server;
mod sets;
mod takeovers;
mod trace;
mod world;
mod writes;
