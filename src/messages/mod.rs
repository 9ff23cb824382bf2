//! The messages of the lock runtime: requests and events.

mod accounts;
mod elections;
mod events;
mod requests;
mod sets;
pub(crate) mod subscribers;

pub use accounts::{Explain, List};
pub use elections::{Campaign, Observe, Resign};
pub use events::{Deposed, Elected, LeaderChanged, LockAcquired, LockLost, LockReleased};
pub use requests::{
    Acquire, Filter, Inspect, Release, Subscribe, SubscriptionId, TryAcquire, Unsubscribe,
};
pub use sets::{AcquireAll, ReleaseAll};
pub use subscribers::{Event, Events};
