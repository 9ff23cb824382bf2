//! Spawns, watches and reaps the actors of the locks, and ends them all.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use tokio::sync::{oneshot, watch};

use super::{
    lock::{LockActor, Retire, Surroundings, tell},
    session::{SessionActor, SessionNews, SessionPlea},
    watch::{Watch, WatchActor},
};
use crate::{
    clock::Clock,
    config::{Retention, Timing},
    consul::{client::Consul, fact::SessionId},
    error::{Error, Step},
    key::Key,
    ownership::LossReason,
    protocol::{
        lock::Event,
        session::{Notice, Request, SessionView},
    },
    status::journal::Journal,
};
use crate::{
    holding::slot::{Slot, Slots},
    messages::subscribers::Hub,
};

/// What all actors of one runtime go by, and where they note how they are.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) service: String,
    pub(crate) clock: Clock,
    pub(crate) timing: Timing,
    pub(crate) retention: Retention,
    pub(crate) flags: u64,
    pub(crate) node_checks: Vec<String>,
    /// How many connections there are for reads that wait.
    pub(crate) watches: usize,
    /// Where they note what others may ask.
    pub(crate) journal: Arc<Journal>,
}

/// Whether locks can be had.
#[derive(Clone, Debug)]
pub(crate) enum Readiness {
    /// There is no session yet, or not again.
    Starting,
    Ready,
    /// The last attempt to create a session failed so.
    Troubled(Error),
    Stopped,
}

/// A slot was made: it needs an actor.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Open(pub(crate) Arc<Slot>);

/// Nothing is left to do for a key.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Idle(pub(super) Key);

/// An actor died without having been told to stop.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum Died {
    Lock(Key),
    Watch,
}

/// End the runtime in good order, within the limit.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop {
    pub(crate) limit: Duration,
    pub(crate) done: Option<oneshot::Sender<Result<(), Error>>>,
}

pub(crate) struct LockSupervisor {
    pub(crate) consul: Consul,
    pub(crate) settings: Rc<Settings>,
    around: Rc<Surroundings>,
    slots: Arc<Slots>,
    hub: Arc<Hub>,
    readiness: watch::Sender<Readiness>,
    pub(super) locks: HashMap<Key, Addr<LockActor>>,
    pub(super) session: Option<Addr<SessionActor>>,
    pub(super) watcher: Option<Addr<WatchActor>>,
    view: Option<SessionView>,
    /// The session of an actor that died.
    left_behind: Option<SessionView>,
    /// A generation with late attempts that cannot be made void, or with a key that
    /// Consul will not take back.
    suspect: Option<u64>,
    /// Keys to be looked at by the next sweep.
    idle: HashSet<Key>,
    sweeping: bool,
    stopping: Option<Vec<oneshot::Sender<Result<(), Error>>>>,
    /// Ends the runtime's thread.
    finished: Option<oneshot::Sender<()>>,
}

/// How long an idle slot stays, in case its key is wanted again.
const LINGER: Duration = Duration::from_millis(250);
/// How often the runtime's thread shows that it runs.
const BEAT: Duration = Duration::from_secs(1);

impl LockSupervisor {
    /// Starts the actors of one runtime on this arbiter. `finished` is sent when
    /// they have ended.
    pub(crate) fn launch(
        consul: Consul,
        settings: Rc<Settings>,
        slots: Arc<Slots>,
        hub: Arc<Hub>,
        finished: oneshot::Sender<()>,
    ) -> (Addr<Self>, watch::Receiver<Readiness>) {
        let (readiness, subscribed) = watch::channel(Readiness::Starting);
        let supervisor = Self::create(|ctx| {
            let me = ctx.address();
            let around = Surroundings {
                hub: hub.clone(),
                consul: consul.clone(),
                settings: settings.clone(),
                session: me.clone().recipient(),
                watch: me.clone().recipient(),
                idle: me.clone().recipient(),
                died: Rc::new(me.recipient()),
            };
            Self {
                consul,
                settings,
                around: Rc::new(around),
                slots,
                hub,
                readiness,
                locks: HashMap::new(),
                session: None,
                watcher: None,
                view: None,
                left_behind: None,
                suspect: None,
                idle: HashSet::new(),
                sweeping: false,
                stopping: None,
                finished: Some(finished),
            }
        });
        (supervisor, subscribed)
    }

