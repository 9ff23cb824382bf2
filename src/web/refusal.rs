//! HTTP responses for locks that were not granted or were lost.

use std::{borrow::Cow, time::Duration};

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
        Face::of(self).status
    }

    fn error_response(&self) -> HttpResponse {
        let Face { status, code, message, retry_after } = Face::of(self);
        answer(status, code, &message, retry_after)
    }
}

/// What a client sees of an error.
struct Face {
    status: StatusCode,
    /// For programs.
    code: &'static str,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl Face {
    fn of(error: &Error) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        let soon = Some(RETRY_AFTER_DEFAULT);
        let (status, code, message, retry_after) = match error {
            Error::Invalid { field: "key", why } => {
                let message = format!("key {why}").into();
                return Self {
                    status: StatusCode::BAD_REQUEST,
                    code: "invalid",
                    message,
                    retry_after: None,
                };
            }
            Error::Held { .. } => {
                (StatusCode::LOCKED, "locked", "another holder has the lock", None)
            }
            Error::WaitedTooLong { .. } => (
                StatusCode::GATEWAY_TIMEOUT,
                "waited_too_long",
                "the lock was not granted in time",
                None,
            ),
            Error::LockDelay { remaining, .. } => (
                unavailable,
                "lock_delay",
                "the lock is closed for a while after its holder failed",
                remaining.or(soon),
            ),
            Error::NoPermit { .. } => (unavailable, "busy", "all permits are taken", soon),
            Error::TooManyWaiters { .. } | Error::TooManyKeys { .. } => {
                (unavailable, "busy", "too many requests for locks", soon)
            }
            Error::Unavailable { .. } | Error::Stopped => {
                (unavailable, "unavailable", "locks are unavailable at present", soon)
            }
            Error::NotHeld { .. } => {
                (unavailable, "lost", "the lock was lost; nothing more was written", None)
            }
            Error::Unknown { .. } => {
                (unavailable, "unknown", "whether the work took effect is unknown", None)
            }
            Error::Conflict { .. } => {
                (StatusCode::CONFLICT, "conflict", "somebody else changed this meanwhile", None)
            }
            Error::Invalid { .. }
            | Error::Denied { .. }
            | Error::FlagConflict { .. }
            | Error::NameRefused { .. }
            | Error::LimitConflict { .. }
            | Error::NoSemaphore { .. }
            | Error::AlreadyStarted { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "misconfigured",
                "the service's locks are misconfigured",
                None,
            ),
        };
        Self { status, code, message: message.into(), retry_after }
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
