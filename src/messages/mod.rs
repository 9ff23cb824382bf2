//! The messages of the lock runtime: requests and events.

mod accounts;
mod administration;
mod elections;
mod events;
mod permits;
mod requests;
mod sets;
pub(crate) mod subscribers;
mod writes;

pub use accounts::{Explain, List};
pub use administration::{ForceRelease, HeldKey, Holders, StepDown};
pub use elections::{Campaign, Observe, Resign};
pub use events::{
    Deposed, Elected, ForceReleased, LeaderChanged, LockAcquired, LockLost, LockReleased,
    SteppedDown,
};
pub use permits::{AcquirePermit, TryAcquirePermit};
pub use requests::{
    Acquire, Filter, Inspect, Release, Subscribe, SubscriptionId, TryAcquire, Unsubscribe,
};
pub use sets::{AcquireAll, ReleaseAll};
pub use subscribers::{Event, Events};
pub use writes::{ReadEntry, StoredEntry, UpdateValue, Write};
