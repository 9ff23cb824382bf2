//! What a caller holds: the queue of a key's callers, their leases, terms and
//! tenures, and observers.

pub(crate) mod callers;
pub(crate) mod keep_alive;
pub(crate) mod lease;
pub(crate) mod lease_state;
pub(crate) mod observer;
pub(crate) mod slot;
pub(crate) mod stake;
pub(crate) mod tenure;
pub(crate) mod term;
