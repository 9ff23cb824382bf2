//! Actors: thin shells that turn the machines' effects into requests, timers and
//! notifications.
//!
//! ```text
//!   callers ─► slots ◄── LockSupervisor ──starts, informs, ends──► LockActor
//!                              │    ▲                                │  ▲
//!                              │    └──────────── requests ──────────┘  │ facts
//!                       SessionActor                               WatchActor
//! ```
//!
//! All actors run on one arbiter. None takes a protocol decision: the supervisor
//! drives the [warden](crate::protocol::warden), the others their own machines.
//! They communicate with the types in [`messages`]. Only the supervisor imports the
//! other actors, because it starts them.

mod busy_wait;
mod death_notice;
mod lock;
pub(crate) mod messages;
mod publishing;
mod question;
mod record;
mod restarts;
mod session;
mod settings;
pub(crate) mod supervisor;
mod timer;
mod watch;

pub(crate) use messages::{ForWarden, Stop};
pub(crate) use record::{Noted, ReadTurn, WriteTurn};
pub(crate) use settings::Settings;
pub(crate) use supervisor::LockSupervisor;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;
