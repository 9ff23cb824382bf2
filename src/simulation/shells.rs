//! What the actors of a process do with the effects of its machines, as the shells
//! in `src/actors/` do.

use std::sync::Arc;

use super::{
    process::{LINGER, Out, Process, Read, Watch},
    question::{Question, WAIT},
};
use crate::{
    config::{HASHICORP_LOCK_FLAGS, Retention},
    consul::{
        ask::{
            self, CreateSession, DeleteStaleFences, DestroySession, ListSessions, Lock, RaiseFence,
            Release, ReleaseHow, RenewSession, SessionInfo,
        },
        fact::Seen,
        session_name::session_name,
    },
    holding::{slot::Slot, tenure::Tenure},
    key::Key,
    ownership::{Holder, LossReason},
    protocol::{
        contest::News,
        lock,
        mutation::Mutation,
        queue,
        session::{self, Notice, Request},
    },
};

impl Process {
    // The session actor and, for its news, the supervisor.

    fn name(&self) -> String {
        session_name(&format!("p{}", self.id), self.life as u32)
    }

    pub(super) fn feed_session(&mut self, event: session::Event) {
        let mut effects = Vec::new();
        self.session.handle(self.clock.now(), event, &mut effects);
        for effect in effects {
            self.perform_session(effect);
        }
    }

    fn perform_session(&mut self, effect: session::Effect) {
        use session::Effect;
        let question = match effect {
            Effect::Create { ticket } => {
                let ask = CreateSession {
                    name: self.name(),
                    ttl: self.timing.session_ttl,
                    lock_delay: self.timing.lock_delay,
                    node_checks: self.node_checks.clone(),
                };
                Question::Create { ticket, ask }
            }
            Effect::Renew { ticket, session } => {
                Question::Renew { ticket, ask: RenewSession { session } }
            }
            Effect::Destroy { ticket, session, raised } => {
                Question::Destroy { ticket, ask: DestroySession { session }, raised }
            }
            Effect::Raise { ticket, session, from } => {
                Question::Raise { ticket, ask: RaiseFence { session, from } }
            }
            Effect::ReadFence { ticket, session } => Question::ReadFence { ticket, session },
            Effect::List { ticket } => {
                Question::List { ticket, ask: ListSessions { name: self.name() } }
            }
            Effect::ListFences { ticket } => Question::ListFences { ticket },
            Effect::DeleteFences { stale } => {
                Question::DeleteFences { ask: DeleteStaleFences { stale } }
            }
            Effect::Notify(Notice::Opened(view)) => {
                self.out.push(Out::Opened(view.id.clone()));
                self.view = Some(view.clone());
                return self.tell_all(|| lock::Event::Session(Notice::Opened(view.clone())));
            }
            Effect::Notify(Notice::Fenced { generation, fence }) => {
                if let Some(view) = self.view.as_mut().filter(|v| v.generation == generation) {
                    view.fence = fence;
                }
                return self
                    .tell_all(|| lock::Event::Session(Notice::Fenced { generation, fence }));
            }
            Effect::Notify(Notice::Closed { generation, reason }) => {
                return self.close(generation, reason);
            }
            Effect::Notify(Notice::Troubled(error)) => {
                if self.view.is_none() {
                    self.tell_all(|| lock::Event::Session(Notice::Troubled(error.clone())));
                }
                return;
            }
            Effect::Recovered | Effect::Stopped => return,
        };
        self.out.push(Out::Ask(question));
    }

    fn close(&mut self, generation: u64, reason: LossReason) {
        self.out.push(Out::Closed(reason));
        self.view = None;
        for slot in self.all_slots() {
            slot.callers.lost(reason);
            self.tell(&slot);
            slot.report(lock::Event::Session(Notice::Closed { generation, reason }));
        }
        self.feed_session(session::Event::Told { generation });
    }

    fn tell_all(&self, fact: impl Fn() -> lock::Event) {
        self.all_slots().iter().for_each(|slot| slot.report(fact()));
    }

    /// In an order that repeats.
    fn all_slots(&self) -> Vec<Arc<Slot>> {
        let mut slots = self.slots.all();
        slots.sort_by(|a, b| a.key.cmp(&b.key));
        slots
    }

    fn tell(&mut self, slot: &Arc<Slot>) -> queue::Demand {
        let mut told = Vec::new();
        let demand = slot.callers.report(|news| told.push(news));
        for news in told {
            self.publish(slot.key.clone(), news);
        }
        demand
    }

    fn publish(&mut self, key: Key, news: News) {
        self.out.push(match news {
            News::Acquired { token } => Out::Acquired { key, token },
            News::Lost { token, reason } => {
                let still_valid = self
                    .callers
                    .values()
                    .filter(|caller| caller.key == key)
                    .filter_map(|caller| caller.lease.as_ref())
                    .any(|lease| lease.token() == token && lease.would_be_valid());
                Out::Lost { key, token, reason, still_valid }
            }
            News::Released { .. } if Mutation::EndUnpublished.is_chosen() => return,
            News::Released { token } => Out::Freed { key, token },
            News::Elected { token } => {
                if let Some(term) = self.tenures.get(&key).and_then(Tenure::term) {
                    self.taken.insert(key.clone(), term);
                }
                Out::Elected { key, token }
            }
            News::Deposed { token, reason } => {
                let still_valid = self.terms(&key).any(|(of, valid)| valid && of == token);
                Out::Deposed { key, token, reason, still_valid }
            }
            News::LeaderChanged { leader } => {
                Out::LeaderChanged { key, leader: leader.map(|leader| leader.session) }
            }
        });
    }

