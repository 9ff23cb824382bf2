//! What callers hold: the callers of a key, their leases, terms, tenures and observers.
//! And what a runtime holds for them: slots, which take turns under a warden.

pub(crate) mod asker;
pub(crate) mod callers;
pub(crate) mod claim;
#[cfg(test)]
pub(crate) mod fuse;
pub(crate) mod keep_alive;
pub(crate) mod keeping;
pub(crate) mod lease;
pub(crate) mod lease_set;
pub(crate) mod lease_state;
pub(crate) mod ledger;
#[cfg(feature = "embedded")]
pub(crate) mod mock;
pub(crate) mod observer;
pub(crate) mod oversight;
pub(crate) mod party;
pub(crate) mod slot;
pub(crate) mod slot_question;
pub(crate) mod slots;
pub(crate) mod tenure;
pub(crate) mod term;
pub(crate) mod turn;
pub(crate) mod user_code;
pub(crate) mod wards;
pub(crate) mod watchers;
