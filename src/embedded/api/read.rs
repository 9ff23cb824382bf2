//! Reads, plain or blocking.

use std::time::Duration;

use super::{
    super::engine::{EmbeddedRight, Engine},
    json,
    reply::Reply,
};
use crate::{
    clock::Moment,
    consul::{fact::SessionId, wire::WireReply},
};

const DEFAULT_WAIT: Duration = Duration::from_secs(300);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// The outcome of a request.
#[derive(Debug)]
pub(crate) enum Response<R = WireReply> {
    /// The reply.
    Now(R),
    /// A blocking read that waits. Ask [`Api::finish`](super::Api::finish) after each request
    /// and operator action, and at [`Parked::deadline`].
    Parked(Parked),
}

pub(super) type Step = Response<Reply>;

impl From<Result<Reply, Parked>> for Step {
    fn from(answer: Result<Reply, Parked>) -> Self {
        match answer {
            Ok(reply) => Self::Now(reply),
            Err(parked) => Self::Parked(parked),
        }
    }
}

/// The subject of a read.
#[derive(Clone, Debug)]
pub(super) enum Read {
    Key { key: Vec<u8>, raw: bool },
    Recurse { prefix: Vec<u8> },
    Keys { prefix: Vec<u8>, separator: Vec<u8> },
    Session(SessionId),
    Sessions,
}

impl Read {
    /// The index that the read reports; at least 1.
    fn index(&self, engine: &Engine) -> u64 {
        match self {
            Self::Key { key, .. } => {
                engine.pair(key).map_or_else(|| engine.kv_index(), |pair| pair.modify_index)
            }
            Self::Recurse { prefix } | Self::Keys { prefix, .. } => engine.prefix_index(prefix),
            Self::Session(_) | Self::Sessions => engine.session_index(),
        }
        .max(1)
    }

    /// Whether the read is of a missing key or an empty prefix.
    fn finds_nothing(&self, engine: &Engine) -> bool {
        match self {
            Self::Key { key, .. } => engine.pair(key).is_none(),
            Self::Recurse { prefix } => engine.shown_pairs(prefix).next().is_none(),
            Self::Keys { .. } | Self::Session(_) | Self::Sessions => false,
        }
    }

    /// The reply for the engine's current state, with the index `shown`.
    fn reply(&self, engine: &Engine, shown: u64) -> Reply {
        let mut out = String::new();
        let reply = match self {
            Self::Key { key, raw } => match engine.pair(key) {
                None => Reply::empty(404),
                Some(pair) if *raw => Reply::raw(pair.value.clone()),
                Some(pair) => {
                    out.push('[');
                    json::pair(&mut out, key, pair);
                    out.push(']');
                    Reply::json(200, out)
                }
            },
            Self::Recurse { prefix } => {
                let mut pairs = engine.shown_pairs(prefix).peekable();
                if pairs.peek().is_none() {
                    Reply::empty(404)
                } else {
                    json::array(&mut out, pairs, |out, (key, pair)| json::pair(out, key, pair));
                    Reply::json(200, out)
                }
            }
            Self::Keys { prefix, separator } => {
                let mut names: Vec<&[u8]> = Vec::new();
                for (key, _) in engine.shown_pairs(prefix) {
                    let name = cut(key, prefix.len(), separator);
                    if separator.is_empty() || names.last() != Some(&name) {
                        names.push(name);
                    }
                }
                // Consul answers an empty list for the root and 404 for other prefixes.
                if names.is_empty() && !prefix.is_empty() {
                    Reply::empty(404)
                } else {
                    json::array(&mut out, names, json::key);
                    Reply::json(200, out)
                }
            }
            Self::Session(id) => {
                let shown =
                    engine.session(id).filter(|_| !engine.lacks(EmbeddedRight::SessionRead));
                json::array(&mut out, shown, |out, session| {
                    json::session(out, id, session, engine.node());
                });
                Reply::json(200, out)
            }
            Self::Sessions => {
                json::array(&mut out, engine.shown_sessions(), |out, (id, session)| {
                    json::session(out, id, session, engine.node());
                });
                Reply::json(200, out)
            }
        };
        reply.with_meta(Some(shown), true)
    }
}

/// `key` up to and including the first `separator` after the prefix.
fn cut<'a>(key: &'a [u8], prefix: usize, separator: &[u8]) -> &'a [u8] {
    if separator.is_empty() {
        return key;
    }
    let behind = key.get(prefix..).unwrap_or_default();
    match behind.windows(separator.len()).position(|window| window == separator) {
        Some(place) => &key[..prefix + place + separator.len()],
        None => key,
    }
}

/// A waiting blocking read.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    read: Read,
    /// The read is answered once its index exceeds this one.
    after: u64,
    /// The read is answered at this moment at the latest.
    deadline: Moment,
    /// The engine's life when the wait began; another life answers the read.
    life: u64,
    /// The read's index when the wait began.
    began: u64,
    /// For a read of one session or key: whether it existed when the wait
    /// began. Changes to other sessions do not wake a read of an existing session.
    lived: bool,
}

impl Parked {
    /// The moment at which the read is answered at the latest.
    pub(crate) fn deadline(&self) -> Moment {
        self.deadline
    }

    /// The key, for a read of a key that existed when the wait began. Only a
    /// change of that key, or another store, answers such a read early.
    pub(crate) fn existing_key(&self) -> Option<&[u8]> {
        match &self.read {
            Read::Key { key, .. } if self.lived => Some(key),
            _ => None,
        }
    }

    /// Whether the read can be answered at `now`. The caller has advanced the
    /// engine to `now`.
    pub(super) fn is_ready(&self, engine: &Engine, now: Moment) -> bool {
        now >= self.deadline || self.life != engine.life() || self.is_passed(engine)
    }

    fn is_passed(&self, engine: &Engine) -> bool {
        match &self.read {
            Read::Session(id) if self.lived && engine.session(id).is_some() => false,
            // Since Consul 1.12, other writes do not wake a read of what does not exist.
            read if engine.is_newer() && !self.lived && read.finds_nothing(engine) => false,
            read => read.index(engine) > self.after,
        }
    }

    pub(super) fn reply(&self, engine: &Engine) -> Reply {
        let unseen = matches!(self.read, Read::Session(_))
            && self.life == engine.life()
            && !self.is_passed(engine);
        self.read.reply(engine, if unseen { self.began } else { self.read.index(engine) })
    }
}

/// Answers a read, or parks it if its index does not exceed `after`.
///
/// `wait` is in nanoseconds; zero or less selects the default of 5 minutes.
pub(super) fn answer(
    engine: &mut Engine,
    now: Moment,
    read: Read,
    (after, wait): (u64, i64),
) -> Result<Reply, Parked> {
    engine.advance(now);
    let index = read.index(engine);
    if after == 0 || index > after {
        return Ok(read.reply(engine, index));
    }
    let wait = match u64::try_from(wait) {
        Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos).min(LONGEST_WAIT),
        _ => DEFAULT_WAIT,
    };
    // Like Consul, add up to a sixteenth, so that waits do not end together.
    let stagger = u64::try_from(wait.as_nanos() / 16).unwrap_or(0);
    let extra = if stagger == 0 { 0 } else { engine.draw() % stagger };
    let lived = match &read {
        Read::Session(id) => engine.session(id).is_some(),
        Read::Key { .. } | Read::Recurse { .. } => !read.finds_nothing(engine),
        Read::Keys { .. } | Read::Sessions => false,
    };
    Err(Parked {
        read,
        after,
        deadline: now + wait + Duration::from_nanos(extra),
        life: engine.life(),
        began: index,
        lived,
    })
}