    pub(super) fn sweep(&mut self) {
        self.sweep_at = None;
        for key in std::mem::take(&mut self.idle) {
            if self.slots.reap(&key) {
                self.working.retain(|slot| slot.key != key);
            }
        }
        let Some(generation) = self.suspect else { return };
        if self.view.as_ref().is_none_or(|view| view.generation != generation) {
            self.suspect = None;
        } else if self.all_slots().iter().any(|slot| slot.machine().owns()) {
            self.sweep_later();
        } else {
            self.suspect = None;
            let reason = LossReason::SessionGone;
            self.feed_session(session::Event::Asked(Request::Distrust { generation, reason }));
        }
    }

    fn sweep_later(&mut self) {
        self.sweep_at.get_or_insert(self.clock.now() + LINGER);
    }

    // The lock actor.

    pub(super) fn turn(&mut self, slot: &Arc<Slot>) {
        while let Some(fact) = slot.next_fact() {
            self.feed_lock(slot, fact);
        }
        let demand = self.tell(slot);
        self.feed_lock(slot, lock::Event::Demand(demand));
        if slot.is_idle() {
            self.idle.insert(slot.key.clone());
            self.sweep_later();
        }
    }

    pub(super) fn feed_lock(&mut self, slot: &Arc<Slot>, event: lock::Event) {
        let mut effects = Vec::new();
        slot.machine().handle(self.clock.now(), event, &mut effects);
        for effect in effects {
            self.perform_lock(slot.clone(), effect);
        }
    }

    fn perform_lock(&mut self, slot: Arc<Slot>, effect: lock::Effect) {
        use lock::Effect;
        let key = slot.key.clone();
        let question = match effect {
            Effect::Lock { ticket, session, fence, expect } => {
                let value = slot.value().to_vec();
                let ask = Lock { key, session, value, flags: HASHICORP_LOCK_FLAGS, fence, expect };
                Question::Lock { slot, ticket, ask }
            }
            Effect::Release { ticket, session, index, found } => {
                let how = match self.retention {
                    Retention::Delete => ReleaseHow::Delete,
                    Retention::Keep => ReleaseHow::Keep {
                        value: found.unwrap_or_else(|| slot.written().to_vec()),
                        flags: HASHICORP_LOCK_FLAGS,
                    },
                };
                Question::Release { slot, ticket, ask: Release { key, session, index, how } }
            }
            Effect::Read { ticket } => Question::Read { slot, ticket },
            Effect::AskSession { ticket, session } => {
                Question::AskSession { slot, ticket, ask: SessionInfo { session } }
            }
            Effect::Watch { ticket, after } => {
                return self.watch(Watch { slot, after, ticket });
            }
            Effect::Request(Request::Suspect { generation }) => {
                self.suspect = Some(generation);
                return self.sweep_later();
            }
            Effect::Request(request) => {
                return self.feed_session(session::Event::Asked(request));
            }
            Effect::Own { index, session, cell } => {
                let holder = Box::new(Holder {
                    session: session.to_string(),
                    session_name: None,
                    node: None,
                    value: slot.written(),
                    since: index,
                });
                let token = slot.callers.owned(index, cell, holder);
                self.out.push(Out::Won { key, index, session, token });
                self.tell(&slot);
                return;
            }
            Effect::Revoke => return slot.callers.revoke(),
            Effect::Lost { reason } => {
                slot.callers.lost(reason);
                self.tell(&slot);
                return;
            }
            Effect::Released => {
                slot.callers.released();
                self.tell(&slot);
                return;
            }
            Effect::Unreleased(_) | Effect::Overwrote(_) => return,
            Effect::Free => return slot.callers.free(),
            Effect::Obstructed(obstacle) => return slot.callers.obstructed(obstacle),
            Effect::Failed(obstacle) => return slot.callers.failed(&obstacle),
        };
        self.out.push(Out::Ask(question));
    }

    // The watch actor, as a read of its own for each key; which reads carry many
    // keys is simulated beside that machine.

    fn watch(&mut self, watch: Watch) {
        let fits = |read: &&mut Read| watch.after >= read.after;
        if let Some(read) = self.reads.get_mut(&watch.slot.key).filter(fits) {
            read.watch = watch;
            return;
        }
        self.read(watch);
    }

    fn read(&mut self, watch: Watch) {
        self.numbers += 1;
        let (number, after, slot) = (self.numbers, watch.after, watch.slot.clone());
        self.reads.insert(slot.key.clone(), Read { number, after, watch });
        let ask = ask::Watch { key: slot.key.clone(), after: Some(after), wait: WAIT };
        self.out.push(Out::Ask(Question::Watch { slot, number, ask }));
    }

    pub(super) fn watched(&mut self, slot: &Arc<Slot>, number: u64, seen: Seen) {
        if self.reads.get(&slot.key).is_none_or(|read| read.number != number) {
            return;
        }
        let Some(Read { after, watch, .. }) = self.reads.remove(&slot.key) else { return };
        let has_news = match &seen {
            Seen::Found { index, .. } | Seen::Missing { index } => {
                *index > watch.after || *index < after
            }
            Seen::Denied(_) | Seen::Unknown(_) => true,
        };
        if has_news || watch.after == after {
            watch.slot.report(lock::Event::Watched { ticket: watch.ticket, answer: seen });
        } else {
            self.read(watch);
        }
    }
}
