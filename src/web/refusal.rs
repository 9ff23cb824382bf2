//! What an HTTP client is told when a lock cannot be had, or was lost.

use std::time::Duration;

use actix_web::{HttpResponse, ResponseError, http::StatusCode, http::header::RETRY_AFTER};

use crate::{error::Error, ownership::Lost};

/// How long a client is asked to wait where nothing better is known.
pub(super) const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// A JSON body, `{"error": code, "message": words}`, says what happened and
/// nothing of what is behind: neither holders nor addresses nor ACL rights. What
/// `Display` says of the error is for the service's own log.
///
/// | error | status | `error` |
/// |---|---|---|
/// | [`Invalid`](Error::Invalid), a key | 400; the message names the fault | `invalid` |
/// | [`Held`](Error::Held) | 423 | `locked` |
/// | [`WaitedTooLong`](Error::WaitedTooLong) | 504 | `waited_too_long` |
/// | [`LockDelay`](Error::LockDelay) | 503, `Retry-After` the delay | `lock_delay` |
/// | [`TooManyWaiters`](Error::TooManyWaiters), [`TooManyKeys`](Error::TooManyKeys), [`Unavailable`](Error::Unavailable), [`Stopped`](Error::Stopped) | 503, `Retry-After: 1` | `busy`, `unavailable` |
/// | [`Denied`](Error::Denied), [`FlagConflict`](Error::FlagConflict), [`AlreadyStarted`](Error::AlreadyStarted), [`Invalid`](Error::Invalid) in anything but a key: an operator or developer must act | 500 | `misconfigured` |
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Invalid { field: "key", .. } => StatusCode::BAD_REQUEST,
            Self::Held { .. } => StatusCode::LOCKED,
            Self::WaitedTooLong { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::LockDelay { .. }
            | Self::TooManyWaiters { .. }
            | Self::TooManyKeys { .. }
            | Self::Unavailable { .. }
            | Self::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            Self::Invalid { .. }
            | Self::Denied { .. }
            | Self::FlagConflict { .. }
            | Self::AlreadyStarted { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let message = match self {
            Self::Invalid { field: "key", why } => &format!("key {why}"),
            Self::Held { .. } => "somebody else has the lock",
            Self::WaitedTooLong { .. } => "the lock was not free in time",
            Self::LockDelay { .. } => "the lock is closed for a while after its holder failed",
            Self::TooManyWaiters { .. } | Self::TooManyKeys { .. } => "too many wait for locks",
            Self::Unavailable { .. } | Self::Stopped => "locks cannot be had at present",
            Self::Invalid { .. }
            | Self::Denied { .. }
            | Self::FlagConflict { .. }
            | Self::AlreadyStarted { .. } => "the lock cannot be had",
        };
        let status = self.status_code();
        let retry_after = match self {
            Self::LockDelay { remaining: Some(remaining), .. } => Some(*remaining),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_AFTER_DEFAULT),
            _ => None,
        };
        answer(status, code(self), message, retry_after)
    }
}

/// As it is written in the body, for programs.
fn code(error: &Error) -> &'static str {
    match error {
        Error::Invalid { field: "key", .. } => "invalid",
        Error::Held { .. } => "locked",
        Error::WaitedTooLong { .. } => "waited_too_long",
        Error::LockDelay { .. } => "lock_delay",
        Error::TooManyWaiters { .. } | Error::TooManyKeys { .. } => "busy",
        Error::Unavailable { .. } | Error::Stopped => "unavailable",
        Error::Invalid { .. }
        | Error::Denied { .. }
        | Error::FlagConflict { .. }
        | Error::AlreadyStarted { .. } => "misconfigured",
    }
}

/// 503 with the code `lost`, in a body as [`Error`]'s. There is no `Retry-After`:
/// the work may be half done, and only the client knows whether it may be
/// repeated.
impl ResponseError for Lost {
    fn status_code(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn error_response(&self) -> HttpResponse {
        answer(self.status_code(), "lost", "the lock was lost; the work was stopped", None)
    }
}

/// A request kept its lock longer than it may: 503 with the code `held_too_long`, in a
/// body as [`Error`]'s. As for [`Lost`], there is no `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request held its lock for {limit:?}, and was given up")]
pub(super) struct HeldTooLong {
    pub(super) limit: Duration,
}

impl ResponseError for HeldTooLong {
    fn status_code(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn error_response(&self) -> HttpResponse {
        let message = "the request took too long; its work was stopped and its lock given back";
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
        // Whole seconds, and never sooner than it is of use.
        let seconds = pause.as_secs().saturating_add(u64::from(pause.subsec_nanos() > 0));
        response.insert_header((RETRY_AFTER, seconds.max(1).to_string()));
    }
    response.json(serde_json::json!({ "error": code, "message": message }))
}

#[cfg(test)]
mod tests {
    use actix_web::body::MessageBody as _;

