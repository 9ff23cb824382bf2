//! HTTP responses for locks that were not granted or were lost.

use std::time::Duration;

use actix_web::{HttpResponse, ResponseError, http::StatusCode, http::header::RETRY_AFTER};

use crate::{error::Error, ownership::Lost};

/// The default `Retry-After`.
pub(super) const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// The JSON body is `{"error": code, "message": text}`. It reveals no internals: neither
/// holders nor addresses nor ACL rights. The error's `Display` text is for the service's
/// own log.
///
/// | error | status | `error` |
/// |---|---|---|
/// | [`Invalid`](Error::Invalid), a key | 400; the message names the fault | `invalid` |
/// | [`Held`](Error::Held) | 423 | `locked` |
/// | [`WaitedTooLong`](Error::WaitedTooLong) | 504 | `waited_too_long` |
/// | [`NoPermit`](Error::NoPermit) | 503, `Retry-After: 1` | `busy` |
/// | [`LockDelay`](Error::LockDelay) | 503, `Retry-After` the delay | `lock_delay` |
/// | [`TooManyWaiters`](Error::TooManyWaiters), [`TooManyKeys`](Error::TooManyKeys), [`Unavailable`](Error::Unavailable), [`Stopped`](Error::Stopped) | 503, `Retry-After: 1` | `busy`, `unavailable` |
/// | [`NotHeld`](Error::NotHeld), [`Unknown`](Error::Unknown): only the client knows whether the work may be repeated | 503 | `lost`, `unknown` |
/// | [`Conflict`](Error::Conflict) | 409 | `conflict` |
/// | [`Denied`](Error::Denied), [`FlagConflict`](Error::FlagConflict), [`NameRefused`](Error::NameRefused), [`LimitConflict`](Error::LimitConflict), [`NoSemaphore`](Error::NoSemaphore), [`AlreadyStarted`](Error::AlreadyStarted), [`Invalid`](Error::Invalid) in anything but a key: an operator or developer must act | 500 | `misconfigured` |
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Invalid { field: "key", .. } => StatusCode::BAD_REQUEST,
            Self::Held { .. } => StatusCode::LOCKED,
            Self::WaitedTooLong { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::LockDelay { .. }
            | Self::NoPermit { .. }
            | Self::TooManyWaiters { .. }
            | Self::TooManyKeys { .. }
            | Self::Unavailable { .. }
            | Self::NotHeld { .. }
            | Self::Unknown { .. }
            | Self::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::Invalid { .. }
            | Self::Denied { .. }
            | Self::FlagConflict { .. }
            | Self::NameRefused { .. }
            | Self::LimitConflict { .. }
            | Self::NoSemaphore { .. }
            | Self::AlreadyStarted { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let message = match self {
            Self::Invalid { field: "key", why } => &format!("key {why}"),
            Self::Held { .. } => "another holder has the lock",
            Self::WaitedTooLong { .. } => "the lock was not granted in time",
            Self::LockDelay { .. } => "the lock is closed for a while after its holder failed",
            Self::NoPermit { .. } => "as many of these run as may run at a time",
            Self::TooManyWaiters { .. } | Self::TooManyKeys { .. } => "too many requests for locks",
            Self::Unavailable { .. } | Self::Stopped => "locks are unavailable at present",
            Self::NotHeld { .. } => "the lock was lost; nothing more was written",
            Self::Unknown { .. } => "whether the work took effect is unknown",
            Self::Conflict { .. } => "somebody else changed this meanwhile",
            Self::Invalid { .. }
            | Self::Denied { .. }
            | Self::FlagConflict { .. }
            | Self::NameRefused { .. }
            | Self::LimitConflict { .. }
            | Self::NoSemaphore { .. }
            | Self::AlreadyStarted { .. } => "the service's locks are misconfigured",
        };
        let status = self.status_code();
        let retry_after = match self {
            Self::LockDelay { remaining: Some(remaining), .. } => Some(*remaining),
            Self::NotHeld { .. } | Self::Unknown { .. } => None,
            _ if status == StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_AFTER_DEFAULT),
            _ => None,
        };
        answer(status, code(self), message, retry_after)
    }
}

/// The field `error` of the body, for programs.
fn code(error: &Error) -> &'static str {
    match error {
        Error::Invalid { field: "key", .. } => "invalid",
        Error::Held { .. } => "locked",
        Error::WaitedTooLong { .. } => "waited_too_long",
        Error::LockDelay { .. } => "lock_delay",
        Error::NoPermit { .. } | Error::TooManyWaiters { .. } | Error::TooManyKeys { .. } => "busy",
        Error::Unavailable { .. } | Error::Stopped => "unavailable",
        Error::NotHeld { .. } => "lost",
        Error::Unknown { .. } => "unknown",
        Error::Conflict { .. } => "conflict",
        Error::Invalid { .. }
        | Error::Denied { .. }
        | Error::FlagConflict { .. }
        | Error::NameRefused { .. }
        | Error::LimitConflict { .. }
        | Error::NoSemaphore { .. }
        | Error::AlreadyStarted { .. } => "misconfigured",
    }
}

/// 503 with the code `lost`, in a body like that of [`Error`]. There is no `Retry-After`:
/// the work may be half done, and only the client knows whether it may be repeated.
impl ResponseError for Lost {
    fn status_code(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn error_response(&self) -> HttpResponse {
        answer(self.status_code(), "lost", "the lock was lost; the work was stopped", None)
    }
}

/// A request held its lock longer than allowed: 503 with the code `held_too_long`, in a
/// body like that of [`Error`]. As for [`Lost`], there is no `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request held its lock for {limit:?} and was stopped")]
pub(super) struct HeldTooLong {
    pub(super) limit: Duration,
}

impl ResponseError for HeldTooLong {
    fn status_code(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn error_response(&self) -> HttpResponse {
        let message = "the request took too long; its work was stopped and its lock released";
        answer(self.status_code(), "held_too_long", message, None)
    }
}

pub(super) fn answer(
    status: StatusCode,
    code: &str,
    message: &str,
    retry_after: Option<Duration>,
) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    if let Some(pause) = retry_after {
        // Rounded up to whole seconds, so that no client retries too early.
        let seconds = pause.as_secs().saturating_add(u64::from(pause.subsec_nanos() > 0));
        response.insert_header((RETRY_AFTER, seconds.max(1).to_string()));
    }
    response.json(serde_json::json!({ "error": code, "message": message }))
}

#[cfg(test)]
mod tests;
