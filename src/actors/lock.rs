//! Drives one key's slot: takes its turns and carries out the steps they return.

use std::{rc::Rc, sync::Arc};

use actix::prelude::*;
use futures::stream;
use tracing::{Instrument, Span};

use super::{
    death_notice::DeathNotice,
    messages::{ForWarden, Retire, Watch},
    publishing::publish,
    question::{ask_detached, unanswered},
    settings::Settings,
};
use crate::{
    consul::{
        ask::{Lock, LockAll, Release},
        client::Consul,
        fact::{Locked, Released, Seen, SessionSeen, Written},
    },
    holding::{
        slot::Slot,
        slots::Slots,
        turn::{Cause, Step, Style},
        watchers,
    },
    key::Key,
    messages::subscribers::Hub,
    protocol::{Ticket, contest::News, lock::Event, warden},
    status::kin,
    token::FencingToken,
};

/// State shared by all lock actors.
///
/// Behind an `Rc`: a recipient takes about a hundred bytes, and there can be ten
/// thousand locks.
pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    pub(super) slots: Arc<Slots>,
    pub(super) consul: Consul,
    pub(super) settings: Rc<Settings>,
    pub(super) style: Style,
    pub(super) warden: Rc<Recipient<ForWarden>>,
    pub(super) watch: Recipient<Watch>,
}

pub(super) struct LockActor {
    slot: Arc<Slot>,
    shared: Rc<Shared>,
    timer: Option<SpawnHandle>,
    /// Open while the process owns the key.
    hold: Span,
    /// This actor replaces one that died.
    recovering: bool,
    death_notice: DeathNotice<ForWarden>,
}

/// The slot has input to read.
struct Poked;

impl LockActor {
    /// Creates the actor that the warden knows as number `worker`.
    pub(super) fn new(slot: Arc<Slot>, shared: Rc<Shared>, worker: u64, recovering: bool) -> Self {
        let died = warden::Event::LockDied { key: slot.key.clone(), worker };
        let death_notice = DeathNotice::new(shared.warden.clone(), ForWarden(died));
        Self { slot, shared, timer: None, hold: Span::none(), recovering, death_notice }
    }

    fn turn(&mut self, cause: Cause, ctx: &mut Context<Self>) {
        let (slot, shared) = (self.slot.clone(), self.shared.clone());
        let now = shared.settings.clock.now();
        slot.turn(now, cause, &shared.style, &mut |step| self.carry_out(step));
        self.arm(ctx);
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        if let Some(old) = self.timer.take() {
            ctx.cancel_future(old);
        }
        self.timer = self.slot.next_wakeup().map(|at| {
            ctx.run_later(at.since(self.shared.settings.clock.now()), |actor, ctx| {
                actor.timer = None;
                actor.turn(Cause::Timer, ctx);
            })
        });
    }

    fn carry_out(&mut self, step: Step) {
        let key = &self.slot.key;
        let limit = self.shared.settings.timing.request_timeout();
        match step {
            Step::Publish(news) => {
                let ends = matches!(news, News::Lost { .. } | News::Released { .. });
                if let News::LeaderChanged { leader: Some(leader) } = &news {
                    kin::log_difference(key, &self.slot.callers.campaign_value(), leader);
                }
                self.hold.in_scope(|| publish(&self.shared.hub, key, news));
                if ends {
                    self.hold = Span::none();
                }
            }
            Step::Won { session, token, .. } => {
                if let Some(token) = token {
                    self.hold = tracing::debug_span!("hold", %key, %token, %session);
                }
            }
            Step::Lock { ticket, ask } => self.lock(ticket, ask),
            Step::LockAll { tickets, ask } => self.lock_all(&tickets, ask),
            Step::Release { ticket, ask } => self.release(ticket, ask),
            Step::Write { ticket, ask } => {
                let answer = Written::Unknown(unanswered());
                let lost = Event::Written { ticket, answer };
                let consul = self.shared.consul.clone();
                ask_detached(lost, self.reporting(), async move {
                    let answer = consul.ask(&ask, limit).await;
                    Event::Written { ticket, answer }
                });
            }
            Step::Read { ticket, ask } => {
                let lost = Event::Read { ticket, answer: Seen::Unknown(unanswered()) };
                let consul = self.shared.consul.clone();
                ask_detached(lost, self.reporting(), async move {
                    let answer = consul.ask(&ask, limit).await;
                    Event::Read { ticket, answer }
                });
            }
            Step::AskSession { ticket, ask } => {
                let answer = SessionSeen::Unknown(unanswered());
                let lost = Event::SessionSeen { ticket, answer };
                let consul = self.shared.consul.clone();
                ask_detached(lost, self.reporting(), async move {
                    let answer = consul.ask(&ask, limit).await;
                    Event::SessionSeen { ticket, answer }
                });
            }
            Step::Watch { ticket, after, held } => {
                let slot = self.slot.clone();
                self.shared.watch.do_send(Watch(watchers::Watch { slot, after, ticket, held }));
            }
            Step::Request(request) => self.send_to_warden(warden::Event::Asked(request)),
            Step::Unreleased(error) => {
                tracing::warn!(%key, %error, "lock release failed; retrying");
                let what = format!("release failed: {error}");
                self.shared.settings.journal.incident(Some(key), what);
            }
            Step::Overwrote(text) => {
                let text: String =
                    String::from_utf8_lossy(&text).escape_debug().take(200).collect();
                tracing::warn!(%key, %text, "lock replaced a value written over it");
                let what = format!("the lock replaced a value written over it: {text}");
                self.shared.settings.journal.incident(Some(key), what);
            }
            Step::Failed(error) => {
                tracing::warn!(%key, %error, "lock request failed");
                self.shared.settings.journal.incident(Some(key), error.to_string());
            }
            Step::Idle => self.send_to_warden(warden::Event::Idle(key.clone())),
        }
    }

