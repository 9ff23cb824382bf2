//! The crate against a real Consul: `scripts/test --test consul`.
//!
//! One module per risk; `fixtures` shows that the faults that the others rely on do happen.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries, none of which uses all of it")]
mod support;

mod acl;
mod bad_input;
mod beside;
mod cancel;
mod certificates;
mod cli;
mod cluster;
mod connections;
mod contention;
mod credentials;
mod eras;
mod every;
mod fixtures;
mod foreign;
mod leadership;
mod locks;
mod loss;
mod many_keys;
mod names;
mod permits;
mod preflight;
mod process;
mod reach;
mod release;
mod secrets;
mod seed;
mod service;
mod sets;
mod silence;
mod tls;
mod writes;
