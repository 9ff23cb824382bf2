//! Work that runs only on the leader.

mod calendar;
mod caught;
mod every;
mod hand_over;
mod period;
mod restart_pauses;
mod schedule;
mod singleton;
#[cfg(test)]
mod tests;
mod while_leading;

pub use every::Turn;
pub use period::Period;
pub use schedule::{Missed, Schedule};
pub use singleton::{Singleton, SingletonHandle};
