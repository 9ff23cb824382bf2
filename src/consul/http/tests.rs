//! Tests of whole exchanges.

pub(crate) mod hostile;