    pub(super) fn session_id(&self) -> Option<SessionId> {
        self.view.as_ref().map(|view| view.id.clone())
    }

    fn start_session(&mut self, ctx: &Context<Self>) {
        let actor = SessionActor::new(
            self.consul.clone(),
            self.settings.clone(),
            ctx.address().recipient(),
            self.left_behind.take().as_ref(),
        );
        self.session = Some(actor.start());
    }

    fn start_watcher(&mut self, ctx: &Context<Self>) {
        let (consul, settings) = (self.consul.clone(), self.settings.clone());
        self.watcher = Some(WatchActor::new(consul, settings, ctx.address().recipient()).start());
    }

    fn start_lock(&mut self, slot: Arc<Slot>, recovering: bool) {
        let key = slot.key.clone();
        let actor = LockActor::new(slot, self.around.clone(), recovering);
        self.locks.insert(key, actor.start());
    }

    #[cfg(feature = "metrics")]
    fn count(&self) {
        let slots = self.slots.all();
        let held = slots.iter().filter(|slot| slot.machine().owns()).count();
        let waiting = slots.iter().map(|slot| slot.callers.waiting()).sum();
        self.settings.journal.telemetry().in_use(held, waiting);
    }

    fn tell_all(&self, fact: impl Fn() -> Event) {
        for slot in self.slots.all() {
            slot.report(fact());
        }
    }

    /// Everything owned under the generation is lost. It is told here, for all
    /// keys at once, before anything is done about it.
    fn close(&mut self, generation: u64, reason: LossReason) {
        self.view = None;
        self.readiness.send_replace(Readiness::Starting);
        for slot in self.slots.all() {
            slot.callers.lost(reason);
            tell(&self.hub, &slot);
            slot.report(Event::Session(Notice::Closed { generation, reason }));
        }
    }

    fn notified(&mut self, notice: Notice) {
        match &notice {
            Notice::Opened(view) => self.view = Some(view.clone()),
            Notice::Fenced { generation, fence } => {
                if let Some(view) = self.view.as_mut().filter(|v| v.generation == *generation) {
                    view.fence = *fence;
                }
            }
            Notice::Closed { generation, reason } => {
                self.close(*generation, *reason);
                if let Some(session) = &self.session {
                    session.do_send(SessionPlea::Told { generation: *generation });
                }
                return;
            }
            Notice::Troubled(_) if self.view.is_some() => return,
            Notice::Troubled(_) => {}
        }
        self.tell_all(|| Event::Session(notice.clone()));
        match notice {
            Notice::Opened(_) => drop(self.readiness.send_replace(Readiness::Ready)),
            Notice::Troubled(error) => {
                self.readiness.send_replace(Readiness::Troubled(error));
            }
            Notice::Fenced { .. } | Notice::Closed { .. } => {}
        }
    }

    fn reap(&mut self, key: &Key) {
        if self.slots.reap(key)
            && let Some(actor) = self.locks.remove(key)
        {
            actor.do_send(Retire);
        }
    }

    fn sweep_later(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.sweeping, true) {
            ctx.run_later(LINGER, |actor, ctx| {
                actor.sweeping = false;
                for key in std::mem::take(&mut actor.idle) {
                    actor.reap(&key);
                }
                actor.replace_suspect_session(ctx);
            });
        }
    }

    /// A session that left something behind which only its end undoes is replaced as
    /// soon as nothing is owned under it.
    fn replace_suspect_session(&mut self, ctx: &mut Context<Self>) {
        let Some(generation) = self.suspect else { return };
        if self.view.as_ref().is_none_or(|view| view.generation != generation) {
            self.suspect = None;
        } else if self.slots.all().iter().any(|slot| slot.machine().owns()) {
            self.sweep_later(ctx);
        } else if let Some(session) = &self.session {
            let reason = LossReason::SessionGone;
            session.do_send(SessionPlea::Asked(Request::Distrust { generation, reason }));
            self.suspect = None;
        }
    }

    /// Ends the session once nothing is left to be released.
    fn stop_session_if_done(&self) {
        if self.stopping.is_some()
            && self.slots.is_empty()
            && let Some(session) = &self.session
        {
            session.do_send(SessionPlea::Stop);
        }
    }

    fn finish(&mut self, result: &Result<(), Error>, ctx: &mut Context<Self>) {
        for done in self.stopping.take().into_iter().flatten() {
            // Whoever asked may be gone.
            let _ = done.send(result.clone());
        }
        ctx.stop();
    }
}

