//! Work that only the leader does.

mod every;
mod hand_over;
mod job;
mod singleton;

pub use every::Turn;
pub use singleton::{Singleton, SingletonHandle};
