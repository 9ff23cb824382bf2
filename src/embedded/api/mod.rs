//! Consul's HTTP API as a pure function of the engine, a request and the time.

mod json;
mod kv;
mod limits;
mod read;
mod reply;
mod session;
mod target;
mod txn;

use self::{
    limits::MAX_BODY,
    read::Step,
    target::{DATACENTER, KV, TREES, Target},
};
pub(crate) use self::{
    limits::too_long,
    read::{Parked, Response},
    reply::{Content, Reply},
};
use super::engine::{Engine, Settings};
use crate::clock::Moment;
#[cfg(test)]
use crate::consul::wire::{WireReply, WireRequest};

/// The version whose behaviour the agent reproduces.
const VERSION: &str = "1.8.7";
/// The same for a newer agent.
const NEWER: &str = "1.21.0";

/// The answer of `/v1/status/leader`.
const LEADER: &str = "127.0.0.1:8300";

/// An agent without a transport: an engine and its HTTP API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    /// The state; operators act on it directly.
    pub(crate) engine: Engine,
    /// The current second, and the requests in it, if they are limited.
    spent: (u64, u32),
}

impl Api {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { engine: Engine::new(settings), spent: (0, 0) }
    }

    /// Answers one of our client's requests; simulations call it.
    #[cfg(test)]
    pub(crate) fn respond(&mut self, now: Moment, request: &WireRequest) -> Response {
        let method = request.method.as_str();
        match self.serve(now, method, &request.target, request.body.clone()) {
            Response::Now(reply) => Response::Now(reply.into()),
            Response::Parked(parked) => Response::Parked(parked),
        }
    }

    /// The reply to a parked read, if it can be answered at `now`.
    #[cfg(test)]
    pub(crate) fn recheck(&mut self, now: Moment, parked: &Parked) -> Option<WireReply> {
        self.engine.advance(now);
        self.finish(now, parked).map(WireReply::from)
    }

    /// When a parked read may become answerable without a request, for instance
    /// because a session expires.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        self.engine.next_wakeup()
    }

    /// Answers a request with any HTTP method.
    pub(super) fn serve(&mut self, now: Moment, method: &str, target: &str, body: Vec<u8>) -> Step {
        self.engine.advance(now);
        if let Some(refusal) = self.over_the_rate(now, method) {
            return Response::Now(refusal);
        }
        let Target { path, query } = match Target::parse(target, method) {
            Ok(target) => target,
            Err(reply) => return Response::Now(reply),
        };
        let engine = &mut self.engine;
        let result = if let Some(key) = path.strip_prefix(KV.as_bytes()) {
            kv::check_name(engine, key).and_then(|()| match method {
                "GET" => kv::get(engine, now, &query, key),
                "PUT" => kv::put(engine, now, &query, key, body).map(Response::Now),
                "DELETE" => kv::delete(engine, now, &query, key).map(Response::Now),
                _ => Err(Reply::not_allowed(method, &["GET", "PUT", "DELETE"])),
            })
        } else {
            let path = String::from_utf8_lossy(&path);
            let allowed = allowed_method(&path);
            match (&*path, allowed) {
                (_, None) => Err(Reply::empty(404).unrouted()),
                (_, Some(allowed)) if allowed != method => {
                    Err(Reply::not_allowed(method, &[allowed]))
                }
                ("/v1/status/leader", _) => Err(leader(&query)),
                ("/v1/txn", _) => txn::put(engine, now, &query, &body).map(Response::Now),
                ("/v1/session/create", _) => Err(session::create(engine, now, &query, &body)),
                ("/v1/session/list", _) => session::list(engine, now, &query),
                ("/v1/agent/self", _) => Err(agent_self(engine)),
                (path, _) => named_session(engine, now, &query, path),
            }
        };
        result.unwrap_or_else(Response::Now)
    }

    /// The refusal of a request beyond the rate. Another server could answer a read; a write
    /// needs the leader.
    fn over_the_rate(&mut self, now: Moment, method: &str) -> Option<Reply> {
        let most = self.engine.request_rate()?;
        let second = now.as_nanos() / 1_000_000_000;
        let (since, count) = self.spent;
        self.spent = (second, if since == second { count + 1 } else { 1 });
        let (status, text) = match method {
            "GET" => (429, "rate limit exceeded, try again later or against a different server"),
            _ => (
                503,
                "rate limit exceeded for operation that can only be performed by the leader, try \
                 again later",
            ),
        };
        (self.spent.1 > most).then(|| Reply::text(status, text))
    }

    /// The reply to a parked read, if it can be answered at `now`. The caller has
    /// advanced the engine to `now`.
    pub(super) fn finish(&self, now: Moment, parked: &Parked) -> Option<Reply> {
        self.is_ready(now, parked).then(|| parked.reply(&self.engine))
    }

    pub(super) fn is_ready(&self, now: Moment, parked: &Parked) -> bool {
        parked.is_ready(&self.engine, now)
    }
}

/// The only method of a path outside `/v1/kv/`; `None` for an unknown path.
fn allowed_method(path: &str) -> Option<&'static str> {
    match path {
        "/v1/txn" | "/v1/session/create" => Some("PUT"),
        "/v1/session/list" | "/v1/status/leader" | "/v1/agent/self" => Some("GET"),
        _ if path.starts_with("/v1/session/info/") => Some("GET"),
        _ if TREES.iter().any(|tree| path.starts_with(tree)) => Some("PUT"),
        _ => None,
    }
}

fn named_session(
    engine: &mut Engine,
    now: Moment,
    query: &target::Query,
    path: &str,
) -> Result<Step, Reply> {
    if let Some(id) = path.strip_prefix("/v1/session/renew/") {
        session::renew(engine, now, query, id).map(Response::Now)
    } else if let Some(id) = path.strip_prefix("/v1/session/destroy/") {
        session::destroy(engine, now, query, id).map(Response::Now)
    } else if let Some(id) = path.strip_prefix("/v1/session/info/") {
        session::info(engine, now, query, id)
    } else {
        Err(Reply::empty(404))
    }
}

fn leader(query: &target::Query) -> Reply {
    let checks = query.check_consistency().and_then(|()| query.blocking().map(drop));
    match checks.and_then(|()| query.check_datacenter()) {
        Ok(()) => Reply::json(200, format!("\"{LEADER}\"")),
        Err(reply) => reply,
    }
}

/// The fields of `/v1/agent/self` that lock clients read.
fn agent_self(engine: &Engine) -> Reply {
    if let Err(denied) = Reply::check_token(engine) {
        return denied;
    }
    let mut node = String::new();
    json::string(&mut node, engine.node());
    let version = if engine.is_newer() { NEWER } else { VERSION };
    Reply::json(
        200,
        format!(
            "{{\"Config\":{{\"Datacenter\":\"{DATACENTER}\",\"NodeName\":{node},\"Server\":true,\
             \"Version\":\"{version}\"}},\"DebugConfig\":{{\"KVMaxValueSize\":{MAX_BODY},\
             \"TxnMaxReqLen\":{MAX_BODY}}},\"Member\":{{\"Name\":{node},\"Status\":1}}}}"
        ),
    )
}

#[cfg(test)]
mod tests;
