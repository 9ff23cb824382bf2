//! A Consul agent inside the process, and its public handle.
//!
//! `engine` is the state of a Consul server and `api` is its HTTP API; both
//! take `now` as a parameter. `agent` adds a clock and lets blocking reads wait,
//! `server` adds a port.

mod agent;
pub(crate) mod api;
mod connections;
pub(crate) mod engine;
mod golang;
mod network;
mod profile;
mod server;
mod waiters;

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use futures::future::LocalBoxFuture;

use self::{
    agent::Agent,
    engine::{Engine, IndexAfterRestore, PutMode, Snapshot},
    network::Network,
};
use crate::consul::{
    fact::Trouble,
    link::Backend,
    wire::{WireReply, WireRequest},
};

use crate::key::RESERVED;

pub use self::{engine::EmbeddedRight, server::EmbeddedServer};
pub use crate::holding::mock::MockLease;

/// A Consul-compatible agent inside the process, for demos, simulations and
/// tests of services that use locks.
///
/// Not for production: it is a single server and keeps everything in memory.
///
/// It behaves like one Consul 1.8.7 server for sessions, keys and transactions:
/// same status codes, bodies, error texts, indexes and times. A conformance
/// suite runs the same requests against both. Clones are handles to the same
/// agent. A runtime in this process uses it without a port; other processes
/// connect through [`Embedded::serve`].
///
/// # Time
/// The agent has no task of its own. Each request first applies everything that
/// is due, such as expired sessions. The agent follows Tokio's clock, so
/// `tokio::time::pause` and `advance` move its TTLs, lock-delays and blocking
/// reads; create it inside the runtime whose clock is paused. Requests that
/// arrive through the HTTP server use the real clock.
///
/// Do not pause the clock of a test whose runtime has a thread of its own, or that serves the
/// agent: each call on this handle would move the agent to the paused clock's time, and end
/// sessions that are renewed in real time.
///
/// # Differences from Consul
/// - It serves `/v1/session/` `create`, `renew`, `info`, `destroy` and `list`,
///   `/v1/kv/`, `/v1/txn` with operations on keys, `/v1/status/leader` and a few
///   fields of `/v1/agent/self`. There are no tokens and policies;
///   [`allow`](Embedded::allow) withdraws a right from everybody. There is one
///   datacenter (`dc1`) and one node; JSON is not pretty-printed.
/// - A blocking read of a missing key, or of an empty prefix, wakes on every
///   write to any key; Consul wakes it on most.
/// - A blocking read that its client abandons leaves nothing behind; in Consul
///   it holds its connection until its wait ends. The number of connections per
///   client is limited only by [`connections`](Embedded::connections).
/// - After [`restart`](Embedded::restart), running lock-delays last their full span; in Consul,
///   they can end earlier.
/// - The raft index of a new agent starts at 20. Only clients and
///   [operator actions](#method.elect) advance it.
///
/// ```
/// use actix_dsync::embedded::Embedded;
///
/// # async fn demo() -> std::io::Result<()> {
/// let consul = Embedded::new();
/// let server = consul.serve("127.0.0.1:0")?;
/// println!("a Consul for this demo: http://{}", server.address());
/// server.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Embedded {
    agent: Arc<Agent>,
    /// The network between this handle and the agent.
    network: Arc<Network>,
}

impl Embedded {
    /// Creates an agent without data.
    ///
    /// Its session ids, and the jitter of its blocking reads, are the same in
    /// every run; see [`Embedded::seed`].
    #[must_use]
    pub fn new() -> Self {
        let newer = std::env::var_os("DSYNC_EMBEDDED").is_some_and(|which| which == "newer");
        Self { agent: Arc::new(Agent::new()), network: Arc::default() }.newer(newer)
    }

    /// Returns a handle to the same agent over a network of its own, so that
    /// [`cut`](Embedded::cut), [`delay_replies`](Embedded::delay_replies) and
    /// [`lose_replies`](Embedded::lose_replies) affect only the runtime that uses it.
    #[must_use]
    pub fn link(&self) -> Self {
        Self { agent: self.agent.clone(), network: Arc::default() }
    }

    /// Cuts the network between the agent and this handle with its clones.
    ///
    /// Until [`mend`](Embedded::mend), their requests and the replies, including
    /// those in flight, vanish without an error. Operator actions on the handle and
    /// requests through a [served](Embedded::serve) port still work.
    pub fn cut(&self) {
        self.network.cut(true);
    }

    /// Restores the network for requests sent from now on.
    pub fn mend(&self) {
        self.network.cut(false);
    }

    /// Delays each reply to this handle and its clones by `delay`, from now on; zero ends it.
    ///
    /// The agent carries requests out at once. A client whose time limit passes first does not
    /// learn what happened.
    pub fn delay_replies(&self, delay: Duration) {
        self.network.delay(delay);
    }

