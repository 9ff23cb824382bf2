//! The machines that threads share.

#[path = "../../src/protocol/cell.rs"]
pub(crate) mod cell;
#[path = "../../src/protocol/contest.rs"]
pub(crate) mod contest;
#[path = "../../src/protocol/election.rs"]
pub(crate) mod election;
#[path = "../../src/protocol/queue.rs"]
pub(crate) mod queue;
