//! Renews a session.

use serde_json::Value;

use super::{Ask, Keyspace, duration, escaped, session_info::one_session};
use crate::consul::{
    answer::Answer,
    fact::{Renewed, SessionId, Trouble},
    http::Purpose,
    wire::WireRequest,
    words::{Part::Is, reads},
};

/// Renews a session over connections reserved for renewals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RenewSession {
    pub(crate) session: SessionId,
}

impl Ask for RenewSession {
    type Fact = Renewed;

    fn request(&self, _: &Keyspace) -> WireRequest {
        let target = format!("/v1/session/renew/{}", escaped(self.session.as_str()));
        WireRequest::put(target, Vec::new())
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> Renewed {
        if let Some(right) = answer.denied("session:write") {
            return Renewed::Denied(right);
        }
        match answer.status() {
            200 => {
                if let Some(session) = one_session(answer, &self.session) {
                    let ttl = session.get("TTL").and_then(Value::as_str).and_then(duration::parse);
                    return Renewed::Alive { ttl };
                }
            }
            404 => {
                let (before, after) = (Is("Session id '"), Is("' not found"));
                if reads(&answer.text(), &[before, Is(self.session.as_str()), after]) {
                    return Renewed::Gone;
                }
            }
            _ => {}
        }
        Renewed::Unknown(answer.trouble())
    }

    fn unanswered(&self, trouble: Trouble) -> Renewed {
        Renewed::Unknown(trouble)
    }

    fn purpose(&self) -> Purpose {
        Purpose::Renewal
    }
}

#[cfg(test)]
mod tests;
