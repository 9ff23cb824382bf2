//! Locks through nginx and HAProxy as real processes: `scripts/test proxies`.
//!
//! Plays the main rules of locks on each path to one agent, one path after another, and
//! prints how long hand-overs took. Meanwhile, a lock on each path must stay held.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries, none of which uses all of it")]
mod support;

mod gateway;
mod play;

use std::time::Duration;

use gateway::Gateway;
use support::tls::{Identity, trusting};

/// How long a lock must stay held on each path.
const HELD: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let identity = Identity::new();
    let (agent, https) = identity.agent();
    let agent_at = agent.http_addr();
    let gateways = [
        Gateway::nginx_http1(agent_at, identity.folder()),
        Gateway::nginx_http2(agent_at, identity.folder()),
        Gateway::nginx_below_a_path(agent_at, identity.folder()),
        Gateway::haproxy_http1(agent_at, identity.folder()),
        Gateway::haproxy_http2(agent_at, identity.folder()),
    ];
    let mut paths = vec![("direct, HTTP/1.1", agent.url()), ("direct, TLS and HTTP/2", https)];
    paths.extend(gateways.iter().map(|gateway| (gateway.name, gateway.url.clone())));
    paths.retain(|(name, _)| wanted.as_ref().is_none_or(|wanted| name.contains(wanted.as_str())));

    let tls = trusting([identity.certificate.clone()]);
    let mut held = Vec::new();
    for (name, url) in &paths {
        held.push(play::Held::through(name, url, &tls).await);
    }
    let mut rows = Vec::new();
    for (name, url) in &paths {
        let took = play::all(name, url, &tls).await;
        let [median, worst] = [took[took.len() / 2], took[took.len() - 1]];
        rows.push(format!("| {name} | {median:.1?} | {worst:.1?} |"));
        eprintln!("{}", rows.last().unwrap());
    }
    for held in held {
        held.check(HELD).await;
    }
    assert!(agent.operator().sessions().is_empty(), "sessions are left");
    println!("| path | {} hand-overs: median | worst |\n|---|---|---|", play::HAND_OVERS);
    println!("{}", rows.join("\n"));
}
