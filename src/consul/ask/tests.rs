//! Tests of all questions, and what the tests of each share.

pub(super) mod fixtures;
pub(crate) mod hostile;
pub(crate) mod names;
