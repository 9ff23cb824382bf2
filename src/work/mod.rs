//! Work that only the leader does.

mod hand_over;
mod job;
mod singleton;

pub use singleton::{Singleton, SingletonHandle};
