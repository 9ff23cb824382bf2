//! Lists the sessions of one name.

use serde_json::Value;

use super::{Ask, Keyspace, create_session::is_id};
use crate::{
    consul::{
        answer::Answer,
        fact::{AllSessions, SessionId, SessionsSeen, Trouble},
        http::Purpose,
        session_name::{LONGEST_NAME, service_of},
        wire::WireRequest,
    },
    escape::shortened,
};

/// Lists the sessions of one name, of all that the token may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListSessions {
    pub(crate) name: String,
}

impl Ask for ListSessions {
    type Fact = SessionsSeen;

    fn request(&self, _: &Keyspace) -> WireRequest {
        WireRequest::get("/v1/session/list".into())
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> SessionsSeen {
        if let Some(right) = answer.denied("session:read") {
            return SessionsSeen::Denied(right);
        }
        let listed = (answer.status() == 200).then(|| answer.json()).flatten();
        let Some(Value::Array(sessions)) = listed else {
            return SessionsSeen::Unknown(answer.trouble());
        };
        let named = |session: &Value| {
            let is_named = session.get("Name")?.as_str()? == self.name;
            let id = session.get("ID")?.as_str().filter(|id| is_id(id))?;
            is_named.then(|| SessionId::from(id))
        };
        SessionsSeen::Found(sessions.iter().filter_map(named).collect())
    }

    fn unanswered(&self, trouble: Trouble) -> SessionsSeen {
        SessionsSeen::Unknown(trouble)
    }

    fn purpose(&self) -> Purpose {
        Purpose::List
    }
}

/// Lists all sessions that the token may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListAllSessions;

impl Ask for ListAllSessions {
    type Fact = AllSessions;

    fn request(&self, _: &Keyspace) -> WireRequest {
        WireRequest::get("/v1/session/list".into())
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> AllSessions {
        if let Some(right) = answer.denied("session:read") {
            return AllSessions::Denied(right);
        }
        let listed = (answer.status() == 200).then(|| answer.json()).flatten();
        let Some(Value::Array(sessions)) = listed else {
            return AllSessions::Unknown(answer.trouble());
        };
        let described = |session: &Value| {
            let text = |field| session.get(field).and_then(Value::as_str);
            let id = text("ID").filter(|id| is_id(id))?;
            let name = shortened(service_of(text("Name").unwrap_or_default()), LONGEST_NAME);
            let node = shortened(text("Node").unwrap_or_default(), LONGEST_NAME);
            Some((SessionId::from(id), name, node))
        };
        AllSessions::Found(sessions.iter().filter_map(described).collect())
    }

    fn unanswered(&self, trouble: Trouble) -> AllSessions {
        AllSessions::Unknown(trouble)
    }

    fn purpose(&self) -> Purpose {
        Purpose::List
    }
}

#[cfg(test)]
mod tests;
