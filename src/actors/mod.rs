//! Who does it: thin shells that turn the machines' effects into calls, timers
//! and notifications.
//!
//! ```text
//!   callers ─► slots ◄── LockSupervisor ──spawns, watches, reaps──► LockActor
//!                              │    ▲                                │  ▲
//!                              │    └───────────── pleas ────────────┘  │ facts
//!                       SessionActor                               WatchActor
//! ```
//!
//! All run on one arbiter. No protocol decision is taken here.

mod lock;
mod obituary;
mod question;
mod record;
mod session;
pub(crate) mod supervisor;
mod watch;

pub(crate) use record::{LastTurn, Noted, ReadTurn, WriteTurn};
pub(crate) use supervisor::{LockSupervisor, Settings, Stop};

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;
