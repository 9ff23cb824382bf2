//! What can be said to the lock runtime, and what it says.

mod accounts;
mod events;
mod requests;

pub use accounts::{Explain, List};
pub use events::{LockAcquired, LockLost, LockReleased};
pub use requests::{
    Acquire, Filter, Inspect, Release, Subscribe, SubscriptionId, TryAcquire, Unsubscribe,
};
