//! Logs in with an auth method, and out again.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{Ask, Keyspace};
use crate::{
    consul::{answer::Answer, fact::Trouble, wire::WireRequest},
    secret::Secret,
};

/// Creates a token for a bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consul) struct LogIn {
    pub(in crate::consul) auth_method: String,
    pub(in crate::consul) bearer: Secret,
    pub(in crate::consul) meta: BTreeMap<String, String>,
}

/// The answer to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consul) enum LoggedIn {
    Token {
        token: Secret,
        /// From its creation to its expiry, if it expires.
        lifetime: Option<Duration>,
    },
    Denied(String),
    Unknown(Trouble),
}

impl Ask for LogIn {
    type Fact = LoggedIn;

    fn request(&self, _: &Keyspace) -> WireRequest {
        let body = json!({
            "AuthMethod": self.auth_method,
            "BearerToken": self.bearer.expose(),
            "Meta": self.meta,
        });
        WireRequest::post("/v1/acl/login".into(), body.to_string().into_bytes())
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> LoggedIn {
        match answer.status() {
            200 => token_in(answer).unwrap_or_else(|| {
                // The body may hold a token.
                LoggedIn::Unknown(Trouble::NotConsul("no reply to a login".into()))
            }),
            403 => LoggedIn::Denied(answer.excerpt(&answer.text())),
            _ => LoggedIn::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> LoggedIn {
        LoggedIn::Unknown(trouble)
    }
}

fn token_in(answer: Answer<'_>) -> Option<LoggedIn> {
    let json: Value = answer.json()?;
    let token = Secret::new(json.get("SecretID")?.as_str()?);
    let at = |field| json.get(field).and_then(Value::as_str).and_then(instant);
    // Both times are Consul's, so that our wall clock does not matter.
    let lifetime = at("ExpirationTime").zip(at("CreateTime"));
    let lifetime = lifetime.map(|(end, begin)| end.saturating_sub(begin));
    (!token.is_blank()).then_some(LoggedIn::Token { token, lifetime })
}

/// Parses a time of RFC 3339, as the time since 1970.
fn instant(text: &str) -> Option<Duration> {
    let plain = |text: &str| {
        let time = humantime_serde::re::humantime::parse_rfc3339(text).ok()?;
        time.duration_since(std::time::UNIX_EPOCH).ok()
    };
    if text.ends_with('Z') {
        return plain(text);
    }
    // The last six characters are the offset, such as -04:00.
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes = 60 * hours.parse::<u64>().ok()? + minutes.parse::<u64>().ok()?;
    let (local, ahead) = (plain(&format!("{local}Z"))?, Duration::from_secs(60 * minutes));
    match offset.chars().next()? {
        '+' => local.checked_sub(ahead),
        '-' => local.checked_add(ahead),
        _ => None,
    }
}

/// Whether the agent's server knows the token with which it is asked. It needs no right, and
/// Consul keeps no record of a failure.
#[derive(Clone, Copy, Debug)]
pub(in crate::consul) struct IsVisible;

impl Ask for IsVisible {
    type Fact = bool;

    fn request(&self, _: &Keyspace) -> WireRequest {
        WireRequest::get("/v1/acl/token/self?stale".into())
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> bool {
        answer.status() == 200
    }

    fn unanswered(&self, _: Trouble) -> bool {
        false
    }
}

/// Destroys the token with which it is asked.
#[derive(Clone, Copy, Debug)]
pub(in crate::consul) struct LogOut;

impl Ask for LogOut {
    type Fact = Result<(), Trouble>;

    fn request(&self, _: &Keyspace) -> WireRequest {
        WireRequest::post("/v1/acl/logout".into(), Vec::new())
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> Result<(), Trouble> {
        match answer.status() {
            // 403 if the token has expired or was deleted.
            200 | 403 => Ok(()),
            _ => Err(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Result<(), Trouble> {
        Err(trouble)
    }
}

#[cfg(test)]
mod tests;
