//! Work that runs only on the leader.

mod every;
mod hand_over;
mod period;
mod rest;
mod singleton;
mod while_leading;

pub use every::Turn;
pub use period::Period;
pub use singleton::{Singleton, SingletonHandle};
