//! Drives one key's slot: takes its turns and carries out their orders.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use futures::{FutureExt, stream};

use super::{
    busy_wait::BusyWait,
    death_notice::DeathNotice,
    messages::{ForWarden, Retire, Watch},
    publishing::publish,
    question::{self, dropped},
    settings::Settings,
    timer::{Timed, Timer},
};
use crate::{
    consul::{
        ask::{Ask, JoinSemaphore, LeaveSemaphore, ListNow, Lock, LockAll, Release},
        client::Consul,
        fact::{Listed, Locked, SessionId, Trouble},
    },
    escape::{escaped, shortened},
    holding::{
        asker::Asker,
        slot::Slot,
        slot_question::SlotQuestion,
        slots::Slots,
        turn::{Cause, Order, Style},
        watchers,
    },
    key::Key,
    logs::{self, GuardedSpan},
    messages::subscribers::Hub,
    protocol::{Ticket, contest::News, lock::Event, permit, warden},
    status::leader_program,
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
    pub(super) busy_wait: Rc<BusyWait>,
}

pub(super) struct LockActor {
    slot: Arc<Slot>,
    shared: Rc<Shared>,
    timer: Timer,
    /// Open while the process owns the key.
    hold: GuardedSpan,
    /// This actor replaces one that died, and begins after this pause.
    recovers: Option<Duration>,
    death_notice: DeathNotice<ForWarden>,
}

/// The slot has input to read.
struct Poked;

impl LockActor {
    /// Creates the actor that the warden knows as number `worker`.
    /// It replaces one that died if `recovers`, and begins after that pause.
    pub(super) fn new(
        slot: Arc<Slot>,
        shared: Rc<Shared>,
        worker: u64,
        recovers: Option<Duration>,
    ) -> Self {
        let died = warden::Event::LockDied { key: slot.key.clone(), worker };
        let death_notice = DeathNotice::new(shared.warden.clone(), ForWarden(died));
        let (timer, hold) = (Timer::default(), GuardedSpan::none());
        Self { slot, shared, timer, hold, recovers, death_notice }
    }

    /// Takes the first turn, and then those that the slot asks for.
    fn begin(&mut self, cause: Cause, ctx: &mut Context<Self>) {
        let slot = self.slot.clone();
        ctx.add_stream(stream::unfold(slot, |slot| async {
            slot.callers.poked().await;
            Some((Poked, slot))
        }));
        self.turn(cause, ctx);
    }

    fn turn(&mut self, cause: Cause, ctx: &mut Context<Self>) {
        let (slot, shared) = (self.slot.clone(), self.shared.clone());
        let now = shared.settings.clock.now();
        slot.turn(now, cause, &shared.style, &mut |order| self.carry_out(order));
        self.arm(now, slot.next_wakeup(), ctx);
    }

    fn carry_out(&mut self, order: Order) {
        let key = &self.slot.key;
        match order {
            Order::Publish(news) => {
                publish(&self.shared.settings.journal, &self.shared.hub, key, &news, &self.hold);
                if let News::LeaderChanged { leader: Some(leader) } = &news {
                    leader_program::log_difference(
                        key,
                        &self.slot.callers.campaign_value(),
                        leader,
                    );
                }
                if let News::Lost { .. } | News::Released { .. } = news {
                    self.hold = GuardedSpan::none();
                }
            }
            Order::Won { session, token, .. } => {
                if let Some(token) = token {
                    self.hold = logs::span!("hold", %key, %token, %session);
                }
            }
            Order::Lock { ticket, ask } => self.lock(ticket, ask),
            Order::LockAll { tickets, ask } => self.lock_all(&tickets, ask),
            Order::Ask(question) => self.ask(question),
            Order::Watch { ticket, after, holder, held } => {
                let slot = self.slot.clone();
                let watch = watchers::Watch { slot, after, holder, ticket, held };
                self.shared.watch.do_send(Watch(watch));
            }
            Order::Request(request) => self.send_to_warden(warden::Event::Asked(request)),
            Order::Unreleased(error) => {
                logs::warn!(%key, %error, "lock release failed; retrying");
                let what = format!("release failed: {error}");
                self.shared.settings.journal.add_incident(Some(key), what);
            }
            Order::Overwrote(text) => {
                let text = shortened(&String::from_utf8_lossy(&text), 200);
                let text = escaped(&text);
                logs::warn!(%key, %text, "lock replaced a value written over it");
                let what = format!("the lock replaced a value written over it: {text}");
                self.shared.settings.journal.add_incident(Some(key), what);
            }
            Order::Failed(error) => {
                logs::warn!(%key, %error, "lock request failed");
                self.shared.settings.journal.add_incident(Some(key), error.to_string());
            }
            Order::Idle => self.send_to_warden(warden::Event::Idle(key.clone())),
        }
    }

    fn send_to_warden(&self, event: warden::Event) {
        self.shared.warden.do_send(ForWarden(event));
    }

    fn limit(&self) -> Duration {
        self.shared.settings.timing.request_timeout()
    }

