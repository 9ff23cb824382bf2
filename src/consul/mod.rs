//! The Consul client. Each question is a pure function to a request and from a reply to a
//! plain fact; one client sends it over several links.

mod answer;
pub(crate) mod ask;
pub(crate) mod batches;
pub(crate) mod client;
pub(crate) mod credentials;
pub(crate) mod fact;
pub(crate) mod http;
mod limit;
pub(crate) mod link;
mod locking;
mod places;
pub(crate) mod roster;
mod row;
pub(crate) mod session_name;
pub(crate) mod stand_back;
pub(crate) mod turn_record;
mod txn;
pub(crate) mod wire;
mod words;

#[cfg(test)]
pub(crate) use answer::Answer;

#[cfg(test)]
mod tests;
