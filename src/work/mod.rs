//! Work that runs only on the leader.

mod every;
mod hand_over;
mod rest;
mod singleton;
mod while_leading;

pub use every::Turn;
pub use singleton::{Singleton, SingletonHandle};
