//! A process's requests to Consul, and the machine that gets each answer.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    consul::{
        Answer,
        ask::{Ask, Keyspace, List, Lock, LockAll, Locks, Read, Watch},
        fact::{Expect, Fence, Locked, SessionId, Trouble, Written},
        wire::{WireReply, WireRequest},
    },
    holding::{asker::Asker, keeping::SessionQuestion, slot::Slot, slot_question::SlotQuestion},
    key::Key,
    protocol::{Ticket, lock, permit, session, watch},
};

/// One request, with what is needed to route its answer.
#[derive(Clone)]
pub(super) enum Question {
    /// A question of the session.
    Session(SessionQuestion),
    /// The locks of one transaction, with those that wait for its answer.
    Lock {
        batch: u64,
        locks: Vec<(Lock, Waiter)>,
    },
    LockAll {
        slots: Vec<(Arc<Slot>, Ticket)>,
        ask: LockAll,
    },
    /// A question of a slot's machine.
    Slot(Arc<Slot>, SlotQuestion),
    Watch {
        read: Ticket,
        ask: Watch,
    },
    Prefix {
        read: Ticket,
        ask: List,
    },
}

/// The lock machine that waits for the answer to its lock.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) slot: Arc<Slot>,
    pub(super) ticket: Ticket,
}

impl Waiter {
    pub(super) fn report(self, answer: Locked) {
        self.slot.report(lock::Event::Locked { ticket: self.ticket, answer });
    }
}

/// An answer, addressed to a machine.
pub(super) enum Fact {
    Session(session::Event),
    /// The request expects no answer.
    Nothing,
    Slot(Arc<Slot>, permit::Event),
    /// The answers to the locks of a transaction.
    Locked {
        batch: u64,
        answers: Vec<(Waiter, Option<Locked>)>,
    },
    Locks(Vec<(Arc<Slot>, lock::Event)>),
    Watch(watch::Event),
}

/// Returns the request of a question, and the time limit of its answer if a single request's limit
/// is this.
struct Prepare(Duration);

impl Prepare {
    fn of(&self, ask: &impl Ask) -> (WireRequest, Duration) {
        (ask.request(&Keyspace::default()), ask.limit(self.0))
    }
}

impl<Event> Asker<Event> for Prepare {
    type Asked = (WireRequest, Duration);

    fn ask<A: Ask<Fact: 'static> + 'static>(
        self,
        ask: A,
        _: impl Fn(A::Fact) -> Event + 'static,
    ) -> (WireRequest, Duration) {
        self.of(&ask)
    }
}

/// Answers a question at once.
struct Conclude<'a>(Result<&'a WireReply, Trouble>);

impl<Event> Asker<Event> for Conclude<'_> {
    type Asked = Event;

    fn ask<A: Ask<Fact: 'static> + 'static>(
        self,
        ask: A,
        event: impl Fn(A::Fact) -> Event + 'static,
    ) -> Event {
        event(concluded(&ask, self.0))
    }
}

/// The fact that a reply, or its absence, proves.
fn concluded<A: Ask>(ask: &A, result: Result<&WireReply, Trouble>) -> A::Fact {
    match result {
        Ok(reply) => ask.read(&Keyspace::default(), Answer::new(reply, None)),
        Err(trouble) => ask.unanswered(trouble),
    }
}

impl Question {
    /// The request, and the time limit of the answer if a single request's limit is `limit`.
    pub(super) fn prepare(&self, limit: Duration) -> (WireRequest, Duration) {
        let prepare = Prepare(limit);
        match self {
            Self::Session(question) => question.clone().put(prepare),
            Self::Slot(_, question) => question.clone().put(prepare),
            Self::Lock { locks, .. } => {
                let locks: Vec<&Lock> = locks.iter().map(|(lock, _)| lock).collect();
                prepare.of(&Locks(&locks))
            }
            Self::LockAll { ask, .. } => prepare.of(ask),
            Self::Watch { ask, .. } => prepare.of(ask),
            Self::Prefix { ask, .. } => prepare.of(ask),
        }
    }