    fn send_to_warden(&self, event: warden::Event) {
        self.shared.warden.do_send(ForWarden(event));
    }

    /// Reports an answer to the slot, even after this actor has stopped.
    fn reporting(&self) -> impl FnMut(Event) + 'static {
        let slot = self.slot.clone();
        move |answer| slot.report(answer)
    }

    fn lock(&self, ticket: Ticket, ask: Lock) {
        let limit = self.shared.settings.timing.request_timeout();
        let (key, session, token) = (&ask.key, &ask.session, tracing::field::Empty);
        let span = tracing::debug_span!("acquire", %key, %session, token);
        let lost = Event::Locked { ticket, answer: Locked::Unknown(unanswered()) };
        let (consul, era) = (self.shared.consul.clone(), self.shared.slots.era());
        let question = async move {
            let answer = consul.lock(&ask, limit).await;
            if let Locked::At(index) = answer
                && let Some(token) = FencingToken::new(index, 0)
            {
                Span::current().record("token", tracing::field::display(token.in_era(era)));
            }
            Event::Locked { ticket, answer }
        };
        ask_detached(lost, self.reporting(), question.instrument(span));
    }

    fn lock_all(&self, tickets: &[(Key, Ticket)], ask: LockAll) {
        let limit = self.shared.settings.timing.request_timeout();
        let slot_of = |(key, ticket): &(Key, Ticket)| (self.shared.slots.get(key), *ticket);
        let asking: Vec<_> = tickets.iter().map(slot_of).collect();
        let tell = move |answers: Vec<Locked>| {
            for ((slot, ticket), answer) in asking.iter().zip(answers) {
                if let Some(slot) = slot {
                    slot.report(Event::Locked { ticket: *ticket, answer });
                }
            }
        };
        let lost = vec![Locked::Unknown(unanswered()); tickets.len()];
        let span = tracing::debug_span!("acquire all", keys = tickets.len());
        let consul = self.shared.consul.clone();
        let question = async move { consul.ask(&ask, limit).await };
        ask_detached(lost, tell, question.instrument(span));
    }

    fn release(&self, ticket: Ticket, ask: Release) {
        let limit = self.shared.settings.timing.request_timeout();
        let (key, session, index) = (&ask.key, &ask.session, ask.index);
        let span = tracing::debug_span!("release", %key, %session, index);
        let lost = Event::Released { ticket, answer: Released::Unknown(unanswered()) };
        let consul = self.shared.consul.clone();
        let question = async move {
            let answer = consul.ask(&ask, limit).await;
            Event::Released { ticket, answer }
        };
        ask_detached(lost, self.reporting(), question.instrument(span));
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
        self.turn(if self.recovering { Cause::Recovery } else { Cause::Poke }, ctx);
    }
}

impl StreamHandler<Poked> for LockActor {
    fn handle(&mut self, _: Poked, ctx: &mut Context<Self>) {
        self.turn(Cause::Poke, ctx);
    }
}

impl Handler<Retire> for LockActor {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Context<Self>) {
        self.death_notice.withdraw();
        ctx.stop();
    }
}
