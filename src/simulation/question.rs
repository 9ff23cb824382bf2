//! What a process asks of Consul, in bytes, and what the bytes that come back
//! tell it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    consul::{
        fact::{
            Created, Destroyed, Expect, Fence, Locked, Raised, Released, Renewed, Seen, SessionId,
            SessionSeen, SessionsSeen, StaleFences, Trouble,
        },
        reply::{self, Answer},
        request::{self, Lock, NewSession, Release, ReleaseHow},
        wire::{WireReply, WireRequest},
    },
    holding::slot::Slot,
    protocol::{Ticket, lock, session},
};

/// For how long one blocking read waits.
pub(super) const WAIT: Duration = Duration::from_secs(30);

/// One question, with what is needed to read its answer.
#[derive(Clone)]
pub(super) enum Question {
    Create { ticket: Ticket, new: NewSession },
    Renew { ticket: Ticket, session: SessionId },
    Destroy { ticket: Ticket, session: SessionId, raised: bool },
    DeleteFence { ticket: Ticket, session: SessionId },
    Raise { ticket: Ticket, session: SessionId, from: Fence },
    ReadFence { ticket: Ticket, session: SessionId },
    List { ticket: Ticket, name: String },
    ListFences { ticket: Ticket },
    DeleteFences { stale: Vec<(SessionId, u64)> },
    Lock { slot: Arc<Slot>, ticket: Ticket, ask: Lock },
    Release { slot: Arc<Slot>, ticket: Ticket, ask: Release },
    Read { slot: Arc<Slot>, ticket: Ticket },
    AskSession { slot: Arc<Slot>, ticket: Ticket, session: SessionId },
    Watch { slot: Arc<Slot>, number: u64, after: u64 },
}

/// What an answer is to the process that asked.
pub(super) enum Fact {
    Session(session::Event),
    /// The session is destroyed; its fence entry is next.
    DeleteFence(Ticket, SessionId),
    /// Of a question whose answer nobody waits for.
    Nothing,
    Lock(Arc<Slot>, lock::Event),
    Watched {
        slot: Arc<Slot>,
        number: u64,
        seen: Seen,
    },
}

fn fence_key(session: &SessionId) -> String {
    format!(".dsync/{session}")
}

impl Question {
    pub(super) fn request(&self) -> WireRequest {
        match self {
            Self::Create { new, .. } => request::create_session(new),
            Self::Renew { session, .. } => request::renew_session(session),
            Self::Destroy { session, .. } => request::destroy_session(session),
            Self::DeleteFence { session, .. } => request::delete_fence(&fence_key(session)),
            Self::Raise { session, from, .. } => {
                request::raise_fence(&fence_key(session), session, *from)
            }
            Self::ReadFence { session, .. } => request::read(&fence_key(session)),
            Self::List { .. } => request::list_sessions(),
            Self::ListFences { .. } => request::list(".dsync/", None, WAIT),
            Self::DeleteFences { stale } => {
                let stale: Vec<_> =
                    stale.iter().map(|(session, index)| (fence_key(session), *index)).collect();
                request::delete_stale_fences(&stale)
            }
            Self::Lock { ask, .. } => {
                request::lock(ask.key.as_str(), &fence_key(&ask.session), ask)
            }
            Self::Release { ask, .. } => request::release(ask.key.as_str(), ask),
            Self::Read { slot, .. } => request::read(slot.key.as_str()),
            Self::AskSession { session, .. } => request::session_info(session),
            Self::Watch { slot, after, .. } => request::watch(slot.key.as_str(), *after, WAIT),
        }
    }

    /// How long the answer may take, where one request may take `limit`.
    pub(super) fn limit(&self, limit: Duration) -> Duration {
        match self {
            Self::Watch { .. } => WAIT + WAIT / 16 + limit,
            _ => limit,
        }
    }

    /// Whether it touches the fence entry of a session.
    pub(super) fn touches_fence(&self) -> bool {
        match self {
            Self::Lock { ask, .. } => ask.fence != Fence::Unusable,
            Self::Raise { .. }
            | Self::ReadFence { .. }
            | Self::DeleteFence { .. }
            | Self::DeleteFences { .. } => true,
            _ => false,
        }
    }

    /// Whether a copy of it that arrives after this answer can still lock the key:
    /// one that was given back and deleted, or that was closed by a lock-delay.
    pub(super) fn outlives(&self, answer: &WireReply) -> bool {
        let Self::Lock { ask, .. } = self else { return false };
        let refusal = String::from_utf8_lossy(&answer.body);
        ask.expect == Expect::Missing || refusal.contains("lock delay")
    }

