//! Works one key's slot: feeds the machine, does what it says.

use std::{rc::Rc, sync::Arc};

use actix::prelude::*;
use futures::stream;
use tracing::{Instrument, Span};

use super::{
    obituary::Obituary,
    question::{ask_beside, unanswered},
    session::SessionPlea,
    supervisor::{Died, Idle, Settings},
    watch::Watch,
};
use crate::{
    config::Retention,
    consul::{
        ask::{Lock, Read, Release, ReleaseHow, SessionInfo},
        client::Consul,
        fact::{Locked, Released, Seen, SessionSeen},
    },
    key::Key,
    messages::{Deposed, Elected, LeaderChanged, LockAcquired, LockLost, LockReleased},
    ownership::Holder,
    protocol::contest::News,
    protocol::{
        lock::{Effect, Event},
        queue::Demand,
    },
    status::journal::Journal,
    token::FencingToken,
};
use crate::{holding::slot::Slot, messages::subscribers::Hub};

/// What the actors of all locks have in common, and to whom they turn; none of
/// those is known as an actor.
///
/// There is one of it: a recipient takes some hundred bytes, and there can be
/// ten thousand locks.
pub(super) struct Surroundings {
    pub(super) hub: Arc<Hub>,
    pub(super) consul: Consul,
    pub(super) settings: Rc<Settings>,
    pub(super) session: Recipient<SessionPlea>,
    pub(super) watch: Recipient<Watch>,
    pub(super) idle: Recipient<Idle>,
    pub(super) died: Rc<Recipient<Died>>,
}

pub(super) struct LockActor {
    slot: Arc<Slot>,
    around: Rc<Surroundings>,
    timer: Option<SpawnHandle>,
    /// Lasts as long as the process owns the key.
    hold: Span,
    /// The actor before this one died.
    recovering: bool,
    obituary: Obituary<Died>,
}

/// The slot has something to read.
struct Poked;

/// Ends the actor: its slot was reaped.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Retire;

impl LockActor {
    pub(super) fn new(slot: Arc<Slot>, around: Rc<Surroundings>, recovering: bool) -> Self {
        let obituary = Obituary::new(around.died.clone(), Died::Lock(slot.key.clone()));
        Self { slot, around, timer: None, hold: Span::none(), recovering, obituary }
    }

    /// Takes in everything that has happened since the last turn.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        while let Some(fact) = self.slot.next_fact() {
            self.feed(fact);
        }
        let demand = self.tell();
        self.feed(Event::Demand(demand));
        self.arm(ctx);
        if self.slot.is_idle() {
            self.around.idle.do_send(Idle(self.slot.key.clone()));
        }
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        if let Some(old) = self.timer.take() {
            ctx.cancel_future(old);
        }
        let election = self.slot.callers.next_wakeup();
        let next = self.slot.machine().next_wakeup().into_iter().chain(election).min();
        self.timer = next.map(|at| {
            ctx.run_later(at.since(self.around.settings.clock.now()), |actor, ctx| {
                actor.timer = None;
                actor.feed(Event::Tick);
                actor.turn(ctx);
            })
        });
    }

    /// Tells what has happened to the key, and learns what its callers want.
    fn tell(&mut self) -> Demand {
        let Self { slot, around, hold, .. } = self;
        slot.callers.report(|news| {
            let ends = matches!(news, News::Lost { .. } | News::Released { .. });
            hold.in_scope(|| publish(&around.hub, &slot.key, news));
            if ends {
                *hold = Span::none();
            }
        })
    }

    fn feed(&mut self, event: Event) {
        let mut effects = Vec::new();
        let now = self.around.settings.clock.now();
        self.slot.machine().handle(now, event, &mut effects);
        for effect in effects {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        let (slot, consul) = (self.slot.clone(), self.around.consul.clone());
        let key = slot.key.clone();
        let limit = self.around.settings.timing.request_timeout();
        let tell = {
            let slot = slot.clone();
            move |answer| slot.report(answer)
        };
        match effect {
            Effect::Lock { ticket, session, fence, expect } => {
                let value = slot.value().to_vec();
                let token = tracing::field::Empty;
                let span = tracing::debug_span!("acquire", %key, %session, token);
                let ask =
                    Lock { key, session, value, flags: self.around.settings.flags, fence, expect };
                let lost = Event::Locked { ticket, answer: Locked::Unknown(unanswered()) };
                let question = async move {
                    let answer = consul.lock(&ask, limit).await;
                    if let Locked::At(index) = answer
                        && let Some(token) = FencingToken::new(index, 0)
                    {
                        Span::current().record("token", tracing::field::display(token));
                    }
                    Event::Locked { ticket, answer }
                };
                ask_beside(lost, tell, question.instrument(span));
            }
            Effect::Release { ticket, session, index, found } => {
                let how = match self.around.settings.retention {
                    Retention::Delete => ReleaseHow::Delete,
                    Retention::Keep => ReleaseHow::Keep {
                        value: found.unwrap_or_else(|| slot.written().to_vec()),
                        flags: self.around.settings.flags,
                    },
                };
                let span = tracing::debug_span!("release", %key, %session, index);
                let ask = Release { key, session, index, how };
                let lost = Event::Released { ticket, answer: Released::Unknown(unanswered()) };
                let question = async move {
                    let answer = consul.ask(&ask, limit).await;
                    Event::Released { ticket, answer }
                };
                ask_beside(lost, tell, question.instrument(span));
            }
            Effect::Read { ticket } => {
                let lost = Event::Read { ticket, answer: Seen::Unknown(unanswered()) };
                ask_beside(lost, tell, async move {
                    let answer = consul.ask(&Read::Key(key), limit).await;
                    Event::Read { ticket, answer }
                });
            }
            Effect::AskSession { ticket, session } => {
                let answer = SessionSeen::Unknown(unanswered());
                ask_beside(Event::SessionSeen { ticket, answer }, tell, async move {
                    let answer = consul.ask(&SessionInfo { session }, limit).await;
                    Event::SessionSeen { ticket, answer }
                });
            }
            Effect::Watch { ticket, after } => {
                let held = self.slot.machine().owns();
                self.around.watch.do_send(Watch { slot, after, ticket, held });
            }
            Effect::Request(request) => {
                self.around.session.do_send(SessionPlea::Asked(request));
            }
            Effect::Overwrote(text) => {
                let text: String =
                    String::from_utf8_lossy(&text).escape_debug().take(200).collect();
                tracing::warn!(%key, %text, "the lock replaces what somebody wrote over it");
                let what = format!("the lock replaced what somebody wrote over it: {text}");
                self.around.settings.journal.incident(Some(&key), what);
            }
            Effect::Own { index, session, cell } => {
                let holder = Box::new(Holder {
                    session: session.to_string(),
                    session_name: Some(self.around.settings.service.clone()),
                    node: None,
                    value: slot.written(),
                    since: index,
                });
                if let Some(token) = slot.callers.owned(index, cell, holder) {
                    self.hold = tracing::debug_span!("hold", %key, %token, %session);
                }
                self.tell();
            }
            Effect::Revoke => slot.callers.revoke(),
            Effect::Lost { reason } => {
                slot.callers.lost(reason);
                self.tell();
            }
            Effect::Released => {
                slot.callers.released();
                self.tell();
            }
            Effect::Unreleased(error) => {
                tracing::warn!(%key, %error, "the lock cannot be given back; trying again");
                self.around
                    .settings
                    .journal
                    .incident(Some(&key), format!("not given back: {error}"));
            }
            Effect::Free => slot.callers.free(),
            Effect::Obstructed(obstacle) => slot.callers.obstructed(obstacle),
            Effect::Failed(obstacle) => {
                slot.callers.failed(&obstacle);
                let error = obstacle.into_error(&key);
                tracing::warn!(%key, %error, "lock cannot be had");
                self.around.settings.journal.incident(Some(&key), error.to_string());
            }
        }
    }
}

