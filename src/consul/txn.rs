//! A transaction: its operations, and how each of them fails.
//!
//! Consul applies all of a transaction or nothing. If it applies nothing, it lists an error
//! for every failed operation, not only for the first.

use base64::{display::Base64Display, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize, Serializer, de::IgnoredAny};

use super::{
    answer::{Answer, Denial},
    ask::Scope,
    row::Row,
    wire::WireRequest,
    words::{
        Part::{Is, Number, Quotes, QuotesAny},
        begins, reads,
    },
};
#[cfg(test)]
use crate::mutation::Mutation;

/// The most operations of a transaction that every version of Consul accepts.
pub(super) const MOST_OPS: usize = 64;

/// One operation. Keys are full keys, the runtime's prefix included.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op<'a> {
    /// Returns the entry, value included.
    Get {
        key: &'a str,
    },
    /// Returns the entries whose keys begin with the prefix, values included.
    GetTree {
        prefix: &'a str,
    },
    /// Requires that the key does not exist.
    CheckNotExists {
        key: &'a str,
    },
    /// Requires that the key was last changed at this index.
    CheckIndex {
        key: &'a str,
        index: u64,
    },
    /// Requires that this session holds the key.
    CheckSession {
        key: &'a str,
        session: &'a str,
    },
    Lock {
        key: &'a str,
        session: &'a str,
        flags: u64,
        value: &'a [u8],
    },
    Unlock {
        key: &'a str,
        session: &'a str,
        flags: u64,
        value: &'a [u8],
    },
    /// Writes the key if it was last changed at this index; 0 if it does not exist.
    Cas {
        key: &'a str,
        index: u64,
        flags: u64,
        value: &'a [u8],
    },
    Set {
        key: &'a str,
        flags: u64,
        value: &'a [u8],
    },
    Delete {
        key: &'a str,
    },
    /// Deletes the key if it was last changed at this index.
    DeleteCas {
        key: &'a str,
        index: u64,
    },
}

/// An operation in Consul's JSON.
#[derive(Serialize)]
struct WireOp<'a> {
    #[serde(rename = "KV")]
    kv: Kv<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Kv<'a> {
    verb: &'static str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<&'a str>,
}

impl<'a> Kv<'a> {
    fn written(self, flags: u64, value: &'a [u8]) -> Self {
        Self { flags: Some(flags), value: Some(Base64(value)), ..self }
    }
}

/// Bytes that JSON carries as base64.
struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &BASE64))
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The key does not have the required state.
    Unmet,
    /// Another session holds the key to lock.
    Held,
    /// A lock-delay keeps the key to lock closed.
    Delayed,
    /// The session that locks the key does not exist.
    SessionGone,
    Denied(Denial),
    /// The operation is invalid and fails whenever it is repeated.
    Refused,
    /// The text is not one of Consul's errors for this operation.
    Unclear,
}