    /// What came back, or did not.
    pub(super) fn read(self, result: Result<&WireReply, Trouble>) -> Fact {
        macro_rules! told {
            ($unknown:path, |$answer:ident| $told:expr) => {
                match result {
                    Ok(reply) => {
                        let $answer = Answer::new(reply, None);
                        $told
                    }
                    Err(trouble) => $unknown(trouble),
                }
            };
        }
        match self {
            Self::Create { ticket, .. } => {
                let answer = told!(Created::Unknown, |it| reply::created(it));
                Fact::Session(session::Event::Created { ticket, answer })
            }
            Self::Renew { ticket, session } => {
                let answer = told!(Renewed::Unknown, |it| reply::renewed(it, &session));
                Fact::Session(session::Event::Renewed { ticket, answer })
            }
            Self::Destroy { ticket, session, raised } => {
                let answer = told!(Destroyed::Unknown, |it| reply::destroyed(it));
                if raised && answer == Destroyed::Done {
                    return Fact::DeleteFence(ticket, session);
                }
                Fact::Session(session::Event::Destroyed { ticket, answer })
            }
            Self::DeleteFence { ticket, session } => {
                let key = fence_key(&session);
                let answer = told!(Destroyed::Unknown, |it| reply::fence_deleted(it, &key));
                Fact::Session(session::Event::Destroyed { ticket, answer })
            }
            Self::Raise { ticket, session, from } => {
                let key = fence_key(&session);
                let answer = told!(Raised::Unknown, |it| reply::raised(it, &key, &session, from));
                Fact::Session(session::Event::Raised { ticket, answer })
            }
            Self::ReadFence { ticket, session } => {
                let key = fence_key(&session);
                let answer = told!(Seen::Unknown, |it| reply::seen(it, &key));
                Fact::Session(session::Event::FenceRead { ticket, answer })
            }
            Self::List { ticket, name } => {
                let answer = told!(SessionsSeen::Unknown, |it| reply::sessions_of(it, &name));
                Fact::Session(session::Event::Listed { ticket, answer })
            }
            Self::ListFences { ticket } => {
                let answer = told!(StaleFences::Unknown, |it| reply::stale_fences(it, ".dsync/"));
                Fact::Session(session::Event::StaleFences { ticket, answer })
            }
            Self::DeleteFences { .. } => Fact::Nothing,
            Self::Lock { slot, ticket, ask } => {
                let (key, fence_key) = (ask.key.as_str(), fence_key(&ask.session));
                let answer = told!(Locked::unanswered, |it| {
                    reply::locked(it, key, &fence_key, &ask.session, ask.fence)
                });
                Fact::Lock(slot, lock::Event::Locked { ticket, answer })
            }
            Self::Release { slot, ticket, ask } => {
                let keeps = matches!(ask.how, ReleaseHow::Keep { .. });
                let answer = told!(Released::Unknown, |it| {
                    reply::released(it, ask.key.as_str(), &ask.session, keeps)
                });
                Fact::Lock(slot, lock::Event::Released { ticket, answer })
            }
            Self::Read { slot, ticket } => {
                let answer = told!(Seen::Unknown, |it| reply::seen(it, slot.key.as_str()));
                Fact::Lock(slot, lock::Event::Read { ticket, answer })
            }
            Self::AskSession { slot, ticket, session } => {
                let answer = told!(SessionSeen::Unknown, |it| reply::session_seen(it, &session));
                Fact::Lock(slot, lock::Event::SessionSeen { ticket, answer })
            }
            Self::Watch { slot, number, .. } => {
                let seen = told!(Seen::Unknown, |it| reply::seen(it, slot.key.as_str()));
                Fact::Watched { slot, number, seen }
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
            Self::Renew { session, .. } => write!(f, "renew {}", short(session)),
            Self::Destroy { session, .. } => write!(f, "destroy {}", short(session)),
            Self::DeleteFence { session, .. } => write!(f, "delete fence of {}", short(session)),
            Self::Raise { session, from, .. } => {
                write!(f, "raise fence of {} from {from:?}", short(session))
            }
            Self::ReadFence { session, .. } => write!(f, "read fence of {}", short(session)),
            Self::List { name, .. } => write!(f, "list sessions of {name}"),
            Self::ListFences { .. } => f.write_str("list fences"),
            Self::DeleteFences { stale } => write!(f, "delete stale fences {stale:?}"),
            Self::Lock { ask, .. } => {
                let (session, fence, expect) = (short(&ask.session), ask.fence, ask.expect);
                write!(f, "lock {} for {session}, {fence:?}, expecting {expect:?}", ask.key)
            }
            Self::Release { ask, .. } => {
                write!(f, "release {} of {} at {}", ask.key, short(&ask.session), ask.index)
            }
            Self::Read { slot, .. } => write!(f, "read {}", slot.key),
            Self::AskSession { session, .. } => write!(f, "ask for session {}", short(session)),
            Self::Watch { slot, after, .. } => write!(f, "watch {} after {after}", slot.key),
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
            Self::Watched { slot, seen, .. } => write!(f, "{} Watched {seen:?}", slot.key),
        }
    }
}
