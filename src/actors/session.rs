//! Drives the session machine, which keeps the process's Consul session.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    rc::Rc,
    time::Duration,
};

use actix::prelude::*;
use tracing::Instrument;

use super::{
    death_notice::DeathNotice,
    messages::{ForSession, ForWarden},
    question::{ask_detached, unanswered},
    settings::Settings,
};
use crate::{
    consul::{
        ask::{
            CreateSession, DeleteFence, DeleteStaleFences, DestroySession, ListSessions,
            ListStaleFences, RaiseFence, Read, RenewSession,
        },
        client::Consul,
        fact::{Created, Destroyed, Raised, Renewed, Seen, SessionId, SessionsSeen, StaleFences},
        session_name::session_name,
    },
    ownership::LossReason,
    protocol::{
        session::{Effect, Event, Notice, Session, SessionView},
        warden,
    },
};

pub(super) struct SessionActor {
    machine: Session,
    consul: Consul,
    settings: Rc<Settings>,
    warden: Recipient<ForWarden>,
    /// The name of its sessions in Consul, unique to this actor.
    name: String,
    timer: Option<SpawnHandle>,
    troubled: bool,
    death_notice: DeathNotice<ForWarden>,
}

/// The longest timer. Timers can fire late after the host was suspended, so they
/// are short and check the clock.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Cap on the minimum time limit of a session creation.
const LONGEST_CREATION: Duration = Duration::from_secs(2);

impl SessionActor {
    /// Creates the actor. It numbers its sessions from `generation + 1`, and destroys
    /// `left_behind`, the session of an actor that died.
    pub(super) fn new(
        consul: Consul,
        settings: Rc<Settings>,
        warden: Recipient<ForWarden>,
        generation: u64,
        left_behind: Option<&SessionView>,
    ) -> Self {
        let mut machine = Session::new(settings.timing.clone(), generation);
        if let Some(view) = left_behind {
            machine.doom(settings.clock.now(), view.id.clone(), true);
        }
        let death_notice = DeathNotice::new(warden.clone(), ForWarden(warden::Event::SessionDied));
        let instance = RandomState::new().build_hasher().finish() as u32;
        let name = session_name(&settings.service, instance);
        Self { machine, consul, settings, warden, name, timer: None, troubled: false, death_notice }
    }