    /// Loses the replies to the next `count` requests that lock, release or write keys
    /// through this handle and its clones. The agent carries the requests out, and their
    /// clients hear nothing.
    pub fn lose_replies(&self, count: u32) {
        self.network.lose(count);
    }

    /// Freezes the agent, like SIGSTOP: it answers nobody, on any handle or port, until
    /// [`thaw`](Embedded::thaw). Operator actions still work.
    pub fn freeze(&self) {
        self.agent.freeze();
    }

    /// Ends [`freeze`](Embedded::freeze). Sessions whose TTL has passed end. Then the agent
    /// carries out every request that has arrived, also those whose clients no longer wait.
    pub fn thaw(&self) {
        self.agent.thaw();
    }

    /// Returns all entries, sorted by the bytes of their keys, without the fence
    /// entries that each session of a runtime keeps below `.dsync`.
    ///
    /// In a key that is not UTF-8, invalid bytes become replacement characters.
    #[must_use]
    pub fn entries(&self) -> Vec<EmbeddedEntry> {
        self.agent.operate(|engine, now| {
            engine.advance(now);
            engine
                .pairs(b"")
                .filter(|(key, _)| !is_fence(key))
                .map(|(key, pair)| EmbeddedEntry {
                    key: String::from_utf8_lossy(key).into_owned(),
                    value: pair.value.clone(),
                    flags: pair.flags,
                    session: pair.session.as_ref().map(ToString::to_string),
                    create_index: pair.create_index,
                    modify_index: pair.modify_index,
                    lock_index: pair.lock_index,
                })
                .collect()
        })
    }

    /// Returns all sessions, sorted by id.
    #[must_use]
    pub fn sessions(&self) -> Vec<EmbeddedSession> {
        self.agent.operate(|engine, now| {
            engine.advance(now);
            engine
                .sessions()
                .map(|(id, session)| EmbeddedSession {
                    id: id.to_string(),
                    name: session.name.clone(),
                    ttl: session.ttl,
                    lock_delay: u64::try_from(session.lock_delay)
                        .map_or(Duration::ZERO, Duration::from_nanos),
                })
                .collect()
        })
    }

