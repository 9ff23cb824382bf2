//! The intake of administrators' requests.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::reading::entry_of;
use crate::{
    consul::{
        ask::{
            CreateSession, DestroySession, List, ListAllSessions, Release, ReleaseHow, SessionInfo,
            What, Write,
        },
        client::Consul,
        fact::{
            AllSessions, Created, Destroyed, Entry, Listed, Released, SessionId, SessionSeen,
            Written,
        },
    },
    dsync::intake::{Intake, Pending},
    error::{Error, Step},
    key::Key,
    messages::{ForceRelease, ForceReleased, HeldKey, Holders, subscribers::Hub},
    ownership::Holder,
    protocol::session::unavailable,
};

/// The longest lease: Consul enforces no longer lock-delay.
const LONGEST_LEASE: Duration = Duration::from_secs(60);
/// The shortest TTL that Consul accepts.
const SHORTEST_TTL: Duration = Duration::from_secs(10);
/// How often a release or the end of a session is attempted, and the pause in between.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

impl Intake {
    pub(crate) fn holders(&self, Holders { prefix }: Holders) -> Pending<Vec<HeldKey>> {
        self.read_with(move |consul, limit| async move {
            let list = List { prefix: prefix.into(), after: None, wait: Duration::ZERO };
            let entries = match consul.ask(&list, limit).await {
                Listed::Found { entries, .. } => entries,
                Listed::Denied(right) => return Err(Error::Denied { right }),
                Listed::NameRefused(why) => return Err(Error::Invalid { field: "prefix", why }),
                Listed::Unknown(trouble) => return Err(unavailable(Step::Read, &trouble)),
            };
            let sessions: HashMap<_, _> = match consul.ask(&ListAllSessions, limit).await {
                AllSessions::Found(sessions) => {
                    sessions.into_iter().map(|(id, name, node)| (id, (name, node))).collect()
                }
                // The holders are known; their names are optional.
                AllSessions::Denied(_) | AllSessions::Unknown(_) => HashMap::new(),
            };
            let mut held: Vec<HeldKey> = entries
                .into_iter()
                .filter_map(|(key, entry)| {
                    let facts = sessions.get(entry.session.as_ref()?).cloned();
                    Some(HeldKey { key: key.into(), holder: holder(entry, facts)? })
                })
                .collect();
            held.sort_by(|one, other| one.key.cmp(&other.key));
            Ok(held)
        })
    }

    pub(crate) fn force_release(&self, asked: ForceRelease) -> Pending<ForceReleased> {
        let (hub, service) = (self.hub.clone(), self.service.clone());
        self.act_with(move |consul, limit| async move {
            Taking { consul, limit, hub, service }.force_release(asked).await
        })
    }
}

fn holder(entry: Entry, facts: Option<(String, String)>) -> Option<Holder> {
    let (session_name, node) = facts.unzip();
    Some(Holder {
        session: entry.session?.to_string(),
        session_name,
        node,
        value: entry.value.into(),
        since: entry.modify_index,
    })
}

/// A lock that is being taken away.
struct Taking {
    consul: Consul,
    limit: Duration,
    hub: Arc<Hub>,
    service: Arc<str>,
}

impl Taking {
    async fn force_release(self, asked: ForceRelease) -> Result<ForceReleased, Error> {
        let ForceRelease { key, session, index, immediate } = asked;
        let victim = SessionId::from(session.as_str());
        let found = entry_of(&self.consul, key.clone(), self.limit).await?;
        let is_same =
            |entry: &Entry| entry.session.as_ref() == Some(&victim) && entry.modify_index == index;
        let Some(entry) = found.filter(is_same) else { return Err(Error::Conflict { key }) };
        let (facts, ttl) = match self.consul.ask(&info(&victim), self.limit).await {
            SessionSeen::Exists { name, node, ttl, .. } => (Some((name, node)), ttl),
            _ => (None, None),
        };
        let keeps = if immediate { Duration::ZERO } else { ttl.unwrap_or(LONGEST_LEASE) };
        let keeps = keeps.min(LONGEST_LEASE);
        let Some(holder) = holder(entry.clone(), facts) else {
            return Err(Error::Conflict { key });
        };
        let event = ForceReleased { key: key.clone(), holder, keeps };
        if immediate {
            let released = self.release(&key, &victim, index, &entry).await;
            if let Err(Error::Unknown { why, .. }) = &released {
                self.tell_unknown(&event, why);
            }
            released?;
            self.tell(&event);
        } else {
            let keeper = self.keeper(keeps).await?;
            let taken = self.keep_and_release(&key, &victim, &keeper, &entry, &event).await;
            // Ends a take-over that is still on its way, too.
            self.destroy(&keeper).await;
            taken?;
        }
        Ok(event)
    }

