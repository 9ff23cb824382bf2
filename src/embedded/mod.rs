//! A Consul agent inside the process: its public handle.
//!
//! `engine` is the state of a Consul server and `api` its HTTP API; both are
//! pure functions of the time. `exchange` gives them a clock and lets blocking
//! reads wait, `server` gives them a port.

pub(crate) mod api;
pub(crate) mod engine;
mod exchange;
mod golang;
mod server;
mod waiters;

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

use self::{
    engine::{Engine, Expiry, IndexAfterRestore, PutMode, Snapshot},
    exchange::Shared,
};

pub use self::server::EmbeddedServer;

/// A Consul-compatible agent inside the process, for demos, for tests of
/// services that lock, and for simulations. Not for production: it keeps
/// everything in memory and there is only one of it.
///
/// It answers as one Consul 1.8.7 server does whose HTTP API is used for
/// sessions, keys and transactions: same status codes, bodies, error texts,
/// indexes and times, held to a real server by a suite of tests. Clones are
/// handles of the same agent. Use it in the process without a port, or let
/// other processes use it through [`Embedded::serve`].
///
/// # Time
/// It has no task of its own: whoever asks it something first lets everything
/// happen that is due. It follows Tokio's clock, so that
/// `tokio::time::pause` and `advance` move its TTLs, lock-delays and blocking
/// reads; create it inside the runtime whose clock is paused. What comes through
/// the server comes by the real clock.
///
/// # Differences from Consul
/// - It knows `/v1/session/` `create`, `renew`, `info`, `destroy` and `list`,
///   `/v1/kv/`, `/v1/txn` with operations on keys, `/v1/status/leader` and a few
///   fields of `/v1/agent/self`. There are no ACLs (tokens are ignored), one
///   datacenter (`dc1`) and one node; JSON is not pretty-printed.
/// - A blocking read of a missing key, or of an empty prefix, wakes on every
///   write to any key; Consul wakes it on most.
/// - A blocking read that its client gives up leaves nothing behind; in Consul
///   it holds its connection until its wait ends. There is no limit of
///   connections per client.
/// - A new agent's raft index begins at 20, and nothing but clients and
///   [operators' actions](#method.elect) moves it.
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
    shared: Arc<Shared>,
    /// Whether nothing passes between this handle and the agent.
    cut: Arc<watch::Sender<bool>>,
}

