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
        index: 3,
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
        (Error::TooManyKeys { key: key(), limit: 1 }, 503, Some("1"), "busy"),
        (Error::FlagConflict { key: key(), found: 9 }, 500, None, "misconfigured"),
        (Error::NameRefused { key: key(), why: String::new() }, 500, None, "misconfigured"),
        (Error::Invalid { field: "key", why: "is empty".into() }, 400, None, "invalid"),
        (Error::Invalid { field: "value", why: hush() }, 500, None, "misconfigured"),
        (Error::Denied { right: hush() }, 500, None, "misconfigured"),
        (Error::AlreadyStarted { key: key() }, 500, None, "misconfigured"),
        (Error::unavailable(Step::Lock, hush()).naming(&key()), 503, Some("1"), "unavailable"),
        (Error::Stopped, 503, Some("1"), "unavailable"),
    ]
}

#[test]
fn each_error_has_its_status_and_tells_clients_nothing_of_what_is_behind() {
    for (error, status, retry_after, code) in errors() {
        let (told_status, told_retry_after, body) = told(&error);
        assert_eq!((told_status, told_retry_after.as_deref()), (status, retry_after), "{error}");
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
    let (status, retry_after, body) = told(&Lost { key, token, reason: LossReason::SessionGone });
    assert_eq!((status, retry_after), (503, None));
    assert!(body.contains(r#""error":"lost""#), "{body}");
}