    fn tell(&self, event: &ForceReleased) {
        let (key, holder) = (&event.key, &event.holder);
        tracing::warn!(%key, %holder, keeps = ?event.keeps, "lock taken away from its holder");
        let what = format!("taken away from {holder}");
        self.hub.journal().incident(Some(key), what);
        self.hub.publish(event);
    }

    /// Whether the lock was taken away is unknown.
    fn tell_unknown(&self, event: &ForceReleased, why: &str) {
        let (key, holder) = (&event.key, &event.holder);
        tracing::warn!(%key, %holder, why, "lock may have been taken away from its holder");
        let what = format!("may have been taken away from {holder}: {why}");
        self.hub.journal().incident(Some(key), what);
    }

    /// Creates the session that keeps the key. It lives as long without a renewal. If it ends
    /// early, its lock-delay does the same.
    async fn keeper(&self, keeps: Duration) -> Result<SessionId, Error> {
        let margin = self.limit * 2;
        let create = CreateSession {
            name: format!("{} (force-release)", self.service),
            ttl: keeps.saturating_add(margin).max(SHORTEST_TTL),
            lock_delay: keeps,
            node_checks: Vec::new(),
        };
        match self.consul.ask(&create, self.limit).await {
            Created::Session(session) => Ok(session),
            Created::TtlRefused(range) => {
                let why = format!("of the holder is outside the servers' range {range}");
                Err(Error::Invalid { field: "session_ttl", why })
            }
            Created::Denied(right) => Err(Error::Denied { right }),
            Created::Unknown(trouble) => Err(unavailable(Step::CreateSession, &trouble)),
        }
    }

    async fn keep_and_release(
        &self,
        key: &Key,
        victim: &SessionId,
        keeper: &SessionId,
        entry: &Entry,
        event: &ForceReleased,
    ) -> Result<(), Error> {
        let (value, flags) = (entry.value.clone(), entry.flags);
        let what = What::PassTo { session: keeper.clone(), value, flags };
        let (session, index) = (victim.clone(), entry.modify_index);
        let pass = Write { key: key.clone(), session, index, what };
        let step = Step::Lock;
        let index = match self.consul.ask(&pass, self.limit).await {
            Written::Done { index } => index,
            Written::NotHeld | Written::Moved(_) | Written::Conflict(_) => {
                return Err(Error::Conflict { key: key.clone() });
            }
            Written::Denied(right) => return Err(Error::Denied { right }),
            Written::Refused(why) => return Err(Error::Unavailable { step, why }),
            Written::Failed(trouble) => return Err(unavailable(step, &trouble)),
            Written::Unknown(trouble) => {
                let why = trouble.to_string();
                self.tell_unknown(event, &why);
                return Err(Error::Unknown { step, why });
            }
        };
        self.tell(event);
        tokio::time::sleep(event.keeps).await;
        match self.release(key, keeper, index, entry).await {
            // Somebody has changed the key meanwhile; the end of the session frees it.
            Err(Error::Conflict { .. }) => Ok(()),
            released => released,
        }
    }

    /// Releases the key that `session` holds at `index`, with its value.
    async fn release(
        &self,
        key: &Key,
        session: &SessionId,
        index: u64,
        entry: &Entry,
    ) -> Result<(), Error> {
        let how = ReleaseHow::Keep { value: entry.value.clone(), flags: entry.flags };
        let release = Release { key: key.clone(), session: session.clone(), index, how };
        let step = Step::Release;
        let mut unknown = None;
        for _ in 0..ATTEMPTS {
            match self.consul.ask(&release, self.limit).await {
                Released::Done => return Ok(()),
                Released::FenceFailed if unknown.is_some() => {
                    // An earlier attempt released it, or its index has moved.
                    let entry = entry_of(&self.consul, key.clone(), self.limit).await?;
                    let still = entry.is_some_and(|entry| entry.session.as_ref() == Some(session));
                    return if still { Err(Error::Conflict { key: key.clone() }) } else { Ok(()) };
                }
                Released::FenceFailed => return Err(Error::Conflict { key: key.clone() }),
                Released::Denied(right) => return Err(Error::Denied { right }),
                Released::Unknown(trouble) => unknown = Some(trouble),
            }
            tokio::time::sleep(PAUSE).await;
        }
        let why = unknown.map(|trouble| trouble.to_string()).unwrap_or_default();
        Err(Error::Unknown { step, why })
    }

    async fn destroy(&self, session: &SessionId) {
        let destroy = DestroySession { session: session.clone() };
        for _ in 0..ATTEMPTS {
            match self.consul.ask(&destroy, self.limit).await {
                Destroyed::Done | Destroyed::Denied(_) => return,
                Destroyed::Unknown(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

fn info(session: &SessionId) -> SessionInfo {
    SessionInfo { session: session.clone() }
}