impl<'a> Op<'a> {
    /// The operation in Consul's JSON. It names the namespace and the partition: the query's
    /// do not apply to operations.
    fn wire(&self, scope: &'a Scope) -> WireOp<'a> {
        let kv = |verb, key| Kv {
            verb,
            key,
            session: None,
            index: None,
            flags: None,
            value: None,
            namespace: scope.namespace.as_deref(),
            partition: scope.partition.as_deref(),
        };
        let kv = match *self {
            Self::Get { key } => kv("get", key),
            Self::GetTree { prefix } => kv("get-tree", prefix),
            Self::CheckNotExists { key } => kv("check-not-exists", key),
            Self::CheckIndex { key, index } => Kv { index: Some(index), ..kv("check-index", key) },
            Self::CheckSession { key, session } => {
                Kv { session: Some(session), ..kv("check-session", key) }
            }
            Self::Lock { key, session, flags, value } => {
                Kv { session: Some(session), ..kv("lock", key).written(flags, value) }
            }
            Self::Unlock { key, session, flags, value } => {
                Kv { session: Some(session), ..kv("unlock", key).written(flags, value) }
            }
            Self::Cas { key, index, flags, value } => {
                Kv { index: Some(index), ..kv("cas", key).written(flags, value) }
            }
            Self::Set { key, flags, value } => kv("set", key).written(flags, value),
            Self::Delete { key } => kv("delete", key),
            Self::DeleteCas { key, index } => Kv { index: Some(index), ..kv("delete-cas", key) },
        };
        WireOp { kv }
    }

    /// Searches Consul's text for words: the mutation that tests must find.
    #[cfg(test)]
    fn searched(&self, what: &str) -> Option<Failure> {
        if what.contains("Permission denied") {
            return Some(Failure::Denied(Denial::Right));
        }
        let Self::Lock { session, .. } = self else { return None };
        let is_gone = what.contains("invalid session") && what.contains(session);
        is_gone.then_some(Failure::SessionGone)
    }

    /// Parses Consul's error about this operation.
    fn failure(&self, what: &str) -> Failure {
        #[cfg(test)]
        if Mutation::ErrorsSearched.is_chosen()
            && let Some(failure) = self.searched(what)
        {
            return failure;
        }
        if let Some(denial) = Denial::of(what) {
            return Failure::Denied(denial);
        }
        if reads(what, &[Is("Must provide key")]) {
            return Failure::Refused;
        }
        let unmet = match *self {
            Self::Get { key } => reads(what, &[Is("key "), Quotes(key), MISSING]),
            Self::CheckNotExists { key } => reads(what, &[Is("key "), Quotes(key), Is(" exists")]),
            Self::CheckIndex { key, index } => {
                let expected = format!(" != {index}");
                let current = Is(", current modify index ");
                reads(what, &[Is("failed to check index, key "), Quotes(key), MISSING])
                    || reads(
                        what,
                        &[
                            Is("failed index check for key "),
                            Quotes(key),
                            current,
                            Number,
                            Is(&expected),
                        ],
                    )
            }
            Self::CheckSession { key, session } => {
                reads(what, &[Is("failed to check session, key "), Quotes(key), MISSING])
                    || reads(
                        what,
                        &[
                            Is("failed session check for key "),
                            Quotes(key),
                            Is(", current session "),
                            QuotesAny,
                            Is(" != "),
                            Quotes(session),
                        ],
                    )
            }
            Self::Lock { key, session, .. } => return lock_failure(what, key, session),
            Self::Unlock { key, .. } => {
                let other = Is(", lock isn't held, or is held by another session");
                reads(what, &[Is("failed to unlock key "), Quotes(key), other])
            }
            Self::Cas { key, .. } => reads(what, &[Is("failed to set key "), Quotes(key), STALE]),
            Self::DeleteCas { key, .. } => {
                reads(what, &[Is("failed to delete key "), Quotes(key), STALE])
            }
            Self::GetTree { .. } | Self::Delete { .. } | Self::Set { .. } => false,
        };
        if unmet { Failure::Unmet } else { Failure::Unclear }
    }
}

/// The index in a failed check of an index, whose text is Consul's.
pub(super) fn current_index(what: &str) -> Option<u64> {
    let (rest, _) = what.rsplit_once(" != ")?;
    rest.rsplit_once(' ')?.1.parse().ok()
}

const MISSING: super::words::Part<'_> = Is(" doesn't exist");
const STALE: super::words::Part<'_> = Is(", index is stale");

fn lock_failure(what: &str, key: &str, session: &str) -> Failure {
    let lock = |end| reads(what, &[Is("failed to lock key "), Quotes(key), Is(end)]);
    if lock(", lock is already held") {
        Failure::Held
    } else if lock(" due to lock delay") {
        Failure::Delayed
    } else if reads(what, &[Is("invalid session "), Quotes(session)]) {
        Failure::SessionGone
    } else if reads(what, &[Is("missing session")])
        || begins(what, &[Is("failed session lookup: ")])
    {
        Failure::Refused
    } else {
        Failure::Unclear
    }
}

/// Returns the request of a transaction with these operations.
pub(super) fn request(scope: &Scope, ops: &[Op<'_>]) -> WireRequest {
    let ops: Vec<WireOp<'_>> = ops.iter().map(|op| op.wire(scope)).collect();
    // Nothing in them can fail.
    let body = serde_json::to_vec(&ops).unwrap_or_default();
    WireRequest::put("/v1/txn".into(), body)
}

/// Returns the request of a transaction that only reads. Consul's leader answers.
pub(super) fn reading(scope: &Scope, ops: &[Op<'_>]) -> WireRequest {
    WireRequest { target: "/v1/txn?consistent".into(), ..request(scope, ops) }
}

/// The outcome of a transaction.
#[derive(Debug)]
pub(super) enum Outcome<'a> {
    /// Consul applied it; the entries that its operations return.
    Done(Vec<Row<'a>>),
    /// Consul applied nothing, because at least one operation failed.
    Failed(Failures),
    /// The reply is not one to a transaction.
    Other,
}

/// The operations that failed.
#[derive(Debug)]
pub(super) struct Failures(Vec<Failed>);

#[derive(Debug)]
struct Failed {
    op: u64,
    failure: Failure,
    /// Consul's text.
    what: String,
}

impl Failures {
    /// The failure of the operation at this index, if it failed.
    pub(super) fn at(&self, op: usize) -> Option<&Failure> {
        let failed = self.0.iter().find(|failed| usize::try_from(failed.op) == Ok(op));
        failed.map(|failed| &failed.failure)
    }

    /// Consul's error about the operation at this index.
    pub(super) fn text_at(&self, op: usize) -> Option<&str> {
        let failed = self.0.iter().find(|failed| usize::try_from(failed.op) == Ok(op));
        failed.map(|failed| failed.what.as_str())
    }

    /// Whether an operation failed in this way.
    pub(super) fn any(&self, failure: &Failure) -> bool {
        self.0.iter().any(|failed| failed.failure == *failure)
    }

    /// The first denial of an operation.
    pub(super) fn denial(&self) -> Option<Denial> {
        self.0.iter().find_map(|failed| match failed.failure {
            Failure::Denied(denial) => Some(denial),
            _ => None,
        })
    }

    /// Whether every failed operation has an index in `ops`.
    pub(super) fn all_in(&self, ops: std::ops::Range<usize>) -> bool {
        self.0.iter().all(|failed| usize::try_from(failed.op).is_ok_and(|op| ops.contains(&op)))
    }

    /// Consul's first error.
    pub(super) fn first(&self) -> &str {
        self.0.first().map_or("", |failed| failed.what.as_str())
    }
}

/// Parses the reply to a transaction with these operations.
pub(super) fn outcome<'a>(ops: &[Op<'_>], answer: Answer<'a>) -> Outcome<'a> {
    // A typed value can also be read from an array of its fields.
    let is_object = answer.body().trim_ascii_start().starts_with(b"{");
    let read = match answer.status() {
        _ if !is_object => None,
        200 => results(answer).map(Outcome::Done),
        409 => failures(ops, answer).map(Outcome::Failed),
        _ => None,
    };
    read.unwrap_or(Outcome::Other)
}

/// The reply to a transaction that was applied.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Applied<'a> {
    /// Empty or null if no operation returns an entry; never absent.
    #[serde(borrow, deserialize_with = "Option::deserialize")]
    results: Option<Vec<Returned<'a>>>,
    errors: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Returned<'a> {
    #[serde(borrow, rename = "KV")]
    row: Row<'a>,
}

fn results(answer: Answer<'_>) -> Option<Vec<Row<'_>>> {
    let Applied { results, errors } = answer.json()?;
    if errors.is_some_and(|errors| !errors.is_empty()) {
        return None;
    }
    Some(results.into_iter().flatten().map(|returned| returned.row).collect())
}

/// The reply to a transaction that was not applied.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NotApplied {
    errors: Vec<OpError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OpError {
    op_index: u64,
    /// Consul's text.
    what: String,
}

fn failures(ops: &[Op<'_>], answer: Answer<'_>) -> Option<Failures> {
    let NotApplied { errors } = answer.json()?;
    let failed = |OpError { op_index, what }| {
        let sent = usize::try_from(op_index).ok().and_then(|op| ops.get(op));
        let failure = sent.map_or(Failure::Unclear, |op| op.failure(&what));
        Failed { op: op_index, failure, what }
    };
    let failures: Vec<_> = errors.into_iter().map(failed).collect();
    (!failures.is_empty()).then_some(Failures(failures))
}