    use super::*;
    use crate::{
        error::{ConfigError, Step},
        key::Key,
        ownership::{Holder, LossReason, Released},
        token::FencingToken,
    };

    static_assertions::assert_impl_all!(Error: ResponseError);
    static_assertions::assert_impl_all!(Lost: ResponseError);
    static_assertions::assert_impl_all!(actix_web::Error: From<Error>, From<Lost>);
    // These are met where a service starts, or are answers; no request fails by them.
    static_assertions::assert_not_impl_any!(ConfigError: ResponseError);
    static_assertions::assert_not_impl_any!(LossReason: ResponseError);
    static_assertions::assert_not_impl_any!(Released: ResponseError);

    fn told(error: &dyn ResponseError) -> (u16, Option<String>, String) {
        let response = error.error_response();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = response.into_body().try_into_bytes().unwrap();
        (status, retry_after, String::from_utf8(body.to_vec()).unwrap())
    }

    fn errors() -> Vec<(Error, u16, Option<&'static str>, &'static str)> {
        let holder = Box::new(Holder {
            session: "hush-session".into(),
            session_name: Some("hush-service".into()),
            node: Some("hush-node".into()),
            value: b"hush-value"[..].into(),
            since: 3,
        });
        let key = || Key::new("hush-key").unwrap();
        let delay = |remaining| Error::LockDelay { key: key(), remaining };
        let hush = || "hush".to_owned();
        let waited = Duration::from_secs(2);
        vec![
            (Error::Held { key: key(), holder: holder.clone() }, 423, None, "locked"),
            (delay(None), 503, Some("1"), "lock_delay"),
            (delay(Some(Duration::from_millis(2_001))), 503, Some("3"), "lock_delay"),
            (delay(Some(Duration::ZERO)), 503, Some("1"), "lock_delay"),
            (
                Error::WaitedTooLong { key: key(), waited, holder: Some(holder) },
                504,
                None,
                "waited_too_long",
            ),
            (Error::TooManyWaiters { key: key(), limit: 1 }, 503, Some("1"), "busy"),
            (Error::TooManyKeys { limit: 1 }, 503, Some("1"), "busy"),
            (Error::FlagConflict { key: key(), found: 9 }, 500, None, "misconfigured"),
            (Error::Invalid { field: "key", why: "is empty".into() }, 400, None, "invalid"),
            (Error::Invalid { field: "value", why: hush() }, 500, None, "misconfigured"),
            (Error::Denied { right: hush() }, 500, None, "misconfigured"),
            (Error::AlreadyStarted { key: key() }, 500, None, "misconfigured"),
            (Error::Unavailable { step: Step::Lock, why: hush() }, 503, Some("1"), "unavailable"),
            (Error::Stopped, 503, Some("1"), "unavailable"),
        ]
    }

    #[test]
    fn each_error_has_its_status_and_tells_clients_nothing_of_what_is_behind() {
        for (error, status, retry_after, code) in errors() {
            let (told_status, told_retry_after, body) = told(&error);
            assert_eq!(
                (told_status, told_retry_after.as_deref()),
                (status, retry_after),
                "{error}"
            );
            assert_eq!(told_status, error.status_code().as_u16());
            let json: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(json["error"], code, "{error}");
            assert!(!body.contains("hush"), "{body}");
        }
        let (.., body) = told(&Error::Invalid { field: "key", why: "is empty".into() });
        assert!(body.contains("key is empty"), "{body}");
    }

    #[test]
    fn the_longest_pause_is_whole_seconds_like_any_other() {
        for (pause, seconds) in [
            (Duration::MAX, "18446744073709551615"),
            (Duration::from_nanos(1), "1"),
            (Duration::ZERO, "1"),
        ] {
            let response = answer(StatusCode::SERVICE_UNAVAILABLE, "busy", "", Some(pause));
            assert_eq!(response.headers().get(RETRY_AFTER).unwrap(), seconds);
        }
    }

    #[test]
    fn a_loss_is_503_and_invites_no_repetition() {
        let (key, token) = (Key::new("k").unwrap(), FencingToken::new(7, 0).unwrap());
        let (status, retry_after, body) =
            told(&Lost { key, token, reason: LossReason::SessionGone });
        assert_eq!((status, retry_after), (503, None));
        assert!(body.contains(r#""error":"lost""#), "{body}");
    }
}
