//! One turn of a lock, which the actor of a slot takes whenever it wakes.
//!
//! The turn reads the facts that were reported to the slot, publishes the news of the key,
//! passes the callers' demand to the machine, and applies the machine's effects on the
//! callers. It returns the other effects as [`Step`]s, to be carried out in order.

#[cfg(test)]
use super::fuse;
use super::{callers::Content, slot::Slot};
use crate::{
    clock::Moment,
    config::Retention,
    consul::{
        ask::{Lock, Read, Release, ReleaseHow, SessionInfo, What, Write},
        fact::{SessionId, Trouble, Written},
    },
    error::Error,
    ownership::Holder,
    protocol::{
        Ticket,
        contest::News,
        lock::{Effect, Event},
        queue::Demand,
        session::Request,
    },
    token::FencingToken,
};

/// The settings that all locks of one runtime share.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub(crate) service: String,
    pub(crate) flags: u64,
    pub(crate) retention: Retention,
}

/// An action that a turn leaves to its caller.
#[derive(Debug)]
pub(crate) enum Step {
    Publish(News),
    /// The process owns the key. `token` belongs to the caller that took it; without one
    /// it is `None`.
    Won {
        #[cfg_attr(not(test), expect(dead_code, reason = "the simulation checks it"))]
        index: u64,
        session: SessionId,
        token: Option<FencingToken>,
    },
    Lock {
        ticket: Ticket,
        ask: Lock,
    },
    Release {
        ticket: Ticket,
        ask: Release,
    },
    Write {
        ticket: Ticket,
        ask: Write,
    },
    Read {
        ticket: Ticket,
        ask: Read,
    },
    AskSession {
        ticket: Ticket,
        ask: SessionInfo,
    },
    /// Report when the key's index passes `after`. Keys that are `held` come after keys
    /// with waiting callers.
    Watch {
        ticket: Ticket,
        after: u64,
        held: bool,
    },
    Request(Request),
    /// Consul refuses the release, for this reason; the release is repeated.
    Unreleased(Error),
    /// The lock replaces this value, with which somebody had overwritten an earlier lock.
    Overwrote(Vec<u8>),
    /// The key cannot be acquired, for this reason; the callers were informed.
    Failed(Error),
    /// Nothing is left to do for the key.
    Idle,
}

impl Slot {
    /// Takes a turn: handles everything since the last one.
    pub(crate) fn turn(&self, now: Moment, style: &Style, step: &mut impl FnMut(Step)) {
        while let Some(fact) = self.next_fact() {
            self.feed(now, fact, style, step);
        }
        let demand = self.publish(step);
        self.feed(now, Event::Demand(demand), style, step);
        if self.is_idle() {
            step(Step::Idle);
        }
    }

    /// Takes a turn at its due time.
    pub(crate) fn tick(&self, now: Moment, style: &Style, step: &mut impl FnMut(Step)) {
        self.feed(now, Event::Tick, style, step);
        self.turn(now, style, step);
    }

    /// Takes the first turn after the slot's actor died.
    pub(crate) fn recover(&self, now: Moment, style: &Style, step: &mut impl FnMut(Step)) {
        let mut effects = Vec::new();
        let floor = self.callers.last_index();
        self.machine().recover(now, floor, &mut effects);
        self.apply_all(effects, style, step);
        // Its outcome may have died with the actor.
        let dropped = Trouble::Broken("the lock's actor failed".into());
        self.callers.wrote(Written::Unknown(dropped));
        self.turn(now, style, step);
    }

    /// When [`tick`](Self::tick) is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        let election = self.callers.next_wakeup();
        self.machine().next_wakeup().into_iter().chain(election).min()
    }

    fn feed(&self, now: Moment, event: Event, style: &Style, step: &mut impl FnMut(Step)) {
        let mut effects = Vec::new();
        self.machine().handle(now, event, &mut effects);
        self.apply_all(effects, style, step);
    }

    fn apply_all(&self, effects: Vec<Effect>, style: &Style, step: &mut impl FnMut(Step)) {
        for effect in effects {
            #[cfg(test)]
            fuse::burn();
            self.apply(effect, style, step);
        }
        #[cfg(test)]
        fuse::burn();
    }

    fn apply(&self, effect: Effect, style: &Style, step: &mut impl FnMut(Step)) {
        let key = self.key.clone();
        match effect {
            Effect::Lock { ticket, session, fence, expect } => {
                let (value, flags) = (self.value().to_vec(), style.flags);
                let ask = Lock { key, session, value, flags, fence, expect };
                step(Step::Lock { ticket, ask });
            }
            Effect::Release { ticket, session, index, found } => {
                let how = match style.retention {
                    Retention::Delete => ReleaseHow::Delete,
                    Retention::Keep => ReleaseHow::Keep {
                        value: found.unwrap_or_else(|| self.written().to_vec()),
                        flags: style.flags,
                    },
                };
                step(Step::Release { ticket, ask: Release { key, session, index, how } });
            }
            Effect::Read { ticket } => step(Step::Read { ticket, ask: Read::Key(key) }),
            Effect::AskSession { ticket, session } => {
                step(Step::AskSession { ticket, ask: SessionInfo { session } });
            }
            Effect::Watch { ticket, after } => {
                let held = self.machine().owns();
                step(Step::Watch { ticket, after, held });
            }
            Effect::Request(request) => step(Step::Request(request)),
            Effect::Own { index, session, cell } => {
                let holder = Box::new(Holder {
                    session: session.to_string(),
                    session_name: Some(style.service.clone()),
                    node: None,
                    value: self.written(),
                    since: index,
                });
                let token = self.callers.owned(index, cell, holder);
                step(Step::Won { index, session, token });
                self.publish(step);
            }
            Effect::Revoke => self.callers.revoke(),
            Effect::Lost { reason } => {
                self.callers.lost(reason);
                self.publish(step);
            }
            Effect::Released => {
                self.callers.released();
                self.publish(step);
            }
            Effect::Write { ticket, session, index } => match self.callers.begin_write() {
                Some(content) => {
                    let what = match content {
                        Content::Value(value) => What::Value { value, flags: style.flags },
                        Content::Entries(entries) => What::Entries(entries),
                    };
                    step(Step::Write { ticket, ask: Write { key, session, index, what } });
                }
                None => {
                    let why = Trouble::Broken("the lease has ended".into());
                    self.report(Event::Written { ticket, answer: Written::Failed(why) });
                }
            },
            Effect::Wrote(outcome) => {
                if let Some(value) = self.callers.wrote(outcome) {
                    self.set_written(value);
                }
            }
            Effect::Unreleased(error) => step(Step::Unreleased(error)),
            Effect::Overwrote(text) => step(Step::Overwrote(text)),
            Effect::Free => self.callers.free(),
            Effect::Obstructed(obstacle) => self.callers.obstructed(obstacle),
            Effect::Failed(obstacle) => {
                self.callers.failed(&obstacle);
                step(Step::Failed(obstacle.into_error(&key)));
            }
        }
    }

    /// Publishes the news of the key and returns its callers' demand.
    fn publish(&self, step: &mut impl FnMut(Step)) -> Demand {
        self.callers.report(|news| step(Step::Publish(news)))
    }
}
