//! What callers hold: the callers of a key, their leases, terms, tenures and
//! observers.

pub(crate) mod callers;
pub(crate) mod keep_alive;
pub(crate) mod lease;
pub(crate) mod lease_state;
pub(crate) mod ledger;
pub(crate) mod observer;
pub(crate) mod slot;
pub(crate) mod tenure;
pub(crate) mod term;