    fn feed(&mut self, event: Event, ctx: &mut Context<Self>) {
        let now = self.settings.clock.now();
        let mut effects = Vec::new();
        self.machine.handle(now, event, &mut effects);
        for effect in effects {
            self.perform(effect, ctx);
        }
        self.settings.journal.session(self.machine.lent());
        if let Some(old) = self.timer.take() {
            ctx.cancel_future(old);
        }
        self.timer = self.machine.next_wakeup(now).map(|at| {
            let pause = at.since(now).min(LOOK_PERIOD);
            ctx.run_later(pause, |actor, ctx| {
                actor.timer = None;
                if actor.warden.connected() {
                    actor.feed(Event::Tick, ctx);
                } else {
                    // The supervisor is gone, so nothing uses the session.
                    ctx.stop();
                }
            })
        });
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let consul = self.consul.clone();
        let limit = self.settings.timing.request_timeout();
        let actor = ctx.address();
        let tell = move |event| actor.do_send(ForSession(event));
        match effect {
            Effect::Create { ticket } => {
                let new = CreateSession {
                    name: self.name.clone(),
                    ttl: self.settings.timing.session_ttl,
                    lock_delay: self.settings.timing.lock_delay,
                    checks: self.settings.checks.clone(),
                };
                // Consul creates the session even if its answer comes too late; such a session is
                // lost.
                let shortest = (self.settings.timing.lease() / 2).min(LONGEST_CREATION);
                ask_detached(
                    Event::Created { ticket, answer: Created::Unknown(unanswered()) },
                    tell,
                    async move {
                        let limit = limit.max(shortest);
                        let answer = consul.ask(&new, limit).await;
                        Event::Created { ticket, answer }
                    },
                );
            }
            Effect::Renew { ticket, session } => {
                let span = tracing::debug_span!("renew", %session);
                let lost = Event::Renewed { ticket, answer: Renewed::Unknown(unanswered()) };
                let (settings, view) = (self.settings.clone(), self.machine.view().cloned());
                let question = async move {
                    let asked_at = settings.clock.now();
                    let answer = consul.ask(&RenewSession { session }, limit).await;
                    let (now, telemetry) = (settings.clock.now(), settings.journal.telemetry());
                    match (&answer, view) {
                        (Renewed::Alive { .. }, Some(view)) => {
                            telemetry.renewed(now.since(asked_at), view.cell.remaining(now));
                        }
                        _ => telemetry.renewal_failed(),
                    }
                    Event::Renewed { ticket, answer }
                };
                ask_detached(lost, tell, question.instrument(span));
            }
            Effect::Destroy { ticket, session, raised } => ask_detached(
                Event::Destroyed { ticket, answer: Destroyed::Unknown(unanswered()) },
                tell,
                async move {
                    let answer = destroy(&consul, &session, raised, limit).await;
                    Event::Destroyed { ticket, answer }
                },
            ),
            Effect::Raise { ticket, session, from } => ask_detached(
                Event::Raised { ticket, answer: Raised::Unknown(unanswered()) },
                tell,
                async move {
                    let answer = consul.ask(&RaiseFence { session, from }, limit).await;
                    Event::Raised { ticket, answer }
                },
            ),
            Effect::ReadFence { ticket, session } => ask_detached(
                Event::FenceRead { ticket, answer: Seen::Unknown(unanswered()) },
                tell,
                async move {
                    let answer = consul.ask(&Read::Fence(session), limit).await;
                    Event::FenceRead { ticket, answer }
                },
            ),
            Effect::List { ticket } => {
                let ask = ListSessions { name: self.name.clone() };
                let answer = SessionsSeen::Unknown(unanswered());
                ask_detached(Event::Listed { ticket, answer }, tell, async move {
                    Event::Listed { ticket, answer: consul.ask(&ask, limit).await }
                });
            }
            Effect::ListFences { ticket } => {
                let answer = StaleFences::Unknown(unanswered());
                ask_detached(Event::StaleFences { ticket, answer }, tell, async move {
                    Event::StaleFences { ticket, answer: consul.ask(&ListStaleFences, limit).await }
                });
            }
            Effect::DeleteFences { stale } => {
                tracing::debug!(count = stale.len(), "deleting fence entries of ended sessions");
                actix_rt::spawn(
                    async move { consul.ask(&DeleteStaleFences { stale }, limit).await },
                );
            }
            Effect::Notify(notice) => {
                self.record_notice(&notice);
                self.warden.do_send(ForWarden(warden::Event::Notified(notice)));
            }
            Effect::Blocked(why) => {
                if self.settings.journal.blocked(Some(&why)) {
                    tracing::error!(%why, "no locks until an operator acts");
                }
            }
            Effect::Recovered => self.recovered(),
            Effect::Stopped => {
                self.death_notice.withdraw();
                self.warden.do_send(ForWarden(warden::Event::SessionStopped));
                ctx.stop();
            }
        }
    }

    /// Logs a notice and records it in the journal.
    fn record_notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Opened(view) => {
                self.recovered();
                tracing::info!(session = %view.id, "session opened");
            }
            Notice::Fenced { .. } => {}
            Notice::Closed { reason, .. } => {
                tracing::warn!(%reason, "session lost; creating a new one");
                self.settings.journal.incident(None, format!("session lost: {reason}"));
            }
            Notice::Troubled(error) => {
                if std::mem::replace(&mut self.troubled, true) {
                    tracing::debug!(%error, "session request failed again; retrying");
                } else {
                    tracing::warn!(%error, "session request failed; retrying");
                }
                self.settings.journal.trouble(Some(error.to_string()));
                self.settings.journal.incident(None, error.to_string());
            }
        }
    }

    fn recovered(&mut self) {
        self.settings.journal.trouble(None);
        self.settings.journal.blocked(None);
        if std::mem::take(&mut self.troubled) {
            tracing::info!("Consul answers again");
        }
    }
}

/// Destroys the session before its fence: the fence must remain while the session's
/// lock attempts can still arrive.
async fn destroy(consul: &Consul, session: &SessionId, raised: bool, limit: Duration) -> Destroyed {
    let destroyed = consul.ask(&DestroySession { session: session.clone() }, limit).await;
    if raised && destroyed == Destroyed::Done {
        return consul.ask(&DeleteFence { session: session.clone() }, limit).await;
    }
    destroyed
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.feed(Event::Start, ctx);
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
        self.settings.journal.session(None);
        if let Some(view) = self.machine.view() {
            view.cell.latch(LossReason::RuntimeFailed);
        }
    }
}
