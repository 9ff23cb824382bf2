//! Questions of the preflight: what the agent is, and which rights the token has. None of
//! them changes a key.

use std::time::Duration;

use serde_json::Value;

use super::{Ask, Keyspace, entry::seen, escaped};
use crate::{
    consul::{
        answer::Answer,
        fact::{AgentSeen, LeaderSeen, Right, Seen, Trouble},
        txn::{self, Op, Outcome},
        wire::WireRequest,
    },
    key::{Key, RESERVED},
};

/// The name of the keys that are asked about. They are never written.
const PROBE: &str = "dsync-preflight";

/// Asks whether the agent knows a leader; needs no right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leader;

impl Ask for Leader {
    type Fact = LeaderSeen;

    fn request(&self, _: &Keyspace) -> WireRequest {
        WireRequest::get("/v1/status/leader".into())
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> LeaderSeen {
        let named = (answer.status() == 200).then(|| answer.json()).flatten();
        match named.as_ref().and_then(Value::as_str) {
            Some(leader) => LeaderSeen::Answered { has_leader: !leader.is_empty() },
            None => LeaderSeen::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> LeaderSeen {
        LeaderSeen::Unknown(trouble)
    }
}

/// Reads the agent's version and limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agent;

impl Ask for Agent {
    type Fact = AgentSeen;

    fn request(&self, _: &Keyspace) -> WireRequest {
        WireRequest::get("/v1/agent/self".into())
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> AgentSeen {
        if answer.denied("agent:read").is_some() {
            return AgentSeen::Denied;
        }
        let json = (answer.status() == 200).then(|| answer.json()).flatten();
        json.and_then(|json| described(&json, answer))
            .unwrap_or_else(|| AgentSeen::Unknown(answer.trouble()))
    }

    fn unanswered(&self, trouble: Trouble) -> AgentSeen {
        AgentSeen::Unknown(trouble)
    }
}

fn described(json: &Value, answer: Answer<'_>) -> Option<AgentSeen> {
    let (config, debug) = (json.get("Config")?, json.get("DebugConfig"));
    let text = |field| Some(answer.excerpt(config.get(field)?.as_str()?));
    let number = |field| debug?.get(field)?.as_u64();
    // A duration is text with a unit, or nanoseconds in some versions.
    let ttl = debug.and_then(|debug| debug.get("SessionTTLMin")).and_then(|ttl| match ttl {
        Value::String(text) => super::duration::parse(text),
        other => other.as_u64().map(Duration::from_nanos),
    });
    Some(AgentSeen::Known {
        version: text("Version")?,
        node: text("NodeName")?,
        connections: number("HTTPMaxConnsPerClient"),
        value_bytes: number("KVMaxValueSize"),
        shortest_ttl: ttl.filter(|ttl| !ttl.is_zero()),
    })
}

/// A place below which keys lie.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Any key below the runtime's prefix.
    Prefix,
    /// The fence entries of sessions.
    Fences,
    Key(Key),
}

impl Place {
    fn probe(&self, keys: &Keyspace) -> String {
        match self {
            Self::Prefix => format!("{}{PROBE}", keys.prefix),
            Self::Fences => format!("{}{RESERVED}/{PROBE}", keys.prefix),
            Self::Key(key) => keys.key(key),
        }
    }
}

/// Asks whether the token may write a key, by a transaction that writes nothing.
#[derive(Clone, Debug)]
pub(crate) struct MayWrite(pub(crate) Place);

impl Ask for MayWrite {
    type Fact = Right;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        txn::request(keys.scope(), &[Op::CheckNotExists { key: &self.0.probe(keys) }])
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Right {
        let key = self.0.probe(keys);
        if let Some(right) = answer.denied("key:write") {
            return Right::Denied(right);
        }
        match txn::outcome(&[Op::CheckNotExists { key: &key }], answer) {
            Outcome::Done(_) => Right::Granted,
            Outcome::Failed(failures) => match failures.denial() {
                Some(denial) => Right::Denied(denial.right("key:write")),
                // The key exists.
                None if failures.any(&txn::Failure::Unmet) => Right::Granted,
                None => Right::Unknown(answer.trouble()),
            },
            Outcome::Other => Right::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Right {
        Right::Unknown(trouble)
    }
}

/// Asks whether the token may read a key.
#[derive(Clone, Debug)]
pub(crate) struct MayRead(pub(crate) Place);

impl Ask for MayRead {
    type Fact = Right;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        super::read::consistent(&self.0.probe(keys))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Right {
        match seen(answer, &self.0.probe(keys)) {
            Seen::Found { .. } | Seen::Missing { .. } => Right::Granted,
            Seen::Denied(_) => {
                Right::Denied(answer.denied("key:read").unwrap_or_else(|| "key:read".into()))
            }
            Seen::NameRefused(_) => Right::Unknown(answer.trouble()),
            Seen::Unknown(trouble) => Right::Unknown(trouble),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Right {
        Right::Unknown(trouble)
    }
}

/// Asks whether the token may list keys. Only an agent with `acl.enable_key_list_policy`
/// denies it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MayList;

impl Ask for MayList {
    type Fact = Right;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        let probe = escaped(&Place::Prefix.probe(keys));
        WireRequest::get(format!("/v1/kv/{probe}?recurse"))
    }

    fn read(&self, _: &Keyspace, answer: Answer<'_>) -> Right {
        match (answer.denied("key:list"), answer.status()) {
            (Some(right), _) => Right::Denied(right),
            (None, 200 | 404) => Right::Granted,
            _ => Right::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Right {
        Right::Unknown(trouble)
    }
}

#[cfg(test)]
mod tests;
