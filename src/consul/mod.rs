//! How Consul is asked: each question and what its reply means as pure functions
//! over bytes, one way to carry them over several links, and every reply turned
//! into a plain fact.

mod answer;
pub(crate) mod ask;
mod batch;
pub(crate) mod client;
pub(crate) mod fact;
pub(crate) mod http;
pub(crate) mod link;
pub(crate) mod session_name;
mod turns;
mod txn;
pub(crate) mod wire;
mod words;

#[cfg(test)]
pub(crate) use answer::Answer;

#[cfg(test)]
mod crossing;