/// Tells what has happened to a key, whoever is at hand to do so.
pub(super) fn tell(hub: &Hub, slot: &Slot) {
    slot.callers.report(|news| publish(hub, &slot.key, news));
}

/// For those who ask later.
fn note(journal: &Journal, key: &Key, news: &News) {
    let telemetry = journal.telemetry();
    match news {
        News::Acquired { .. } => telemetry.acquired(key),
        News::Lost { reason, .. } => {
            telemetry.lost(key, *reason);
            journal.incident(Some(key), format!("lost: {reason}"));
        }
        News::Elected { .. } => telemetry.leads(key, true),
        News::Deposed { .. } => telemetry.leads(key, false),
        News::Released { .. } | News::LeaderChanged { .. } => {}
    }
}

fn publish(hub: &Hub, key: &Key, news: News) {
    let key = key.clone();
    note(hub.journal(), &key, &news);
    match news {
        News::Acquired { token } => {
            tracing::debug!(%key, %token, "lock acquired");
            hub.publish(&LockAcquired { key, token });
        }
        News::Lost { token, reason } => {
            tracing::warn!(%key, %token, %reason, "lock lost");
            hub.publish(&LockLost { key, token, reason });
        }
        News::Released { token } => {
            tracing::debug!(%key, %token, "lock released");
            hub.publish(&LockReleased { key, token });
        }
        News::Elected { token } => {
            tracing::info!(%key, %token, "elected");
            hub.publish(&Elected { key, token });
        }
        News::Deposed { token, reason } => {
            tracing::info!(%key, %token, %reason, "deposed");
            hub.publish(&Deposed { key, token, reason });
        }
        News::LeaderChanged { leader } => {
            let leader = leader.map(|leader| *leader);
            let session = leader.as_ref().map(|leader| leader.session.as_str());
            tracing::debug!(%key, session, "leader changed");
            hub.publish(&LeaderChanged { key, leader });
        }
    }
}

impl Actor for LockActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let slot = self.slot.clone();
        ctx.add_stream(stream::unfold(slot, |slot| async {
            slot.callers.poked().await;
            Some((Poked, slot))
        }));
        if self.recovering {
            let mut effects = Vec::new();
            let (now, floor) = (self.around.settings.clock.now(), self.slot.callers.last_index());
            self.slot.machine().recover(now, floor, &mut effects);
            effects.into_iter().for_each(|effect| self.perform(effect));
        }
        self.turn(ctx);
    }
}

impl StreamHandler<Poked> for LockActor {
    fn handle(&mut self, _: Poked, ctx: &mut Context<Self>) {
        self.turn(ctx);
    }
}

impl Handler<Retire> for LockActor {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Context<Self>) {
        self.obituary.withdraw();
        ctx.stop();
    }
}
