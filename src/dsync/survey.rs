//! Checks the agent, the rights and the timing before they matter.

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use crate::{
    config::{Limits, Timing},
    consul::{
        ask::{
            Agent, Checks, CreateSession, DestroySession, Leader, MayList, MayRead, MayWrite,
            Place, SessionInfo,
        },
        client::Consul,
        fact::{AgentSeen, Created, LeaderSeen, Right, SessionSeen},
    },
    key::{Key, RESERVED},
    status::findings::{
        Check, Preflight,
        Verdict::{Failed, Good, Warning},
    },
    value::LockValue,
};

/// How long all checks together may take once the agent has answered the first.
const LONGEST: Duration = Duration::from_secs(15);

/// What to check.
pub(super) struct Survey<'a> {
    pub(super) consul: &'a Consul,
    pub(super) service: &'a str,
    pub(super) timing: &'a Timing,
    /// Connections for blocking reads.
    pub(super) watches: usize,
    /// The keys to check, besides those below the prefix.
    pub(super) keys: BTreeSet<Key>,
}

impl Survey<'_> {
    pub(super) async fn run(self) -> Preflight {
        let mut found = Preflight::new();
        let limit = self.limit();
        match self.consul.ask(&Leader, limit).await {
            LeaderSeen::Answered { has_leader: true } => {
                found.add(Check::Agent, Good, "it answers and knows a leader");
            }
            LeaderSeen::Answered { has_leader: false } => {
                let why = "it answers and knows no leader; locks work once there is one";
                found.add(Check::Agent, Failed, why);
            }
            LeaderSeen::Unknown(trouble) => {
                found.add(Check::Agent, Failed, trouble.to_string());
                self.timing(&mut found, None);
                return found;
            }
        }
        let lacks = Cell::new(false);
        if tokio::time::timeout(LONGEST, self.survey(&mut found, &lacks)).await.is_err() {
            let why = format!(
                "not all was checked within {LONGEST:?}: name fewer keys, or find out why the agent \
                 is slow"
            );
            found.add(Check::Agent, Failed, why);
        }
        found.policy = lacks.get().then(|| self.policy());
        found
    }

    /// Checks all. Sets `lacks` as soon as a right is missing.
    async fn survey(&self, found: &mut Preflight, lacks: &Cell<bool>) {
        let note = |is_missing: bool| lacks.set(lacks.get() | is_missing);
        self.connection(found);
        let shortest_ttl = self.limits(found).await;
        self.timing(found, shortest_ttl);
        note(self.session(found).await);
        note(self.fences(found).await);
        // There can be many.
        for place in self.places() {
            note(self.key(found, place).await);
        }
        note(self.list(found).await);
    }

    /// The time limit of a question: at least 2 s, since no lease depends on the answer.
    fn limit(&self) -> Duration {
        self.timing.request_timeout().max(Duration::from_secs(2))
    }

    fn connection(&self, found: &mut Preflight) {
        let Some(link) = self.consul.connections().map(|http| http.describe()) else {
            return found.add(Check::Connection, Good, "an agent in this process");
        };
        let what = match (link.https, link.is_http2) {
            (true, Some(true)) => "TLS with HTTP/2",
            (true, _) => "TLS with HTTP/1.1: each blocking read needs a connection",
            (false, _) if link.is_local => "no TLS, within this host",
            (false, _) if self.consul.has_token() => {
                let why = "no TLS: everybody on the way to the agent can read the ACL token";
                return found.add(Check::Connection, Warning, why);
            }
            (false, _) => "no TLS",
        };
        found.add(Check::Connection, Good, what);
    }

    /// Returns the servers' shortest TTL.
    async fn limits(&self, found: &mut Preflight) -> Option<Duration> {
        let (version, node, connections, value_bytes, shortest_ttl) =
            match self.consul.ask(&Agent, self.limit()).await {
                AgentSeen::Known { version, node, connections, value_bytes, shortest_ttl } => {
                    (version, node, connections, value_bytes, shortest_ttl)
                }
                AgentSeen::Denied => {
                    let why = "the token may not read the agent's version and limits (agent:read); \
                               locks do not need it";
                    found.add(Check::Limits, Warning, why);
                    return None;
                }
                AgentSeen::Unknown(trouble) => {
                    found.add(Check::Limits, Warning, trouble.to_string());
                    return None;
                }
            };
        // 0 is no limit.
        let connections = connections.filter(|most| *most > 0);
        let own = (Limits::RENEWALS + Limits::WRITES + self.watches) as u64;
        let words = format!("Consul {version}, node {node}");
        match (connections, value_bytes) {
            (Some(most), _) if own > most => found.add(
                Check::Limits,
                Warning,
                format!(
                    "{words}: it accepts {most} connections of one host, and this process may use \
                     {own}; raise http_max_conns_per_client or lower limits.connections"
                ),
            ),
            (_, Some(bytes)) if bytes < LockValue::MAX_LEN as u64 => found.add(
                Check::Limits,
                Warning,
                format!("{words}: it refuses values longer than {bytes} bytes (kv_max_value_size)"),
            ),
            (Some(most), _) => found.add(
                Check::Limits,
                Good,
                format!("{words}: {most} connections of one host; this process uses up to {own}"),
            ),
            (None, _) => found.add(Check::Limits, Good, words),
        }
        (found.version, found.node) = (Some(version), Some(node));
        shortest_ttl
    }

    /// Returns whether a right is missing.
    async fn session(&self, found: &mut Preflight) -> bool {
        let create = CreateSession {
            name: format!("{}: preflight", self.service),
            ttl: Timing::SHORTEST_TTL,
            lock_delay: Duration::ZERO,
            checks: Checks::default(),
            patience: Duration::ZERO,
        };
        let session = match self.consul.ask(&create, self.limit()).await {
            Created::Session(session) => session,
            Created::Denied(right) => {
                found.add(Check::Session, Failed, format!("the token lacks {right}"));
                return true;
            }
            // The timing says what to do.
            Created::TtlRefused(_) => {
                found.add(Check::Session, Good, "session:write");
                return false;
            }
            Created::Unknown(trouble) => {
                found.add(Check::Session, Failed, trouble.to_string());
                return false;
            }
        };
        let info = SessionInfo { session: session.clone() };
        let seen = self.consul.ask(&info, self.limit()).await;
        self.consul.ask(&DestroySession { session }, self.limit()).await;
        match seen {
            SessionSeen::Exists { .. } => {
                found.add(Check::Session, Good, "session:write, session:read");
                false
            }
            SessionSeen::NotShown | SessionSeen::Denied(_) => {
                let why = "the token lacks session:read: the sessions of other holders look as if \
                           they had ended, so a lock-delay is not known";
                found.add(Check::Session, Warning, why);
                true
            }
            SessionSeen::Unknown(trouble) => {
                let why = format!("session:write; session:read is not known: {trouble}");
                found.add(Check::Session, Warning, why);
                false
            }
        }
    }

    fn places(&self) -> Vec<Place> {
        let keys = self.keys.iter().cloned().map(Place::Key);
        let has_prefix = !self.consul.prefix().is_empty();
        let prefix = (has_prefix || self.keys.is_empty()).then_some(Place::Prefix);
        prefix.into_iter().chain(keys).collect()
    }

    /// Returns whether a right is missing.
    async fn key(&self, found: &mut Preflight, place: Place) -> bool {
        let mut lacks = false;
        let name = self.name(&place);
        let may_read = self.consul.ask(&MayRead(place.clone()), self.limit()).await;
        let may_write = self.consul.ask(&MayWrite(place), self.limit()).await;
        for (right, consequence) in
            [(&may_read, " Without it, Consul answers as if the key were free."), (&may_write, "")]
        {
            match right {
                Right::Granted => {}
                Right::Denied(right) => {
                    lacks = true;
                    let why = format!("the token lacks {right} on {name}.{consequence}");
                    found.add(Check::Keys, Failed, why);
                }
                Right::Unknown(trouble) => {
                    found.add(Check::Keys, Failed, format!("{name}: {trouble}"));
                }
            }
        }
        if may_read == Right::Granted && may_write == Right::Granted {
            found.add(Check::Keys, Good, format!("key:write, key:read on {name}"));
        }
        lacks
    }

    async fn list(&self, found: &mut Preflight) -> bool {
        match self.consul.ask(&MayList, self.limit()).await {
            // Without the right to read, it would be said twice.
            Right::Denied(right) if found.passed => {
                let why = format!(
                    "the token lacks {right} on {}, which this agent demands \
                     (acl.enable_key_list_policy): waiting for many keys is slow",
                    self.name(&Place::Prefix)
                );
                found.add(Check::List, Warning, why);
                true
            }
            _ => false,
        }
    }

    async fn fences(&self, found: &mut Preflight) -> bool {
        let name = self.name(&Place::Fences);
        match self.consul.ask(&MayWrite(Place::Fences), self.limit()).await {
            Right::Granted => {
                found.add(Check::Fences, Good, format!("key:write on {name}"));
                false
            }
            Right::Denied(right) => {
                let why = format!(
                    "the token lacks {right} on {name}: locks work without fence entries, and a \
                     lock request that arrives late keeps its key until the session ends"
                );
                found.add(Check::Fences, Warning, why);
                true
            }
            Right::Unknown(trouble) => {
                found.add(Check::Fences, Warning, trouble.to_string());
                false
            }
        }
    }

    fn timing(&self, found: &mut Preflight, shortest_ttl: Option<Duration>) {
        if let Some(shortest) = shortest_ttl.filter(|ttl| *ttl > self.timing.session_ttl) {
            let why = format!(
                "the servers accept no TTL below {shortest:?} (session_ttl_min); set \
                 timing.session_ttl"
            );
            return found.add(Check::Timing, Failed, why);
        }
        found.add(Check::Timing, Good, self.timing.to_string());
    }

    /// How a place is called in a finding.
    fn name(&self, place: &Place) -> String {
        let prefix = self.consul.prefix();
        match place {
            Place::Prefix if prefix.is_empty() => "all keys".into(),
            Place::Prefix => format!("the keys below \"{prefix}\""),
            Place::Fences => format!("the keys below \"{prefix}{RESERVED}/\""),
            Place::Key(key) => format!("\"{prefix}{key}\""),
        }
    }

    /// The smallest policy for the places that were checked.
    fn policy(&self) -> String {
        let prefix = self.consul.prefix();
        let mut below: BTreeSet<String> = BTreeSet::new();
        if prefix.is_empty() && !self.keys.is_empty() {
            below.insert(format!("{RESERVED}/"));
            below.extend(self.keys.iter().map(|key| {
                let text = key.to_string();
                text.rsplit_once('/').map_or(text.clone(), |(folder, _)| format!("{folder}/"))
            }));
        } else {
            below.insert(prefix.to_owned());
        }
        let keys = below.iter().map(|prefix| {
            // Quotes and backslashes as HCL and JSON write them.
            let quoted = serde_json::Value::from(prefix.as_str());
            format!("key_prefix {quoted} {{ policy = \"write\" }}\n")
        });
        let session = "session_prefix \"\" { policy = \"write\" }\n";
        std::iter::once(session.to_owned()).chain(keys).collect()
    }
}