    /// Whether it accesses a session's fence entry.
    pub(super) fn touches_fence(&self) -> bool {
        match self {
            Self::Lock { .. } | Self::LockAll { .. } => {
                self.locks().any(|ask| ask.fence != Fence::Unusable)
            }
            Self::Slot(_, SlotQuestion::Join { ask, .. }) => ask.fence != Fence::Unusable,
            Self::Session(SessionQuestion::Raise { .. })
            | Self::Session(SessionQuestion::ReadFence { .. })
            | Self::Session(SessionQuestion::DeleteFence { .. })
            | Self::Session(SessionQuestion::DeleteFences { .. }) => true,
            _ => false,
        }
    }

    /// The locks that it requests.
    pub(super) fn locks(&self) -> impl Iterator<Item = &Lock> {
        let (alone, together): (&[_], &[_]) = match self {
            Self::Lock { locks, .. } => (locks, &[]),
            Self::LockAll { ask, .. } => (&[], &ask.0),
            _ => (&[], &[]),
        };
        alone.iter().map(|(lock, _)| lock).chain(together)
    }

    /// Whether it makes the current attempt of the key's machine. A lock in line can be of an
    /// ended session or of an actor that died.
    pub(super) fn contends_for(&self, key: &Key) -> bool {
        let is_current =
            |slot: &Slot, ticket: Ticket| slot.key == *key && slot.machine().tries(ticket);
        match self {
            Self::Lock { locks, .. } => {
                locks.iter().any(|(_, waiter)| is_current(&waiter.slot, waiter.ticket))
            }
            Self::LockAll { slots, .. } => {
                slots.iter().any(|(slot, ticket)| is_current(slot, *ticket))
            }
            Self::Slot(_, SlotQuestion::Join { ask, .. }) => ask.key == *key,
            _ => false,
        }
    }

    /// Whether it may lock a key or take a permit.
    pub(super) fn may_lock(&self) -> bool {
        self.locks().next().is_some() || matches!(self, Self::Slot(_, SlotQuestion::Join { .. }))
    }

    /// Whether a copy of it that arrives after this answer can still lock a key,
    /// because the key was released and deleted, was closed by a lock-delay, or belongs to
    /// a set of which another key was at fault, or because a right was missing; or can still
    /// write, because a right was missing or a lock-delay ran.
    pub(super) fn outlives(&self, answer: &WireReply) -> bool {
        let expects_none = match self {
            Self::LockAll { .. } => true,
            Self::Slot(_, SlotQuestion::Write { ask, .. }) => {
                let written = concluded(ask, Ok(answer));
                return matches!(written, Written::Denied(_) | Written::Failed(_));
            }
            Self::Slot(_, SlotQuestion::Join { ask, .. }) => ask.expect == Expect::Missing,
            _ => self.locks().any(|lock| lock.expect == Expect::Missing),
        };
        expects_none || self.is_put_off(answer)
    }

    /// Whether this answer lets its process rest although a copy can still lock the key: a
    /// lock-delay ran, or a right was missing.
    pub(super) fn is_put_off(&self, answer: &WireReply) -> bool {
        use Locked::{Delayed, Denied, FenceDenied};
        let is_put_off = |locked: &Locked| matches!(locked, Delayed | Denied(_) | FenceDenied(_));
        if let Self::Slot(_, SlotQuestion::Join { ask, .. }) = self {
            return is_put_off(&concluded(ask, Ok(answer)));
        }
        let locks: Vec<&Lock> = self.locks().collect();
        let answers = || concluded(&Locks(&locks), Ok(answer));
        !locks.is_empty() && answers().iter().flatten().any(is_put_off)
    }