    fn ask(&self, question: SlotQuestion) {
        let key = &self.slot.key;
        let span = match &question {
            SlotQuestion::Release { ask: Release { session, index, .. }, .. }
            | SlotQuestion::Leave { ask: LeaveSemaphore { session, index, .. }, .. } => {
                logs::span!("release", %key, %session, index)
            }
            _ => GuardedSpan::current(),
        };
        logs::within(&span, || match question {
            SlotQuestion::Join { ticket, ask } => self.join(ticket, ask),
            SlotQuestion::ListHolders { ticket, ask } => self.list_holders(ticket, ask),
            question => question.put(self),
        });
    }

    fn lock(&self, ticket: Ticket, ask: Lock) {
        let span = attempt_span(&ask.key, &ask.session);
        let (consul, limit) = (self.shared.consul.clone(), self.limit());
        self.attempt(ticket, span, async move { consul.lock(&ask, limit).await });
    }

    fn join(&self, ticket: Ticket, ask: JoinSemaphore) {
        let span = attempt_span(&ask.key, &ask.session);
        let (consul, limit) = (self.shared.consul.clone(), self.limit());
        self.attempt(ticket, span, async move { consul.ask(&ask, limit).await });
    }

    /// Makes an attempt to lock the key, within `span`, which gets the token of the grant.
    fn attempt(
        &self,
        ticket: Ticket,
        span: GuardedSpan,
        locked: impl Future<Output = Locked> + 'static,
    ) {
        let (slot, era, noted) = (self.slot.clone(), self.shared.slots.era(), span.clone());
        let question = locked.inspect(move |answer| {
            if let Locked::At(index) = answer
                && let Some(token) = FencingToken::new(*index, 0)
            {
                noted.record("token", tracing::field::display(token.in_era(era)));
            }
        });
        let tell = move |answer| slot.report(Event::Locked { ticket, answer });
        logs::within(&span, || question::run(Locked::Unknown(dropped()), tell, question));
    }

    /// Lists a semaphore's entries. Without a listing, the permit of a dead holder is not freed,
    /// so a failure that only a person can mend is an incident.
    fn list_holders(&self, ticket: Ticket, ask: ListNow) {
        let (slot, settings) = (self.slot.clone(), self.shared.settings.clone());
        let tell = move |answer: Listed| {
            let why = match &answer {
                Listed::Denied(right) => Some(format!("the token lacks {right}")),
                Listed::NameRefused(why) => Some(why.clone()),
                Listed::Unknown(trouble @ Trouble::TooLong) => Some(trouble.to_string()),
                Listed::Found { .. } | Listed::Unknown(_) => None,
            };
            if let Some(why) = why {
                let what = format!("the semaphore's holders cannot be listed: {why}");
                settings.journal.add_incident(Some(&slot.key), what);
            }
            slot.report(permit::Event::Listed { ticket, answer });
        };
        question::ask(&self.shared.consul, ask, self.limit(), tell);
    }

    fn lock_all(&self, tickets: &[(Key, Ticket)], ask: LockAll) {
        let slot_of = |(key, ticket): &(Key, Ticket)| (self.shared.slots.get(key), *ticket);
        let asking: Vec<_> = tickets.iter().map(slot_of).collect();
        let tell = move |answers: Vec<Locked>| {
            for ((slot, ticket), answer) in asking.iter().zip(answers) {
                if let Some(slot) = slot {
                    slot.report(Event::Locked { ticket: *ticket, answer });
                }
            }
        };
        let span = logs::span!("acquire all", keys = tickets.len());
        logs::within(&span, || question::ask(&self.shared.consul, ask, self.limit(), tell));
    }
}

impl Asker<permit::Event> for &LockActor {
    type Asked = ();

    /// The slot gets the event of the answer, even after this actor has stopped.
    fn ask<A: Ask<Fact: 'static> + 'static>(
        self,
        ask: A,
        event: impl Fn(A::Fact) -> permit::Event + 'static,
    ) {
        let slot = self.slot.clone();
        let tell = move |answer| slot.report(event(answer));
        question::ask(&self.shared.consul, ask, self.limit(), tell);
    }
}

fn attempt_span(key: &Key, session: &SessionId) -> GuardedSpan {
    let token = tracing::field::Empty;
    logs::span!("acquire", %key, %session, token)
}

impl Actor for LockActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        match self.recovers {
            None => self.begin(Cause::Poke, ctx),
            Some(Duration::ZERO) => self.begin(Cause::Recovery, ctx),
            Some(pause) => {
                ctx.wait(fut::wrap_future(tokio::time::sleep(pause)));
                // Spawned, so that a `Retire` that arrived during the pause is handled first.
                let begins = fut::wrap_future(async {});
                ctx.spawn(begins.map(|(), actor: &mut Self, ctx| {
                    actor.begin(Cause::Recovery, ctx);
                }));
            }
        }
    }
}

impl Timed for LockActor {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        self.turn(Cause::Timer, ctx);
    }
}

impl StreamHandler<Poked> for LockActor {
    fn handle(&mut self, _: Poked, ctx: &mut Context<Self>) {
        self.shared.busy_wait.note(Instant::now());
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
