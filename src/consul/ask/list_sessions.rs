//! Lists the sessions of one name.

use serde_json::Value;

use super::{Ask, Keyspace, create_session::is_id};
use crate::consul::{
    answer::Answer,
    fact::{SessionId, SessionsSeen, Trouble},
    http::Purpose,
    wire::WireRequest,
};

/// Lists all sessions that the token may read, and keeps those of one name.
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

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};

    #[test]
    fn the_sessions_of_one_name_are_those_with_just_that_name() {
        let ask = ListSessions { name: "orders#0000beef".into() };
        assert_eq!(ask.request(&Keyspace::default()).target, "/v1/session/list");
        let other = ID.replace('e', "f");
        let body = format!(
            r#"[{{"ID":"{ID}","Name":"orders#0000beef"}}, {{"ID":"{other}","Name":"orders"}},
                {{"ID":"../x","Name":"orders#0000beef"}}]"#
        );
        assert_eq!(read(&ask, 200, &body), SessionsSeen::Found(vec![id()]));
        assert_eq!(read(&ask, 200, "[]"), SessionsSeen::Found(Vec::new()));
        assert!(matches!(read(&ask, 403, "Permission denied"), SessionsSeen::Denied(_)));
        for (status, body) in [(200, "{}"), (200, "<html>"), (404, ""), (500, "EOF")] {
            assert!(matches!(read(&ask, status, body), SessionsSeen::Unknown(_)), "{body}");
        }
    }
}
