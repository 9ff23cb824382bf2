//! The intake of administrators' requests.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::reading::entry_of;
use crate::{
    config::Timing,
    consul::{
        ask::{
            Checks, CreateSession, DestroySession, ListAllSessions, ListNow, Release, ReleaseHow,
            SessionInfo, What, Write,
        },
        client::Consul,
        fact::{
            AllSessions, Created, Destroyed, Entry, Listed, Released, SessionId, SessionSeen,
            Written,
        },
        stand_back::StandBack,
    },
    dsync::intake::{Intake, Pending},
    error::{Error, Step},
    key::Key,
    logs,
    messages::{
        ForceRelease, ForceReleased, HeldKey, Holders, StepDown, SteppedDown, subscribers::Hub,
    },
    ownership::Holder,
    protocol::takeover,
    status::journal::Journal,
};

/// How often a release or the end of a session is attempted, and the pause in between.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

impl Intake {
    pub(crate) fn holders(&self, Holders { prefix }: Holders) -> Pending<Vec<HeldKey>> {
        self.read_with(move |consul, limit| async move {
            let prefix: Arc<str> = prefix.into();
            let entries = match consul.ask(&ListNow { prefix }, limit).await {
                Listed::Found { entries, .. } => entries,
                Listed::Denied(right) => return Err(Error::Denied { right }),
                Listed::NameRefused(why) => return Err(Error::Invalid { field: "prefix", why }),
                Listed::Unknown(trouble) => return Err(trouble.to_error(Step::Read)),
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
                    Some(HeldKey { key: key.into(), holder: entry.into_holder(facts)? })
                })
                .collect();
            held.sort_by(|one, other| one.key.cmp(&other.key));
            Ok(held)
        })
    }

    pub(crate) fn force_release(&self, asked: ForceRelease) -> Pending<ForceReleased> {
        let ForceRelease { key, session, index, immediate } = asked;
        let victim = Victim { key, session: SessionId::from(session.as_str()), index };
        let purpose = Purpose::ForceRelease { immediate };
        let taken = self.take(victim, purpose);
        Box::pin(async move { taken.await.map(ForceReleased::from) })
    }

    pub(crate) fn step_down(&self, asked: StepDown) -> Pending<SteppedDown> {
        let StepDown { key, session, index } = asked;
        let victim = Victim { key, session: SessionId::from(session.as_str()), index };
        let taken = self.take(victim, Purpose::StepDown);
        Box::pin(async move { taken.await.map(SteppedDown::from) })
    }

    fn take(&self, victim: Victim, purpose: Purpose) -> Pending<Taken> {
        let (hub, journal) = (self.hub.clone(), self.journal.clone());
        let service = self.service.clone();
        self.act_with(move |consul, limit| async move {
            Taking { consul, limit, hub, journal, service, purpose }.take(victim).await
        })
    }
}

/// The ownership to end.
struct Victim {
    key: Key,
    session: SessionId,
    index: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    ForceRelease { immediate: bool },
    StepDown,
}

/// An ownership that was ended.
#[derive(Clone)]
struct Taken {
    key: Key,
    holder: Holder,
    keeps: Duration,
}

impl From<Taken> for ForceReleased {
    fn from(Taken { key, holder, keeps }: Taken) -> Self {
        Self { key, holder, keeps }
    }
}

impl From<Taken> for SteppedDown {
    fn from(Taken { key, holder, keeps }: Taken) -> Self {
        Self { key, leader: holder, keeps }
    }
}

/// A lock that is being taken away.
struct Taking {
    consul: Consul,
    limit: Duration,
    hub: Arc<Hub>,
    journal: Arc<Journal>,
    service: Arc<str>,
    purpose: Purpose,
}

impl Taking {
    async fn take(self, victim: Victim) -> Result<Taken, Error> {
        let Victim { key, session: victim, index } = victim;
        let found = entry_of(&self.consul, key.clone(), self.limit).await?;
        let is_same =
            |entry: &Entry| entry.session.as_ref() == Some(&victim) && entry.modify_index == index;
        let Some(entry) = found.filter(is_same) else { return Err(Error::Conflict { key }) };
        let (facts, ttl) = match self.consul.ask(&info(&victim), self.limit).await {
            SessionSeen::Exists { name, node, ttl, .. } => (Some((name, node)), ttl),
            _ => (None, None),
        };
        let immediate = self.purpose == Purpose::ForceRelease { immediate: true };
        let keeps = if immediate { Duration::ZERO } else { takeover::keeps(ttl) };
        let Some(holder) = entry.clone().into_holder(facts) else {
            return Err(Error::Conflict { key });
        };
        let taken = Taken { key: key.clone(), holder, keeps };
        if immediate {
            let released = self.release(&key, &victim, index, &entry).await;
            if let Err(Error::Unknown { why, .. }) = &released {
                self.tell_unknown(&taken, why);
            }
            released?;
            self.tell(&taken);
        } else {
            let keeper = self.keeper(keeps).await?;
            let kept = self.keep_and_release(&key, &victim, &keeper, &entry, &taken).await;
            // This also voids a take-over that is still in flight.
            self.destroy(&keeper).await;
            kept?;
        }
        Ok(taken)
    }

