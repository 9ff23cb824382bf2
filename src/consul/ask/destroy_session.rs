//! Destroys a session.

use serde_json::Value;

use super::{Ask, Keyspace, escaped};
use crate::consul::{
    answer::Answer,
    fact::{Destroyed, SessionId, Trouble},
    wire::WireRequest,
};

/// Destroys a session; Consul frees its keys after their lock-delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DestroySession {
    pub(crate) session: SessionId,
}

impl Ask for DestroySession {
    type Fact = Destroyed;

    fn request(&self, _: &Keyspace) -> WireRequest {
        let target = format!("/v1/session/destroy/{}", escaped(self.session.as_str()));
        WireRequest::put(target, Vec::new())
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> Destroyed {
        if let Some(right) = answer.denied("session:write") {
            return Destroyed::Denied(right);
        }
        if answer.status() == 200 && answer.json() == Some(Value::Bool(true)) {
            return Destroyed::Done;
        }
        Destroyed::Unknown(answer.trouble())
    }

    fn unanswered(&self, trouble: Trouble) -> Destroyed {
        Destroyed::Unknown(trouble)
    }
}

#[cfg(test)]
mod tests;