impl Embedded {
    /// A new agent without data.
    ///
    /// Its session ids, and the jitter of its blocking reads, are the same in
    /// every run; see [`Embedded::seed`].
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared::new()), cut: Arc::default() }
    }

    /// A handle of the same agent over a network of its own, for a runtime that is
    /// to be cut off alone.
    #[must_use]
    pub fn link(&self) -> Self {
        Self { shared: self.shared.clone(), cut: Arc::default() }
    }

    /// Cuts the network off over which this handle and its clones ask: from now on
    /// their requests and the answers to them vanish without a word, those under
    /// way too, until [`mend`](Embedded::mend). What an operator does here, and
    /// what comes by a [served](Embedded::serve) port, is not concerned.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Lets requests pass again that are sent from now on.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }

    /// Whether sessions end exactly at their TTL: the earliest that Consul's
    /// contract allows.
    ///
    /// Default: `false`; they end at twice their TTL, as Consul's servers do it.
    /// Sessions that live already keep their present timer until they are
    /// renewed.
    #[must_use]
    pub fn strict_ttl(self, strict: bool) -> Self {
        let expiry = if strict { Expiry::Ttl } else { Expiry::TwiceTtl };
        self.shared.operate(|engine, _| engine.settings_mut().expiry = expiry);
        self
    }

    /// Where the agent's random numbers begin. Default: 0.
    ///
    /// Agents with different seeds give different session ids.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.shared.operate(|engine, _| engine.reseed(seed));
        self
    }

    /// The name of the agent's node. Default: `embedded`.
    #[must_use]
    pub fn node(self, name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        self.shared.operate(|engine, _| engine.settings_mut().node = name);
        self
    }

    /// All keys with their entries, in order of the keys' bytes.
    ///
    /// A key that is no UTF-8 is shown with replacement characters.
    #[must_use]
    pub fn entries(&self) -> Vec<EmbeddedEntry> {
        self.shared.operate(|engine, now| {
            engine.advance(now);
            engine
                .pairs(b"")
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

    /// All sessions, in order of their ids.
    #[must_use]
    pub fn sessions(&self) -> Vec<EmbeddedSession> {
        self.shared.operate(|engine, now| {
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

    /// How many blocking reads wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting()
    }

    /// Writes a key as an operator's `consul kv put` does: a holder keeps its
    /// lock, but its value is gone.
    pub fn write_key(&self, key: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        self.shared.operate(|engine, now| {
            // A plain write has no condition that could fail.
            let _ = engine.put(now, key.as_bytes(), value, 0, PutMode::Plain);
        });
    }

    /// Deletes a key, held or not, as an operator's `consul kv delete` does; the
    /// next session may lock it at once. `false` if there is none.
    pub fn delete_key(&self, key: &str) -> bool {
        self.shared.operate(|engine, now| {
            engine.advance(now);
            let existed = engine.pair(key.as_bytes()).is_some();
            engine.delete(now, key.as_bytes(), None);
            existed
        })
    }

    /// Releases a key in the name of the session that holds it; value and flags
    /// stay, and the next session may lock it at once. `false` if nobody holds
    /// it.
    pub fn force_release(&self, key: &str) -> bool {
        self.shared.operate(|engine, now| engine.force_release(now, key.as_bytes()))
    }

    /// Ends a session; its keys are closed for its lock-delay. `false` if there
    /// is none.
    pub fn destroy_session(&self, id: &str) -> bool {
        self.shared.operate(|engine, now| {
            engine.advance(now);
            let exists = matches!(engine.find_session(id), Ok(Some(_)));
            exists && engine.destroy_session(now, id).is_ok()
        })
    }

    /// The agent leaves the cluster, which ends every session, and is back at
    /// once.
    pub fn leave(&self) {
        self.shared.operate(Engine::leave);
    }

    /// The node's health check turns critical. That ends the sessions which
    /// depend on it, those created without a list of checks, and lets no such
    /// session be created until [`Embedded::pass_check`].
    pub fn fail_check(&self) {
        self.shared.operate(Engine::fail_check);
    }

    /// The node's health check passes again.
    pub fn pass_check(&self) {
        self.shared.operate(Engine::pass_check);
    }

    /// A new leader is elected, in no time: the timers of all sessions start
    /// anew.
    pub fn elect(&self) {
        self.shared.operate(Engine::elect);
    }

    /// The server restarts with its data, in no time: the timers of all sessions
    /// and the running lock-delays start anew, and blocking reads are answered.
    pub fn restart(&self) {
        self.shared.operate(Engine::restart);
    }

    /// The server restarts without its data, in no time: raft indexes begin
    /// anew, and blocking reads are answered.
    pub fn restart_empty(&self) {
        self.shared.operate(Engine::restart_empty);
    }

    /// Copies the store, as `consul snapshot save` does.
    #[must_use]
    pub fn snapshot(&self) -> EmbeddedSnapshot {
        EmbeddedSnapshot(self.shared.operate(Engine::snapshot))
    }

    /// Replaces the store by a copy, as `consul snapshot restore` does: sessions
    /// of the copy live again with new timers, lock-delays are gone, and
    /// blocking reads are answered.
    ///
    /// Indexes go on from the present one, as in the same cluster, or, with
    /// `rewind`, from the copy's, as in a new cluster.
    pub fn restore(&self, snapshot: &EmbeddedSnapshot, rewind: bool) {
        let index = if rewind { IndexAfterRestore::Rewinds } else { IndexAfterRestore::Rises };
        self.shared.operate(|engine, now| engine.restore(now, &snapshot.0, index));
    }

    /// Serves the agent's HTTP API on `address`, such as `127.0.0.1:8500`, until
    /// the server is stopped or dropped. Port 0 is any free port.
    ///
    /// The server has threads of its own, so it can be started from any runtime
    /// or none.
    ///
    /// # Errors
    /// The address cannot be resolved or bound, or no thread can be started.
    pub fn serve(&self, address: impl std::net::ToSocketAddrs) -> std::io::Result<EmbeddedServer> {
        EmbeddedServer::start(Arc::clone(&self.shared), address)
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

/// A copy of an [`Embedded`] agent's store.
#[derive(Clone, Debug)]
pub struct EmbeddedSnapshot(Snapshot);

/// A key of an [`Embedded`] agent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddedEntry {
    /// The whole key, with every prefix.
    pub key: String,
    /// The stored bytes.
    pub value: Vec<u8>,
    /// Consul's opaque number; lock clients mark their keys with it.
    pub flags: u64,
    /// The id of the session that holds the key.
    pub session: Option<String>,
    /// The raft index at which the key was created.
    pub create_index: u64,
    /// The raft index at which the entry was last changed.
    pub modify_index: u64,
    /// How often the key was locked; a plain write sets it to 0.
    pub lock_index: u64,
}

/// A session of an [`Embedded`] agent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddedSession {
    /// Its id, a UUID.
    pub id: String,
    /// The name that its creator gave it.
    pub name: String,
    /// `None` is a session that does not expire.
    pub ttl: Option<Duration>,
    /// How long its keys stay closed after its end, as its creator asked; more
    /// than 60 seconds count as 60.
    pub lock_delay: Duration,
}

#[cfg(test)]
mod tests;
