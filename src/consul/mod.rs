//! How Consul is asked: requests and replies as pure functions over bytes, one
//! seam over several transports, and every reply turned into a plain fact.

mod batch;
pub(crate) mod client;
pub(crate) mod fact;
pub(crate) mod http;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod session_name;
pub(crate) mod wire;

#[cfg(test)]
mod crossing;