    fn tell(&self, taken: &Taken) {
        let (key, holder) = (&taken.key, &taken.holder);
        let what = format!("taken away from {holder}");
        self.journal.add_incident(Some(key), what);
        match self.purpose {
            Purpose::ForceRelease { .. } => self.hub.publish(&ForceReleased::from(taken.clone())),
            Purpose::StepDown => self.hub.publish(&SteppedDown::from(taken.clone())),
        }
        logs::warn!(%key, %holder, keeps = ?taken.keeps, "lock taken away from its holder");
    }

    /// Whether the lock was taken away is unknown.
    fn tell_unknown(&self, taken: &Taken, why: &str) {
        let (key, holder) = (&taken.key, &taken.holder);
        logs::warn!(%key, %holder, why, "lock may have been taken away from its holder");
        let what = format!("may have been taken away from {holder}: {why}");
        self.journal.add_incident(Some(key), what);
    }

    /// Creates the session that keeps the key. Its TTL covers `keeps` without a renewal. If it
    /// ends early, its lock-delay keeps the key as long.
    async fn keeper(&self, keeps: Duration) -> Result<SessionId, Error> {
        let margin = self.limit * 2;
        let purpose = match self.purpose {
            Purpose::ForceRelease { .. } => "force-release",
            Purpose::StepDown => "step-down",
        };
        let create = CreateSession {
            name: format!("{} ({purpose})", self.service),
            ttl: keeps.saturating_add(margin).max(Timing::SHORTEST_TTL),
            lock_delay: keeps,
            checks: Checks::default(),
            patience: Duration::ZERO,
        };
        match self.consul.ask(&create, self.limit).await {
            Created::Session(session) => Ok(session),
            Created::TtlRefused(range) => {
                let why = format!("of the holder is outside the servers' range {range}");
                Err(Error::Invalid { field: "session_ttl", why })
            }
            Created::Denied(right) => Err(Error::Denied { right }),
            Created::Unknown(trouble) => Err(trouble.to_error(Step::CreateSession)),
        }
    }

    async fn keep_and_release(
        &self,
        key: &Key,
        victim: &SessionId,
        keeper: &SessionId,
        entry: &Entry,
        taken: &Taken,
    ) -> Result<(), Error> {
        let value = match self.purpose {
            Purpose::ForceRelease { .. } => entry.value.clone(),
            Purpose::StepDown => StandBack::value(victim.as_str(), taken.keeps),
        };
        let flags = entry.flags;
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
            Written::Refused(why) => return Err(Error::unavailable(step, why).naming(key)),
            Written::Failed(trouble) => return Err(trouble.to_error(step).naming(key)),
            Written::Unknown(trouble) => {
                let why = trouble.to_string();
                self.tell_unknown(taken, &why);
                return Err(Error::unknown(step, why).naming(key));
            }
        };
        self.tell(taken);
        tokio::time::sleep(taken.keeps).await;
        // The keeper's lock is the next one after the victim's.
        let lock_index = entry.lock_index.saturating_add(1);
        let entry = &Entry { lock_index, ..entry.clone() };
        let released = match self.release(key, keeper, index, entry).await {
            Err(Error::Conflict { .. }) => self.release_edited(key, keeper).await,
            released => released,
        };
        // The lock was taken away, whatever prevents its release.
        released.map_err(|error| unknown_release(key, error))
    }

    /// Releases the key that `keeper` may still hold, with what somebody has written over it.
    async fn release_edited(&self, key: &Key, keeper: &SessionId) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let now = entry_of(&self.consul, key.clone(), self.limit).await?;
            let Some(now) = now.filter(|now| now.session.as_ref() == Some(keeper)) else {
                return Ok(());
            };
            match self.release(key, keeper, now.modify_index, &now).await {
                Err(Error::Conflict { .. }) => {}
                released => return released,
            }
        }
        Err(Error::unknown(Step::Release, "others keep writing the key").naming(key))
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
                    let read = entry_of(&self.consul, key.clone(), self.limit).await;
                    let now = read.map_err(|error| unknown_release(key, error))?;
                    let is_kept = |now: Entry| {
                        now.session.as_ref() == Some(session) && now.lock_index <= entry.lock_index
                    };
                    // If it was locked again, it was released before.
                    let is_kept = now.is_some_and(is_kept);
                    return if is_kept {
                        Err(Error::Conflict { key: key.clone() })
                    } else {
                        Ok(())
                    };
                }
                Released::FenceFailed => return Err(Error::Conflict { key: key.clone() }),
                Released::Denied(right) if unknown.is_some() => {
                    return Err(unknown_release(key, Error::Denied { right }));
                }
                Released::Denied(right) => return Err(Error::Denied { right }),
                Released::Unknown(trouble) => unknown = Some(trouble),
            }
            tokio::time::sleep(PAUSE).await;
        }
        let why = unknown.map(|trouble| trouble.to_string()).unwrap_or_default();
        Err(Error::unknown(step, why).naming(key))
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

/// The error of a lock that was taken away, and may not be released.
fn unknown_release(key: &Key, error: Error) -> Error {
    match error {
        Error::Unknown { .. } => error,
        error => Error::unknown(Step::Release, error.to_string()).naming(key),
    }
}

fn info(session: &SessionId) -> SessionInfo {
    SessionInfo { session: session.clone() }
}
