//! The key names of a history.

use super::{plan::Plan, random::Random, server::Server, world::START};
use crate::{
    consul::{
        Answer,
        ask::{Ask as _, Checks, CreateSession, Keyspace},
        fact::{Created, SessionId},
    },
    embedded::api::Response,
    key::Key,
};

/// Plain names, or names made from Consul's error texts to mislead a client that
/// searches them.
pub(super) fn of(plan: &Plan) -> Vec<Key> {
    let plain = || ["a", "b/c", "d", "b/e", "f", "g/h/i", "j", "b/k"].map(str::to_owned).to_vec();
    let names = if plan.hostile_names { hostile(plan) } else { plain() };
    names.iter().take(plan.keys).filter_map(|name| Key::new(name).ok()).collect()
}

fn hostile(plan: &Plan) -> Vec<String> {
    let session = first_session(plan).map(|id| id.to_string()).unwrap_or_default();
    let mut names = vec![
        format!("orders/invalid session {session}"),
        format!("invalid session \"{session}\""),
        "Permission denied".into(),
        "orders/ACL not found".into(),
        "a\" due to lock delay".into(),
        "a\", lock is already held".into(),
        "a\" exists".into(),
        "doesn't exist/failed index check".into(),
        "index is stale/failed to unlock key".into(),
        "failed session lookup: missing session".into(),
    ];
    let mut random = Random::new(plan.seed ^ 0x776f_7264);
    let place = random.below(names.len());
    names.rotate_left(place);
    names
}

/// The id of the history's first session.
fn first_session(plan: &Plan) -> Option<SessionId> {
    let (ttl, lock_delay) = (plan.timing.session_ttl, plan.timing.lock_delay);
    let ask = CreateSession {
        name: String::new(),
        ttl,
        lock_delay,
        checks: Checks::default(),
        patience: std::time::Duration::ZERO,
    };
    let keys = Keyspace::default();
    let Response::Now(reply) = Server::new(plan).api.respond(START, &ask.request(&keys)) else {
        return None;
    };
    match ask.read(&keys, Answer::new(&reply, None)) {
        Created::Session(id) => Some(id),
        _ => None,
    }
}
