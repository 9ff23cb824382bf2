//! The record of a key's periodic job: when its next turn may begin.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::supervisor::LockSupervisor;
use crate::{
    consul::{
        ask::{Read, Record},
        fact::Recorded,
        turn_record::{LastTurn, TurnRecord},
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

impl Handler<ReadTurn> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, ReadTurn { key, reply }: ReadTurn, _: &mut Context<Self>) {
        let (consul, session) = (self.consul.clone(), self.session_id());
        let limit = self.settings.timing.request_timeout();
        actix_rt::spawn(async move {
            let seen = consul.ask(&Read::Record(key.clone()), limit).await;
            // The caller may be gone.
            let _ = reply.send(LastTurn::of(&key, seen, session.as_ref()));
        });
    }
}

impl Handler<WriteTurn> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, ask: WriteTurn, _: &mut Context<Self>) {
        let WriteTurn { key, after, next, token, attempt, reply } = ask;
        let Some(session) = self.session_id() else {
            let _ = reply.send(Ok(Noted::NotHeld));
            return;
        };
        let value = TurnRecord { next, session: session.to_string(), token, attempt }.to_bytes();
        let record = Record { key: key.clone(), session, after, value };
        let consul = self.consul.clone();
        let limit = self.settings.timing.request_timeout();
        actix_rt::spawn(async move {
            let noted = match consul.ask(&record, limit).await {
                Recorded::Done => Ok(Noted::Done),
                Recorded::Stale => Ok(Noted::Stale),
                Recorded::NotHeld => Ok(Noted::NotHeld),
                Recorded::Denied(right) => Err(Error::Denied { right }),
                Recorded::Unknown(trouble) => {
                    Err(Error::unknown(Step::Record, trouble.to_string()).naming(&key))
                }
            };
            let _ = reply.send(noted);
        });
    }
}
