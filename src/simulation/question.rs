//! A process's requests to Consul, and the machine that gets each answer.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    consul::{
        Answer,
        ask::{
            Ask, CreateSession, DeleteFence, DeleteStaleFences, DestroySession, Keyspace, List,
            ListSessions, ListStaleFences, Lock, LockAll, RaiseFence, Read, Release, RenewSession,
            SessionInfo, Watch,
        },
        fact::{Destroyed, Expect, Fence, Locked, SessionId, Trouble},
        wire::{WireReply, WireRequest},
    },
    holding::slot::Slot,
    protocol::{Ticket, lock, session, watch},
};

/// One request, with what is needed to route its answer.
#[derive(Clone)]
pub(super) enum Question {
    Create { ticket: Ticket, ask: CreateSession },
    Renew { ticket: Ticket, ask: RenewSession },
    Destroy { ticket: Ticket, ask: DestroySession, raised: bool },
    DeleteFence { ticket: Ticket, ask: DeleteFence },
    Raise { ticket: Ticket, ask: RaiseFence },
    ReadFence { ticket: Ticket, session: SessionId },
    List { ticket: Ticket, ask: ListSessions },
    ListFences { ticket: Ticket },
    DeleteFences { ask: DeleteStaleFences },
    Lock { slot: Arc<Slot>, ticket: Ticket, ask: Lock },
    LockAll { slots: Vec<(Arc<Slot>, Ticket)>, ask: LockAll },
    Release { slot: Arc<Slot>, ticket: Ticket, ask: Release },
    Read { slot: Arc<Slot>, ticket: Ticket },
    AskSession { slot: Arc<Slot>, ticket: Ticket, ask: SessionInfo },
    Watch { read: Ticket, ask: Watch },
    Prefix { read: Ticket, ask: List },
}

/// An answer, addressed to a machine.
pub(super) enum Fact {
    Session(session::Event),
    /// The session is destroyed; delete its fence entry next.
    DeleteFence(Ticket, SessionId),
    /// The request expects no answer.
    Nothing,
    Lock(Arc<Slot>, lock::Event),
    Locks(Vec<(Arc<Slot>, lock::Event)>),
    Watch(watch::Event),
}

/// Evaluates `$does` for any kind of question.
macro_rules! of_any {
    ($question:expr, |$ask:ident| $does:expr) => {
        match $question {
            Question::Create { ask: $ask, .. } => $does,
            Question::Renew { ask: $ask, .. } => $does,
            Question::Destroy { ask: $ask, .. } => $does,
            Question::DeleteFence { ask: $ask, .. } => $does,
            Question::Raise { ask: $ask, .. } => $does,
            Question::ReadFence { session, .. } => {
                let $ask = &Read::Fence(session.clone());
                $does
            }
            Question::List { ask: $ask, .. } => $does,
            Question::ListFences { .. } => {
                let $ask = &ListStaleFences;
                $does
            }
            Question::DeleteFences { ask: $ask } => $does,
            Question::Lock { ask: $ask, .. } => $does,
            Question::LockAll { ask: $ask, .. } => $does,
            Question::Release { ask: $ask, .. } => $does,
            Question::Read { slot, .. } => {
                let $ask = &Read::Key(slot.key.clone());
                $does
            }
            Question::AskSession { ask: $ask, .. } => $does,
            Question::Watch { ask: $ask, .. } => $does,
            Question::Prefix { ask: $ask, .. } => $does,
        }
    };
}

/// The fact that a reply, or its absence, proves.
fn concluded<A: Ask>(ask: &A, result: Result<&WireReply, Trouble>) -> A::Fact {
    match result {
        Ok(reply) => ask.read(&Keyspace::default(), Answer::new(reply, None)),
        Err(trouble) => ask.unanswered(trouble),
    }
}

impl Question {
    pub(super) fn request(&self) -> WireRequest {
        of_any!(self, |ask| ask.request(&Keyspace::default()))
    }

    /// The time limit of the answer if a single request's limit is `limit`.
    pub(super) fn limit(&self, limit: Duration) -> Duration {
        of_any!(self, |ask| ask.limit(limit))
    }

    /// Whether it accesses a session's fence entry.
    pub(super) fn touches_fence(&self) -> bool {
        match self {
            Self::Lock { .. } | Self::LockAll { .. } => {
                self.locks().iter().any(|ask| ask.fence != Fence::Unusable)
            }
            Self::Raise { .. }
            | Self::ReadFence { .. }
            | Self::DeleteFence { .. }
            | Self::DeleteFences { .. } => true,
            _ => false,
        }
    }

    /// The locks that it requests.
    pub(super) fn locks(&self) -> &[Lock] {
        match self {
            Self::Lock { ask, .. } => std::slice::from_ref(ask),
            Self::LockAll { ask, .. } => &ask.0,
            _ => &[],
        }
    }

    /// Whether a copy of it that arrives after this answer can still lock the key,
    /// because the key was released and deleted, or was closed by a lock-delay, or because
    /// another key of a set was at fault.
    pub(super) fn outlives(&self, answer: &WireReply) -> bool {
        if let Self::LockAll { .. } = self {
            return true;
        }
        let Self::Lock { ask, .. } = self else { return false };
        ask.expect == Expect::Missing || concluded(ask, Ok(answer)) == Locked::Delayed
    }

