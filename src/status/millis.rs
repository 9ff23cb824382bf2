//! Durations as whole milliseconds, for reports as JSON.

use std::time::Duration;

use serde::Serializer;

pub(super) fn millis<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

#[allow(clippy::ref_option, reason = "serde's signature")]
pub(super) fn optional_millis<S: Serializer>(
    span: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => millis(span, to),
        None => to.serialize_none(),
    }
}
