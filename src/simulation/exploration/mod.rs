//! Every history of a small scope.
//!
//! The simulation draws histories; an exploration takes all of them, within a *scope*:
//! so many processes, one key, and a budget of faults, callers and passing time. It drives
//! the same processes, against the same engine, under the same checks. From every state
//! in which nothing is under way it also plays the end: all faults end, every caller must
//! be served, and nothing may remain.
//!
//! - `scope`: what a history may choose from; `choice`: what it may choose next.
//! - `stage`, `faults`, `time`: one history, driven by choices.
//! - `state`, `canon`: a state's canonical form and its hash.
//! - `search`: all histories, by the number of choices.
//!
//! # What a bound means
//!
//! A state that was reached is searched once. Two states are the same if everything that
//! decides what happens next, the checks included, is the same up to the names of
//! sessions, tickets and indexes, and counted from now. The hash has 128 bits. Jitter is
//! fixed at its least, clocks run at one rate, and timers fire on time.
//!
//! In a *prompt* scope, messages arrive in the order in which they were sent, and before
//! the next timer; each exception is a choice. Time passes only when nothing is under way,
//! and then to the next moment that matters (a deadline, the end of a session or of a
//! lock-delay, a message that is not routine), or by four seconds. A *wait* passes only to
//! the next timer.

mod canon;
mod choice;
mod faults;
mod scope;
mod search;
mod stage;
mod state;
mod tests;
mod time;