    /// Reads the answer and addresses it to its machine.
    pub(super) fn read(self, result: Result<&WireReply, Trouble>) -> Fact {
        match self {
            Self::Create { ticket, ask } => {
                let answer = concluded(&ask, result);
                Fact::Session(session::Event::Created { ticket, answer })
            }
            Self::Renew { ticket, ask } => {
                let answer = concluded(&ask, result);
                Fact::Session(session::Event::Renewed { ticket, answer })
            }
            Self::Destroy { ticket, ask, raised } => {
                let answer = concluded(&ask, result);
                if raised && answer == Destroyed::Done {
                    return Fact::DeleteFence(ticket, ask.session);
                }
                Fact::Session(session::Event::Destroyed { ticket, answer })
            }
            Self::DeleteFence { ticket, ask } => {
                let answer = concluded(&ask, result);
                Fact::Session(session::Event::Destroyed { ticket, answer })
            }
            Self::Raise { ticket, ask } => {
                let answer = concluded(&ask, result);
                Fact::Session(session::Event::Raised { ticket, answer })
            }
            Self::ReadFence { ticket, session } => {
                let answer = concluded(&Read::Fence(session), result);
                Fact::Session(session::Event::FenceRead { ticket, answer })
            }
            Self::List { ticket, ask } => {
                let answer = concluded(&ask, result);
                Fact::Session(session::Event::Listed { ticket, answer })
            }
            Self::ListFences { ticket } => {
                let answer = concluded(&ListStaleFences, result);
                Fact::Session(session::Event::StaleFences { ticket, answer })
            }
            Self::DeleteFences { .. } => Fact::Nothing,
            Self::Lock { slot, ticket, ask } => {
                let answer = concluded(&ask, result);
                Fact::Lock(slot, lock::Event::Locked { ticket, answer })
            }
            Self::LockAll { slots, ask } => {
                let answers = concluded(&ask, result);
                let to_each = slots.into_iter().zip(answers);
                let facts = to_each
                    .map(|((slot, ticket), answer)| (slot, lock::Event::Locked { ticket, answer }));
                Fact::Locks(facts.collect())
            }
            Self::Release { slot, ticket, ask } => {
                let answer = concluded(&ask, result);
                Fact::Lock(slot, lock::Event::Released { ticket, answer })
            }
            Self::Read { slot, ticket } => {
                let answer = concluded(&Read::Key(slot.key.clone()), result);
                Fact::Lock(slot, lock::Event::Read { ticket, answer })
            }
            Self::AskSession { slot, ticket, ask } => {
                let answer = concluded(&ask, result);
                Fact::Lock(slot, lock::Event::SessionSeen { ticket, answer })
            }
            Self::Watch { read, ask } => {
                let answer = concluded(&ask, result);
                Fact::Watch(watch::Event::Seen { read, answer })
            }
            Self::Prefix { read, ask } => {
                let answer = concluded(&ask, result);
                Fact::Watch(watch::Event::Listed { read, answer })
            }
        }
    }
}

/// The first part of a session's id.
pub(super) fn short(session: &SessionId) -> &str {
    session.as_str().get(..8).unwrap_or_default()
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { .. } => f.write_str("create session"),
            Self::Renew { ask, .. } => write!(f, "renew {}", short(&ask.session)),
            Self::Destroy { ask, .. } => write!(f, "destroy {}", short(&ask.session)),
            Self::DeleteFence { ask, .. } => {
                write!(f, "delete fence of {}", short(&ask.session))
            }
            Self::Raise { ask, .. } => {
                write!(f, "raise fence of {} from {:?}", short(&ask.session), ask.from)
            }
            Self::ReadFence { session, .. } => write!(f, "read fence of {}", short(session)),
            Self::List { ask, .. } => write!(f, "list sessions of {}", ask.name),
            Self::ListFences { .. } => f.write_str("list fences"),
            Self::DeleteFences { ask } => write!(f, "delete stale fences {:?}", ask.stale),
            Self::Lock { ask, .. } => {
                let (session, fence, expect) = (short(&ask.session), ask.fence, ask.expect);
                write!(f, "lock {} for {session}, {fence:?}, expecting {expect:?}", ask.key)
            }
            Self::LockAll { ask, .. } => {
                let keys: Vec<_> = ask.0.iter().map(|ask| (&ask.key, ask.expect)).collect();
                write!(f, "lock all of {keys:?}")
            }
            Self::Release { ask, .. } => {
                write!(f, "release {} of {} at {}", ask.key, short(&ask.session), ask.index)
            }
            Self::Read { slot, .. } => write!(f, "read {}", slot.key),
            Self::AskSession { ask, .. } => {
                write!(f, "ask for session {}", short(&ask.session))
            }
            Self::Watch { ask, .. } => write!(f, "watch {} after {:?}", ask.key, ask.after),
            Self::Prefix { ask, .. } => write!(f, "list {}* after {:?}", ask.prefix, ask.after),
        }
    }
}

impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(event) => event.fmt(f),
            Self::DeleteFence(_, session) => write!(f, "Destroyed {}", short(session)),
            Self::Nothing => f.write_str("nothing"),
            Self::Lock(slot, event) => write!(f, "{} {event:?}", slot.key),
            Self::Locks(events) => {
                let each = events.iter().map(|(slot, event)| format!("{} {event:?}", slot.key));
                write!(f, "{}", each.collect::<Vec<_>>().join("; "))
            }
            Self::Watch(event) => event.fmt(f),
        }
    }
}
