//! Keeping the session: the orders of its machine, with the questions to Consul.

use std::time::Duration;

use super::asker::Asker;
use crate::{
    config::Timing,
    consul::ask::{
        Checks, CreateSession, DeleteFence, DeleteStaleFences, DestroySession, ListSessions,
        ListStaleFences, RaiseFence, Read, RenewSession,
    },
    error::Error,
    protocol::{
        Ticket,
        session::{Effect, Event, Notice},
    },
};

/// A question of the session machine to Consul.
#[derive(Clone, Debug)]
pub(crate) enum SessionQuestion {
    Create {
        ticket: Ticket,
        ask: CreateSession,
    },
    Renew {
        ticket: Ticket,
        ask: RenewSession,
    },
    Destroy {
        ticket: Ticket,
        ask: DestroySession,
    },
    DeleteFence {
        ticket: Ticket,
        ask: DeleteFence,
    },
    Raise {
        ticket: Ticket,
        ask: RaiseFence,
    },
    ReadFence {
        ticket: Ticket,
        ask: Read,
    },
    List {
        ticket: Ticket,
        ask: ListSessions,
    },
    ListFences {
        ticket: Ticket,
        ask: ListStaleFences,
    },
    /// Expects no answer.
    DeleteFences {
        ask: DeleteStaleFences,
    },
}

impl SessionQuestion {
    /// Lets `asker` ask it.
    pub(crate) fn put<A: Asker<Option<Event>>>(self, asker: A) -> A::Asked {
        match self {
            Self::Create { ticket, ask } => {
                asker.ask(ask, move |answer| Some(Event::Created { ticket, answer }))
            }
            Self::Renew { ticket, ask } => {
                asker.ask(ask, move |answer| Some(Event::Renewed { ticket, answer }))
            }
            Self::Destroy { ticket, ask } => {
                asker.ask(ask, move |answer| Some(Event::Destroyed { ticket, answer }))
            }
            Self::DeleteFence { ticket, ask } => {
                asker.ask(ask, move |answer| Some(Event::Destroyed { ticket, answer }))
            }
            Self::Raise { ticket, ask } => {
                asker.ask(ask, move |answer| Some(Event::Raised { ticket, answer }))
            }
            Self::ReadFence { ticket, ask } => {
                asker.ask(ask, move |answer| Some(Event::FenceRead { ticket, answer }))
            }
            Self::List { ticket, ask } => {
                asker.ask(ask, move |answer| Some(Event::Listed { ticket, answer }))
            }
            Self::ListFences { ticket, ask } => {
                asker.ask(ask, move |answer| Some(Event::StaleFences { ticket, answer }))
            }
            Self::DeleteFences { ask } => asker.ask(ask, |()| None),
        }
    }
}

/// An action that the session machine leaves to its driver.
#[derive(Debug)]
pub(crate) enum Order {
    Ask(SessionQuestion),
    Notify(Notice),
    /// Locks work only once an operator has mended this.
    Blocked(String),
    /// Renewals succeed again.
    Recovered,
    /// The session was stopped as requested; no further order follows. Consul refused to destroy
    /// one if `left` says why.
    Stopped {
        left: Option<Error>,
    },
}

impl Order {
    /// The order of an effect, for the sessions that `new` creates.
    pub(crate) fn of(effect: Effect, new: &CreateSession) -> Self {
        Self::Ask(match effect {
            Effect::Create { ticket } => SessionQuestion::Create { ticket, ask: new.clone() },
            Effect::Renew { ticket, session } => {
                SessionQuestion::Renew { ticket, ask: RenewSession { session } }
            }
            Effect::Destroy { ticket, session } => {
                SessionQuestion::Destroy { ticket, ask: DestroySession { session } }
            }
            Effect::DeleteFence { ticket, session } => {
                SessionQuestion::DeleteFence { ticket, ask: DeleteFence { session } }
            }
            Effect::Raise { ticket, session, from } => {
                SessionQuestion::Raise { ticket, ask: RaiseFence { session, from } }
            }
            Effect::ReadFence { ticket, session } => {
                SessionQuestion::ReadFence { ticket, ask: Read::Fence(session) }
            }
            Effect::List { ticket } => {
                SessionQuestion::List { ticket, ask: ListSessions { name: new.name.clone() } }
            }
            Effect::ListFences { ticket } => {
                SessionQuestion::ListFences { ticket, ask: ListStaleFences }
            }
            Effect::DeleteFences { stale } => {
                SessionQuestion::DeleteFences { ask: DeleteStaleFences { stale } }
            }
            Effect::Notify(notice) => return Self::Notify(notice),
            Effect::Blocked(why) => return Self::Blocked(why),
            Effect::Recovered => return Self::Recovered,
            Effect::Stopped { left } => return Self::Stopped { left },
        })
    }
}

/// The most that the creation of a session waits for an answer beyond other requests.
const LONGEST_CREATION: Duration = Duration::from_secs(2);

/// The question that creates sessions of this name and timing.
pub(crate) fn new_session(name: String, timing: &Timing, checks: Checks) -> CreateSession {
    CreateSession {
        name,
        ttl: timing.session_ttl,
        lock_delay: timing.lock_delay,
        checks,
        patience: (timing.lease() / 2).min(LONGEST_CREATION),
    }
}
