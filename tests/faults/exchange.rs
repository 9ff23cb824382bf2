//! The requests that `spec/lock.qnt` knows, as they are on the wire.

use serde_json::{Value, json};

use crate::support::operator::parse;

/// A request that changes Consul, or reads the fence entry of a session.
#[derive(Debug)]
pub(crate) enum Request {
    Create,
    Renew {
        session: String,
    },
    Look {
        session: String,
    },
    Raise {
        session: String,
        found: u64,
    },
    Lock {
        session: String,
        fence: u64,
        found: u64,
    },
    Release {
        session: String,
        index: u64,
    },
    Destroy {
        session: String,
    },
    /// Unknown to the specification.
    Other,
}

/// A request with its number in the record, and what the reply said.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) id: u64,
    pub(crate) request: Request,
    pub(crate) result: Option<u64>,
}

impl Sent {
    /// Whether the reply shows that the session has ended.
    pub(crate) fn shows_end(&self, of: &str) -> bool {
        let is_gone = |session: &String| session == of && self.result == Some(0);
        self.destroys(of) || matches!(&self.request, Request::Renew { session } if is_gone(session))
    }

    /// Whether it ended the session, or found it ended.
    pub(crate) fn destroys(&self, of: &str) -> bool {
        let is_done = |session: &String| session == of && self.result == Some(1);
        matches!(&self.request, Request::Destroy { session } if is_done(session))
    }
}

impl Request {
    /// The request of this message about the key `0` below `prefix`; nothing for other reads.
    pub(crate) fn parse(message: &[u8], prefix: &str) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut words = head.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let path = target.split('?').next()?;
        let fences = format!("{prefix}/.dsync/");
        if method == "GET" {
            let session = path.strip_prefix("/v1/kv/")?.strip_prefix(&fences)?;
            let session = Some(session.to_owned()).filter(|session| !session.is_empty())?;
            return Some(Self::Look { session });
        }
        if path == "/v1/session/create" {
            return Some(Self::Create);
        }
        if let Some(session) = path.strip_prefix("/v1/session/renew/") {
            return Some(Self::Renew { session: session.into() });
        }
        if let Some(session) = path.strip_prefix("/v1/session/destroy/") {
            return Some(Self::Destroy { session: session.into() });
        }
        let ops: Value = serde_json::from_str(body).unwrap_or_default();
        Some(Self::of_txn(&ops, &format!("{prefix}/0"), &fences).unwrap_or(Self::Other))
    }

    fn of_txn(ops: &Value, key: &str, fences: &str) -> Option<Self> {
        let ops: Vec<&Value> = ops.as_array()?.iter().map(|op| &op["KV"]).collect();
        let of = |verb: &str, key: &str| {
            ops.iter().find(|op| op["Verb"] == verb && op["Key"] == key).copied()
        };
        let session = |op: &Value| Some(op["Session"].as_str()?.to_owned());
        let checked = |key: &str| of("check-index", key).and_then(|op| op["Index"].as_u64());
        if let Some(lock) = of("lock", key) {
            let session = session(lock)?;
            let fence = checked(&format!("{fences}{session}")).unwrap_or(0);
            return Some(Self::Lock { fence, found: checked(key).unwrap_or(0), session });
        }
        if let Some(delete) = of("delete-cas", key) {
            let session = session(of("check-session", key)?)?;
            return Some(Self::Release { session, index: delete["Index"].as_u64()? });
        }
        if let Some(unlock) = of("unlock", key) {
            return Some(Self::Release { session: session(unlock)?, index: checked(key)? });
        }
        let raise = ops.iter().find(|op| op["Verb"] == "lock")?;
        let entry = raise["Key"].as_str().filter(|key| key.starts_with(fences))?;
        Some(Self::Raise { session: session(raise)?, found: checked(entry).unwrap_or(0) })
    }

    pub(crate) fn session(&self) -> Option<&str> {
        match self {
            Self::Create | Self::Other => None,
            Self::Renew { session }
            | Self::Look { session }
            | Self::Raise { session, .. }
            | Self::Lock { session, .. }
            | Self::Release { session, .. }
            | Self::Destroy { session } => Some(session),
        }
    }

    /// Its name in a record, and its own fields; nothing if the specification does not know it.
    pub(crate) fn fields(&self) -> Option<(&'static str, Value)> {
        Some(match self {
            Self::Create => ("create", json!({})),
            Self::Renew { .. } => ("renew", json!({})),
            Self::Look { .. } => ("look", json!({})),
            Self::Raise { found, .. } => ("raise", json!({ "found": found })),
            Self::Lock { fence, found, .. } => ("lock", json!({ "fence": fence, "found": found })),
            Self::Release { index, .. } => ("release", json!({ "index": index })),
            Self::Destroy { .. } | Self::Other => return None,
        })
    }

    /// The session that this reply says was created.
    pub(crate) fn created(&self, reply: &[u8]) -> Option<String> {
        let answer = parse(reply).filter(|answer| answer.status == 200)?;
        matches!(self, Self::Create).then(|| answer.json()["ID"].as_str().map(str::to_owned))?
    }

    /// What a reply says, as a record has it; nothing if Consul only failed.
    pub(crate) fn result(&self, reply: &[u8]) -> Option<u64> {
        let answer = parse(reply).filter(|answer| answer.status != 500)?;
        let is_done = answer.status == 200;
        let index = |entry: &Value| entry["ModifyIndex"].as_u64();
        Some(match self {
            Self::Create | Self::Other => return None,
            Self::Renew { .. } | Self::Release { .. } | Self::Destroy { .. } => u64::from(is_done),
            _ if !is_done => 0,
            Self::Look { .. } => index(&answer.json()[0])?,
            Self::Raise { .. } | Self::Lock { .. } => {
                index(&answer.json()["Results"].as_array()?.last()?["KV"])?
            }
        })
    }
}
