//! The messages of the lock runtime: requests and events.

mod administration;
mod elections;
mod events;
#[cfg(feature = "embedded")]
mod mock;
mod permits;
mod reports;
mod requests;
mod sets;
pub(crate) mod subscribers;
mod subscriptions;
mod writes;

pub use administration::{ForceRelease, HeldKey, Holders, StepDown};
pub use elections::{Campaign, Observe, Resign};
pub use events::{
    Deposed, Elected, ForceReleased, LeaderChanged, LockAcquired, LockLost, LockReleased,
    SteppedDown,
};
pub use permits::{AcquirePermit, TryAcquirePermit};
pub use reports::{Explain, List};
pub use requests::{Acquire, Inspect, Release, TryAcquire};
pub use sets::{AcquireAll, ReleaseAll};
pub use subscribers::{Event, Events};
pub use subscriptions::{Filter, Subscribe, SubscriptionId, Unsubscribe};
pub use writes::{ReadEntry, StoredEntry, UpdateValue, Write};