    /// The number of waiting blocking reads.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.agent.waiting()
    }

    /// Writes a key like `consul kv put`: the holder keeps its lock, but its value
    /// is overwritten.
    pub fn write_key(&self, key: &str, value: impl Into<Vec<u8>>) {
        self.write_key_with_flags(key, value, 0);
    }

    /// Writes a key like `consul kv put -flags=`.
    pub fn write_key_with_flags(&self, key: &str, value: impl Into<Vec<u8>>, flags: u64) {
        let value = value.into();
        self.agent.operate(|engine, now| {
            // A plain write cannot fail.
            let _ = engine.put(now, key.as_bytes(), value, flags, PutMode::Plain);
        });
    }

    /// Deletes a key, held or not, like `consul kv delete`; another session can
    /// lock it at once. Returns `false` if the key does not exist.
    pub fn delete_key(&self, key: &str) -> bool {
        self.agent.operate(|engine, now| {
            engine.advance(now);
            let existed = engine.pair(key.as_bytes()).is_some();
            engine.delete(now, key.as_bytes(), None);
            existed
        })
    }

    /// Releases a key on behalf of the session that holds it.
    ///
    /// Value and flags stay, and another session can lock the key at once.
    /// Returns `false` if nobody holds it.
    pub fn force_release(&self, key: &str) -> bool {
        self.agent.operate(|engine, now| engine.force_release(now, key.as_bytes()))
    }

    /// Destroys a session, which starts the lock-delay of its keys. Returns
    /// `false` if the session does not exist.
    pub fn destroy_session(&self, id: &str) -> bool {
        self.agent.operate(|engine, now| {
            engine.advance(now);
            let exists = matches!(engine.find_session(id), Ok(Some(_)));
            exists && engine.destroy_session(now, id).is_ok()
        })
    }

    /// Ends the sessions of a service now, as if their TTL had passed: this starts the
    /// lock-delay of their keys. Returns how many there were.
    ///
    /// `service` is the name that its runtime was given.
    pub fn expire_sessions(&self, service: &str) -> usize {
        let is_of = |session: &EmbeddedSession| {
            session.name.rsplit_once('#').is_some_and(|(name, _)| name == service)
        };
        let sessions = self.sessions().into_iter().filter(is_of);
        sessions.filter(|session| self.destroy_session(&session.id)).count()
    }

    /// Lets the agent leave the cluster, which ends every session, and rejoin at
    /// once.
    pub fn leave(&self) {
        self.agent.operate(Engine::leave);
    }

    /// Turns the node's health check critical.
    ///
    /// This ends the sessions that depend on the check: those that name it, and
    /// those created without a list of checks. No such session can be created
    /// until [`Embedded::pass_check`].
    pub fn fail_check(&self) {
        self.agent.operate(Engine::fail_check);
    }

    /// Turns the node's health check passing again.
    pub fn pass_check(&self) {
        self.agent.operate(Engine::pass_check);
    }

    /// Elects a new leader, instantly: the TTL timers of all sessions restart.
    pub fn elect(&self) {
        self.agent.operate(Engine::elect);
    }

    /// Restarts the server with its data, instantly: the TTL timers of all
    /// sessions and the running lock-delays restart, and blocking reads return.
    pub fn restart(&self) {
        self.agent.operate(Engine::restart);
    }

    /// Restarts the server without its data, instantly: raft indexes start over,
    /// and blocking reads return.
    pub fn restart_empty(&self) {
        self.agent.operate(Engine::restart_empty);
    }

    /// Copies the store, like `consul snapshot save`.
    #[must_use]
    pub fn snapshot(&self) -> EmbeddedSnapshot {
        EmbeddedSnapshot(self.agent.operate(Engine::snapshot))
    }

    /// Replaces the store with a snapshot, like `consul snapshot restore`: the
    /// snapshot's sessions live again with fresh timers, lock-delays are dropped,
    /// and blocking reads return.
    ///
    /// Without `rewind`, raft indexes continue from the higher one of the current and the
    /// snapshot's, as when a snapshot is restored into the same cluster. With `rewind`, they
    /// continue from the snapshot's, as in a new cluster.
    pub fn restore(&self, snapshot: &EmbeddedSnapshot, rewind: bool) {
        self.agent.operate(|engine, now| {
            let from_snapshot = rewind || engine.is_behind(&snapshot.0);
            let index =
                if from_snapshot { IndexAfterRestore::Rewinds } else { IndexAfterRestore::Rises };
            engine.restore(now, &snapshot.0, index);
        });
    }

    /// Serves the agent's HTTP API on `address`, such as `127.0.0.1:8500`, until
    /// the server is stopped or dropped. Port 0 selects any free port.
    ///
    /// The server runs on its own threads, so it can be started from any runtime,
    /// or outside one.
    ///
    /// # Errors
    /// The address cannot be resolved or bound, or a thread cannot be started.
    pub fn serve(&self, address: impl std::net::ToSocketAddrs) -> std::io::Result<EmbeddedServer> {
        EmbeddedServer::start(Arc::clone(&self.agent), address)
    }

    /// Answers one request; a blocking read returns when Consul would answer it.
    ///
    /// While the network is [cut](Embedded::cut), the future never completes: the
    /// caller must set a time limit.
    ///
    /// # Cancel safety
    /// Cancel safe. A write happens on the first poll or not at all; a blocking
    /// read changes nothing.
    pub(crate) async fn exchange(&self, request: WireRequest) -> Result<WireReply, Trouble> {
        let method = request.method.as_str();
        let writes = method != "GET"
            && ["/v1/kv/", "/v1/txn"].iter().any(|path| request.target.starts_with(path));
        let served = pin!(self.agent.serve(method, &request.target, request.body));
        Ok(self.network.carry(writes, served).await.into())
    }
}

impl Backend for Embedded {
    fn exchange(&self, request: WireRequest) -> LocalBoxFuture<'_, Result<WireReply, Trouble>> {
        Box::pin(self.exchange(request))
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

/// A snapshot of an [`Embedded`] agent's store.
#[derive(Clone, Debug)]
pub struct EmbeddedSnapshot(Snapshot);

/// An entry of an [`Embedded`] agent's key-value store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddedEntry {
    /// The full key, including any configured prefix.
    pub key: String,
    /// The stored value.
    pub value: Vec<u8>,
    /// Consul's opaque flags; lock clients mark their keys with them.
    pub flags: u64,
    /// The id of the session that holds the key.
    pub session: Option<String>,
    /// The raft index at which the key was created.
    pub create_index: u64,
    /// The raft index of the entry's last change.
    pub modify_index: u64,
    /// The number of times the key was locked; a plain write resets it to 0.
    pub lock_index: u64,
}

/// A session of an [`Embedded`] agent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddedSession {
    /// The id, a UUID.
    pub id: String,
    /// The name that the client gave it.
    pub name: String,
    /// The TTL; `None` if the session does not expire.
    pub ttl: Option<Duration>,
    /// The lock-delay that the client asked for; the server enforces at most 60
    /// seconds.
    pub lock_delay: Duration,
}

/// Whether it is `.dsync/<a session's id>` below any prefix.
fn is_fence(key: &[u8]) -> bool {
    let mut parts = key.rsplit(|byte| *byte == b'/');
    let (id, parent) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    id.len() == 36 && parent == RESERVED.as_bytes()
}

#[cfg(test)]
mod tests;
