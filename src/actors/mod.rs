//! Who does it: thin shells that turn the machines' effects into calls, timers
//! and notifications.
//!
//! ```text
//!   callers ─► slots ◄── LockSupervisor ──starts, informs, ends──► LockActor
//!                              │    ▲                                │  ▲
//!                              │    └──────────── requests ──────────┘  │ facts
//!                       SessionActor                               WatchActor
//! ```
//!
//! All run on one arbiter. No protocol decision is taken here: the supervisor asks
//! the [warden](crate::protocol::warden), the others their own machines. They speak
//! in the words of [`messages`]; only the supervisor, which starts the others,
//! knows them.

mod lock;
pub(crate) mod messages;
mod obituary;
mod publishing;
mod question;
mod record;
mod session;
mod settings;
pub(crate) mod supervisor;
mod watch;

pub(crate) use messages::{ForWarden, Stop};
pub(crate) use record::{LastTurn, Noted, ReadTurn, WriteTurn};
pub(crate) use settings::Settings;
pub(crate) use supervisor::LockSupervisor;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;