impl Actor for LockSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.start_watcher(ctx);
        self.start_session(ctx);
        ctx.run_interval(BEAT, |actor, _| {
            actor.settings.journal.beat();
            #[cfg(feature = "metrics")]
            actor.count();
        });
    }
}

impl Handler<Open> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, Open(slot): Open, _: &mut Context<Self>) {
        if let Some(view) = &self.view {
            slot.report(Event::Session(Notice::Opened(view.clone())));
        }
        self.start_lock(slot, false);
    }
}

impl Handler<Idle> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, Idle(key): Idle, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            self.reap(&key);
            self.stop_session_if_done();
        } else {
            self.idle.insert(key);
            self.sweep_later(ctx);
        }
    }
}

impl Handler<Died> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, died: Died, ctx: &mut Context<Self>) {
        match died {
            Died::Lock(key) => {
                let Some(slot) = self.slots.get(&key) else { return };
                tracing::error!(%key, "the lock's actor failed; its ownership is given up");
                slot.callers.lost(LossReason::RuntimeFailed);
                tell(&self.hub, &slot);
                self.start_lock(slot, true);
            }
            Died::Watch => {
                tracing::error!("the watch actor failed; it is started anew");
                self.start_watcher(ctx);
                self.tell_all(|| Event::WatchLost);
            }
        }
    }
}

impl Handler<SessionNews> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, news: SessionNews, ctx: &mut Context<Self>) {
        match news {
            SessionNews::Notice(notice) => self.notified(notice),
            SessionNews::Stopped => {
                self.session = None;
                self.finish(&Ok(()), ctx);
            }
            SessionNews::Died => {
                tracing::error!("the session's actor failed; a new session is created");
                if let Some(view) = self.view.clone() {
                    self.close(view.generation, LossReason::RuntimeFailed);
                    self.left_behind = Some(view);
                }
                self.start_session(ctx);
                self.stop_session_if_done();
            }
        }
    }
}

impl Handler<SessionPlea> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, plea: SessionPlea, ctx: &mut Context<Self>) {
        if let SessionPlea::Asked(Request::Suspect { generation }) = plea {
            self.suspect = Some(generation);
            self.sweep_later(ctx);
        } else if let Some(session) = &self.session {
            session.do_send(plea);
        }
    }
}

impl Handler<Watch> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, watch: Watch, _: &mut Context<Self>) {
        if let Some(watcher) = &self.watcher {
            watcher.do_send(watch);
        }
    }
}

impl Handler<Stop> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, Stop { limit, done }: Stop, ctx: &mut Context<Self>) {
        if let Some(stopping) = &mut self.stopping {
            stopping.extend(done);
            return;
        }
        self.stopping = Some(done.into_iter().collect());
        self.slots.stop();
        self.readiness.send_replace(Readiness::Stopped);
        for slot in self.slots.all() {
            slot.callers.stop();
            tell(&self.hub, &slot);
        }
        ctx.run_later(limit, |actor, ctx| {
            let held = actor.slots.all().len();
            let why = format!("shutdown took longer than its limit; {held} keys are left");
            actor.finish(&Err(Error::Unavailable { step: Step::DestroySession, why }), ctx);
        });
        for key in self.locks.keys().cloned().collect::<Vec<_>>() {
            self.reap(&key);
        }
        self.stop_session_if_done();
    }
}

impl Drop for LockSupervisor {
    /// Whatever ended the supervisor: nobody waits for an answer that will not
    /// come, and every loss is told.
    fn drop(&mut self) {
        let orderly = self.slots.is_stopped();
        self.settings.journal.ended(orderly);
        let reason = if orderly { LossReason::Shutdown } else { LossReason::RuntimeFailed };
        self.slots.stop();
        self.readiness.send_replace(Readiness::Stopped);
        for slot in self.slots.all() {
            slot.callers.abandon(reason);
            tell(&self.hub, &slot);
        }
        self.hub.close();
        for actor in self.locks.values() {
            actor.do_send(Retire);
        }
        if let Some(view) = &self.view {
            view.cell.latch(reason);
        }
        if let Some(finished) = self.finished.take() {
            let _ = finished.send(());
        }
    }
}
