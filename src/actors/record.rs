//! The record of a key's periodic job: when its next turn may begin.

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::supervisor::LockSupervisor;
use crate::{
    consul::{
        ask::{Read, Record},
        fact::{Recorded, Seen, SessionId},
    },
    error::{Error, Step},
    key::Key,
    token::FencingToken,
};

/// Reads the last recorded turn of a key's job.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReadTurn {
    pub(crate) key: Key,
    pub(crate) reply: oneshot::Sender<Result<Option<LastTurn>, Error>>,
}

/// A recorded turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastTurn {
    /// The record's `ModifyIndex`.
    pub(crate) index: u64,
    /// When the next one may begin, in milliseconds since 1970.
    pub(crate) next: u64,
    /// The attempt that wrote it, if that attempt belongs to the current session.
    pub(crate) own: Option<u64>,
}

/// Records a turn of a key's job, provided that our session holds the key.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WriteTurn {
    pub(crate) key: Key,
    /// The index of the record to replace; `None` if there is none yet.
    pub(crate) after: Option<u64>,
    pub(crate) next: u64,
    pub(crate) token: FencingToken,
    /// Unique among the attempts of this process.
    pub(crate) attempt: u64,
    pub(crate) reply: oneshot::Sender<Result<Noted, Error>>,
}

/// The outcome of a [`WriteTurn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    Done,
    /// The stored record is not the one to replace.
    Stale,
    /// Our session does not hold the key.
    NotHeld,
}

/// The record as stored in Consul.
#[derive(Serialize, Deserialize)]
struct Turn {
    /// When the next one may begin, in milliseconds since 1970.
    next: u64,
    session: String,
    token: FencingToken,
    attempt: u64,
}

impl Handler<ReadTurn> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, ReadTurn { key, reply }: ReadTurn, _: &mut Context<Self>) {
        let (consul, session) = (self.consul.clone(), self.session_id());
        let limit = self.settings.timing.request_timeout();
        actix_rt::spawn(async move {
            let seen = consul.ask(&Read::Record(key.clone()), limit).await;
            // The caller may be gone.
            let _ = reply.send(last_turn(&key, seen, session.as_ref()));
        });
    }
}

fn last_turn(
    key: &Key,
    seen: Seen,
    session: Option<&SessionId>,
) -> Result<Option<LastTurn>, Error> {
    let Some(entry) = seen.into_entry(key)? else { return Ok(None) };
    let turn: Turn = serde_json::from_slice(&entry.value).map_err(|error| {
        let why = format!("holds no record of a job's turns ({error}); delete it");
        Error::Invalid { field: "the key's entry below .dsync/every", why }
    })?;
    let ours = session.is_some_and(|session| session.as_str() == turn.session);
    let own = ours.then_some(turn.attempt);
    Ok(Some(LastTurn { index: entry.modify_index, next: turn.next, own }))
}

impl Handler<WriteTurn> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, ask: WriteTurn, _: &mut Context<Self>) {
        let WriteTurn { key, after, next, token, attempt, reply } = ask;
        let Some(session) = self.session_id() else {
            let _ = reply.send(Ok(Noted::NotHeld));
            return;
        };
        let turn = Turn { next, session: session.to_string(), token, attempt };
        let value = serde_json::to_vec(&turn).unwrap_or_default();
        let record = Record { key, session, after, value };
        let consul = self.consul.clone();
        let limit = self.settings.timing.request_timeout();
        actix_rt::spawn(async move {
            let noted = match consul.ask(&record, limit).await {
                Recorded::Done => Ok(Noted::Done),
                Recorded::Stale => Ok(Noted::Stale),
                Recorded::NotHeld => Ok(Noted::NotHeld),
                Recorded::Denied(right) => Err(Error::Denied { right }),
                Recorded::Unknown(trouble) => {
                    Err(Error::Unknown { step: Step::Record, why: trouble.to_string() })
                }
            };
            let _ = reply.send(noted);
        });
    }
}
