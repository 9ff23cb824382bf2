//! What each reply tells: pure functions from a reply to a fact.
//!
//! A positive verdict needs the status and the content that Consul itself gives,
//! naming what was asked for. Everything else leaves the matter unknown.

mod answer;
mod duration;
mod key;
mod listing;
mod session;
mod txn;

pub(crate) use answer::Answer;
pub(crate) use key::seen;
pub(crate) use listing::{listed, stale_fences};
pub(crate) use session::{created, destroyed, renewed, session_seen, sessions_of};
pub(crate) use txn::{Locks, fence_deleted, locked, raised, recorded, released};

#[cfg(test)]
mod hostile;
