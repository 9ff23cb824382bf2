//! Drives the session machine, which keeps the process's Consul session.

use std::{rc::Rc, time::Duration};

use actix::prelude::*;

use super::{
    death_notice::DeathNotice,
    messages::{ForSession, ForWarden},
    question::{self, dropped},
    settings::Settings,
    timer::{Timed, Timer},
};
use crate::{
    consul::{
        ask::{Ask, CreateSession, RenewSession},
        client::Consul,
        fact::Renewed,
    },
    holding::{
        asker::Asker,
        keeping::{Order, SessionQuestion, new_session},
    },
    logs,
    ownership::LossReason,
    protocol::{
        Ticket,
        session::{Event, LeftBehind, Notice, Session},
        warden,
    },
};

pub(super) struct SessionActor {
    machine: Session,
    consul: Consul,
    settings: Rc<Settings>,
    warden: Recipient<ForWarden>,
    /// Creates its sessions.
    new: CreateSession,
    /// The pause before it begins.
    pause: Duration,
    timer: Timer,
    death_notice: DeathNotice<ForWarden>,
}

/// The longest timer. Timers can fire late after the host was suspended, so they
/// are short and check the clock.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

impl SessionActor {
    /// Creates the actor. It numbers its sessions from `generation + 1`, and destroys what an
    /// actor that died left behind. It begins after `pause`.
    pub(super) fn new(
        consul: Consul,
        settings: Rc<Settings>,
        warden: Recipient<ForWarden>,
        generation: u64,
        left_behind: LeftBehind,
        pause: Duration,
    ) -> Self {
        let (now, timing) = (settings.clock.now(), settings.timing.clone());
        let new = new_session(settings.session_name.clone(), &timing, settings.checks.clone());
        let machine = Session::new(now, timing, generation, left_behind);
        let death_notice = DeathNotice::new(warden.clone(), ForWarden(warden::Event::SessionDied));
        let timer = Timer::default();
        Self { machine, consul, settings, warden, new, pause, timer, death_notice }
    }

    fn feed(&mut self, event: Event, ctx: &mut Context<Self>) {
        let now = self.settings.clock.now();
        let mut effects = Vec::new();
        self.machine.handle(now, event, &mut effects);
        for effect in effects {
            self.carry_out(Order::of(effect, &self.new), ctx);
        }
        self.settings.journal.set_session(self.machine.lent());
        let wakeup = self.machine.next_wakeup();
        self.arm(now, wakeup.map(|at| at.min(now + LOOK_PERIOD)), ctx);
    }

    fn carry_out(&mut self, order: Order, ctx: &mut Context<Self>) {
        match order {
            Order::Ask(question) => self.ask_consul(question, ctx),
            Order::Notify(notice) => {
                self.warden.do_send(ForWarden(warden::Event::Notified(notice.clone())));
                self.record_notice(&notice);
            }
            Order::Blocked(why) => {
                if self.settings.journal.set_blocked(Some(&why)) {
                    logs::error!(%why, "no locks until an operator acts");
                }
            }
            Order::Recovered => self.recovered(),
            Order::Stopped { left } => {
                self.death_notice.withdraw();
                self.warden.do_send(ForWarden(warden::Event::SessionStopped { left }));
                ctx.stop();
            }
        }
    }

    fn ask_consul(&self, question: SessionQuestion, ctx: &Context<Self>) {
        let limit = self.settings.timing.request_timeout();
        if let SessionQuestion::DeleteFences { ask } = &question {
            let count = ask.stale.len();
            logs::debug!(count, "deleting fence entries of ended sessions");
        }
        match question {
            SessionQuestion::Renew { ticket, ask } => self.renew(ticket, ask, limit, ctx),
            question => question.put(Sender { consul: &self.consul, limit, to: ctx.address() }),
        }
    }

    fn renew(&self, ticket: Ticket, ask: RenewSession, limit: Duration, ctx: &Context<Self>) {
        let (consul, settings) = (self.consul.clone(), self.settings.clone());
        let (actor, view) = (ctx.address(), self.machine.view().cloned());
        let span = logs::span!("renew", session = %ask.session);
        let question = async move {
            let asked_at = settings.clock.now();
            let answer = consul.ask(&ask, limit).await;
            let (now, telemetry) = (settings.clock.now(), settings.journal.telemetry());
            match (&answer, view) {
                (Renewed::Alive { .. }, Some(view)) => {
                    telemetry.renewed(now.since(asked_at), view.cell.remaining(now));
                }
                _ => telemetry.renewal_failed(),
            }
            answer
        };
        let tell = move |answer| actor.do_send(ForSession(Event::Renewed { ticket, answer }));
        logs::within(&span, || question::run(Renewed::Unknown(dropped()), tell, question));
    }

    /// Logs a notice and records it in the journal.
    fn record_notice(&self, notice: &Notice) {
        match notice {
            Notice::Opened(view) => {
                self.recovered();
                logs::info!(session = %view.id, "session opened");
            }
            Notice::Fenced { .. } => {}
            Notice::Closed { reason, .. } => {
                logs::warn!(%reason, "session lost; creating a new one");
                self.settings.journal.add_incident(None, format!("session lost: {reason}"));
            }
            Notice::Troubled(error) => {
                if self.settings.journal.set_trouble(Some(error.to_string())) {
                    logs::warn!(%error, "session request failed; retrying");
                } else {
                    logs::debug!(%error, "session request failed again; retrying");
                }
                self.settings.journal.add_incident(None, error.to_string());
            }
        }
    }

    fn recovered(&self) {
        self.settings.journal.set_blocked(None);
        if self.settings.journal.set_trouble(None) {
            logs::info!("Consul answers again");
        }
    }
}

/// Asks Consul; the actor gets the event of the answer.
struct Sender<'a> {
    consul: &'a Consul,
    limit: Duration,
    to: Addr<SessionActor>,
}

impl Asker<Option<Event>> for Sender<'_> {
    type Asked = ();

    fn ask<A: Ask<Fact: 'static> + 'static>(
        self,
        ask: A,
        event: impl Fn(A::Fact) -> Option<Event> + 'static,
    ) {
        let Self { consul, limit, to } = self;
        let tell = move |answer| {
            if let Some(event) = event(answer) {
                to.do_send(ForSession(event));
            }
        };
        question::ask(consul, ask, limit, tell);
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.pause.is_zero() {
            return self.feed(Event::Start, ctx);
        }
        // Its mailbox waits as well.
        let pause = fut::wrap_future(tokio::time::sleep(self.pause));
        ctx.wait(pause.map(|(), actor: &mut Self, ctx| {
            if actor.warden.connected() {
                actor.feed(Event::Start, ctx);
            } else {
                ctx.stop();
            }
        }));
    }
}

impl Timed for SessionActor {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        if self.warden.connected() {
            self.feed(Event::Tick, ctx);
        } else {
            // The supervisor is gone, so nothing uses the session.
            ctx.stop();
        }
    }
}

impl Handler<ForSession> for SessionActor {
    type Result = ();

    fn handle(&mut self, ForSession(event): ForSession, ctx: &mut Context<Self>) {
        self.feed(event, ctx);
    }
}

impl Drop for SessionActor {
    /// Ends every ownership under the session, because nothing renews it now.
    fn drop(&mut self) {
        self.settings.journal.set_session(None);
        if let Some(view) = self.machine.view() {
            view.cell.latch(LossReason::RuntimeFailed);
        }
    }
}