    /// Reads the answer and addresses it to its machine.
    pub(super) fn read(self, result: Result<&WireReply, Trouble>) -> Fact {
        match self {
            Self::Session(question) => {
                question.put(Conclude(result)).map_or(Fact::Nothing, Fact::Session)
            }
            Self::Slot(slot, question) => Fact::Slot(slot, question.put(Conclude(result))),
            Self::Lock { batch, locks } => {
                let asks: Vec<&Lock> = locks.iter().map(|(lock, _)| lock).collect();
                let answers = concluded(&Locks(&asks), result);
                let waiters = locks.iter().map(|(_, waiter)| waiter.clone());
                Fact::Locked { batch, answers: waiters.zip(answers).collect() }
            }
            Self::LockAll { slots, ask } => {
                let answers = concluded(&ask, result);
                let to_each = slots.into_iter().zip(answers);
                let facts = to_each
                    .map(|((slot, ticket), answer)| (slot, lock::Event::Locked { ticket, answer }));
                Fact::Locks(facts.collect())
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
            Self::Session(SessionQuestion::Create { .. }) => f.write_str("create session"),
            Self::Session(SessionQuestion::Renew { ask, .. }) => {
                write!(f, "renew {}", short(&ask.session))
            }
            Self::Session(SessionQuestion::Destroy { ask, .. }) => {
                write!(f, "destroy {}", short(&ask.session))
            }
            Self::Session(SessionQuestion::DeleteFence { ask, .. }) => {
                write!(f, "delete fence of {}", short(&ask.session))
            }
            Self::Session(SessionQuestion::Raise { ask, .. }) => {
                write!(f, "raise fence of {} from {:?}", short(&ask.session), ask.from)
            }
            Self::Session(SessionQuestion::ReadFence { ask: Read::Fence(session), .. }) => {
                write!(f, "read fence of {}", short(session))
            }
            Self::Session(SessionQuestion::ReadFence { ask, .. }) => write!(f, "read {ask:?}"),
            Self::Session(SessionQuestion::List { ask, .. }) => {
                write!(f, "list sessions of {}", ask.name)
            }
            Self::Session(SessionQuestion::ListFences { .. }) => f.write_str("list fences"),
            Self::Session(SessionQuestion::DeleteFences { ask }) => {
                write!(f, "delete stale fences {:?}", ask.stale)
            }
            Self::Lock { locks, .. } => {
                for (place, (ask, _)) in locks.iter().enumerate() {
                    let (session, fence, expect) = (short(&ask.session), ask.fence, ask.expect);
                    let and = if place > 0 { ", and " } else { "" };
                    let key = &ask.key;
                    write!(f, "{and}lock {key} for {session}, {fence:?}, expecting {expect:?}")?;
                }
                Ok(())
            }
            Self::LockAll { ask, .. } => {
                let keys: Vec<_> = ask.0.iter().map(|ask| (&ask.key, ask.expect)).collect();
                write!(f, "lock all of {keys:?}")
            }
            Self::Slot(_, SlotQuestion::Release { ask, .. }) => {
                write!(f, "release {} of {} at {}", ask.key, short(&ask.session), ask.index)
            }
            Self::Slot(_, SlotQuestion::Join { ask, .. }) => {
                let (key, session, fence, expect) =
                    (&ask.key, short(&ask.session), ask.fence, ask.expect);
                write!(f, "join {key} for {session}, {fence:?}, expecting {expect:?}")
            }
            Self::Slot(_, SlotQuestion::Leave { ask, .. }) => {
                write!(f, "leave {} of {} at {}", ask.key, short(&ask.session), ask.index)
            }
            Self::Slot(slot, SlotQuestion::ListHolders { .. }) => {
                write!(f, "list the holders of {}", slot.key)
            }
            Self::Slot(_, SlotQuestion::Prune { ask, .. }) => {
                write!(f, "prune {} at {} of {:?}", ask.key, ask.index, ask.ended)
            }
            Self::Slot(_, SlotQuestion::Write { ask, .. }) => {
                let (key, session, index) = (&ask.key, short(&ask.session), ask.index);
                write!(f, "write under {key} of {session} at {index}: {:?}", ask.what)
            }
            Self::Slot(slot, SlotQuestion::Read { .. }) => write!(f, "read {}", slot.key),
            Self::Slot(_, SlotQuestion::AskSession { ask, .. }) => {
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
            Self::Nothing => f.write_str("nothing"),
            Self::Slot(slot, permit::Event::Lock(event)) => write!(f, "{} {event:?}", slot.key),
            Self::Slot(slot, event) => write!(f, "{} {event:?}", slot.key),
            Self::Locked { answers, .. } => {
                let answers = answers.iter().map(|(waiter, answer)| (&waiter.slot.key, answer));
                f.debug_map().entries(answers).finish()
            }
            Self::Locks(events) => {
                let each = events.iter().map(|(slot, event)| format!("{} {event:?}", slot.key));
                write!(f, "{}", each.collect::<Vec<_>>().join("; "))
            }
            Self::Watch(event) => event.fmt(f),
        }
    }
}
