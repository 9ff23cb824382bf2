//! Consul's HTTP API as a function of the engine, a request and the time.

mod json;
mod kv;
mod read;
mod reply;
mod session;
mod target;
mod txn;

use self::target::Target;
pub(crate) use self::{
    read::Parked,
    reply::{Content, Reply},
};
use super::engine::{Engine, Settings};
#[cfg(test)]
use crate::consul::wire::{Method, WireRequest};
use crate::{clock::Moment, consul::wire::WireReply};

/// The only datacenter.
const DATACENTER: &str = "dc1";

/// The version whose behaviour is followed.
const VERSION: &str = "1.8.7";

/// What `/v1/status/leader` answers.
const LEADER: &str = "127.0.0.1:8300";

/// The most bytes of a value, and of a transaction's body.
const MAX_BODY: usize = 512 * 1024;

/// The paths below which the rest of the path is a name.
const TREES: [&str; 4] = [KV, "/v1/session/renew/", "/v1/session/destroy/", "/v1/session/info/"];

const KV: &str = "/v1/kv/";

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Response<R = WireReply> {
    /// It is answered.
    Now(R),
    /// It is a blocking read: ask [`Api::recheck`] again after each request or
    /// operator's action and at [`Parked::deadline`], whichever comes first.
    Parked(Parked),
}

type Step = Response<Reply>;

impl From<Result<Reply, Parked>> for Step {
    fn from(answer: Result<Reply, Parked>) -> Self {
        match answer {
            Ok(reply) => Self::Now(reply),
            Err(parked) => Self::Parked(parked),
        }
    }
}

/// An agent without a transport: an engine and its HTTP API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    /// The state, for operators' actions.
    pub(crate) engine: Engine,
}

impl Api {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { engine: Engine::new(settings) }
    }

    /// Takes one request of a client of ours: the entrance of simulations.
    #[cfg(test)]
    pub(crate) fn respond(&mut self, now: Moment, request: &WireRequest) -> Response {
        let method = match request.method {
            Method::Get => "GET",
            Method::Put => "PUT",
        };
        match self.serve(now, method, &request.target, request.body.clone()) {
            Response::Now(reply) => Response::Now(reply.into()),
            Response::Parked(parked) => Response::Parked(parked),
        }
    }

    /// The reply to a parked read, if there is one by now.
    #[cfg(test)]
    pub(crate) fn recheck(&mut self, now: Moment, parked: &Parked) -> Option<WireReply> {
        self.engine.advance(now);
        self.finish(now, parked).map(WireReply::from)
    }

    /// When [`Api::recheck`] may answer though nobody did anything: the next
    /// session expires, say.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        self.engine.next_wakeup()
    }

    /// Takes one request with any method.
    pub(super) fn serve(&mut self, now: Moment, method: &str, target: &str, body: Vec<u8>) -> Step {
        self.engine.advance(now);
        let Target { path, query } = match Target::parse(target, method) {
            Ok(target) => target,
            Err(reply) => return Response::Now(reply),
        };
        let engine = &mut self.engine;
        let result = if let Some(key) = path.strip_prefix(KV.as_bytes()) {
            match method {
                "GET" => kv::get(engine, now, &query, key),
                "PUT" => kv::put(engine, now, &query, key, body).map(Response::Now),
                "DELETE" => kv::delete(engine, now, &query, key).map(Response::Now),
                _ => Err(Reply::not_allowed(method, &["GET", "PUT", "DELETE"])),
            }
        } else {
            let path = String::from_utf8_lossy(&path);
            let allowed = allowed_method(&path);
            match (&*path, allowed) {
                (_, None) => Err(Reply::empty(404).unrouted()),
                (_, Some(allowed)) if allowed != method => {
                    Err(Reply::not_allowed(method, &[allowed]))
                }
                ("/v1/txn", _) => txn::put(engine, now, &query, &body).map(Response::Now),
                ("/v1/session/create", _) => Err(session::create(engine, now, &query, &body)),
                ("/v1/session/list", _) => session::list(engine, now, &query),
                ("/v1/status/leader", _) => Err(leader(&query)),
                ("/v1/agent/self", _) => Err(agent_self(engine)),
                (path, _) => named_session(engine, now, &query, path),
            }
        };
        result.unwrap_or_else(Response::Now)
    }

    /// The reply to a parked read at `now`, to which the engine has been
    /// advanced.
    pub(super) fn finish(&self, now: Moment, parked: &Parked) -> Option<Reply> {
        self.is_ready(now, parked).then(|| parked.reply(&self.engine))
    }

    pub(super) fn is_ready(&self, now: Moment, parked: &Parked) -> bool {
        parked.is_ready(&self.engine, now)
    }
}

/// The method of a path other than a key's.
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

/// The part of `/v1/agent/self` that clients of a lock service look at.
fn agent_self(engine: &Engine) -> Reply {
    let mut node = String::new();
    json::string(&mut node, engine.node());
    Reply::json(
        200,
        format!(
            "{{\"Config\":{{\"Datacenter\":\"{DATACENTER}\",\"NodeName\":{node},\"Server\":true,\
             \"Version\":\"{VERSION}\"}},\"DebugConfig\":{{\"KVMaxValueSize\":{MAX_BODY},\
             \"TxnMaxReqLen\":{MAX_BODY}}},\"Member\":{{\"Name\":{node},\"Status\":1}}}}"
        ),
    )
}

/// Which of Consul's limits a body is held to.
#[derive(Clone, Copy, Debug)]
enum Limit {
    Value,
    Transaction,
}

/// The reply to a body of `length` bytes that is too long for its endpoint, so
/// that a server need not read it.
pub(super) fn too_long(method: &str, target: &str, length: usize) -> Option<Reply> {
    let limit = match method {
        "PUT" if target.starts_with(KV) => Limit::Value,
        "PUT" if target.starts_with("/v1/txn") => Limit::Transaction,
        _ => return None,
    };
    check_length(limit, length).err()
}

fn check_length(limit: Limit, length: usize) -> Result<(), Reply> {
    if length <= MAX_BODY {
        return Ok(());
    }
    let option = match limit {
        Limit::Value => "kv_max_value_size",
        Limit::Transaction => "txn_max_req_len",
    };
    let text = format!(
        "Request body({length} bytes) too large, max size: {MAX_BODY} bytes. \
         See https://www.consul.io/docs/agent/options.html#{option}."
    );
    Err(Reply::text(413, &text).closing())
}

#[cfg(test)]
mod tests;
