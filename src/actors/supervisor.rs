//! Drives the warden: starts, notifies and stops the other actors as it decides.

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::sync::{oneshot, watch};

use super::{
    busy_wait::BusyWait,
    lock::{LockActor, Shared},
    messages::{ForSession, ForWarden, Retire, Stop, Watch},
    publishing::publish,
    restarts::Restarted,
    session::SessionActor,
    settings::Settings,
    timer::{Timed, Timer},
    watch::WatchActor,
};
use crate::{
    consul::{client::Consul, fact::SessionId},
    error::{Error, Step},
    holding::{oversight::Oversight, slots::Slots, turn::Style, wards::Wards},
    key::Key,
    logs::{self, GuardedSpan},
    messages::subscribers::Hub,
    protocol::warden::{End, Event, ForActors, Readiness},
};

pub(crate) struct LockSupervisor {
    pub(crate) consul: Consul,
    pub(crate) settings: Rc<Settings>,
    shared: Rc<Shared>,
    wards: Wards,
    hub: Arc<Hub>,
    readiness: watch::Sender<Readiness>,
    pub(super) locks: HashMap<Key, Addr<LockActor>>,
    pub(super) session: Option<Addr<SessionActor>>,
    pub(super) watcher: Option<Addr<WatchActor>>,
    restarted: Restarted,
    timer: Timer,
    oversight: Oversight,
    /// Callers waiting for the shutdown to finish.
    stopping: Vec<oneshot::Sender<Result<(), Error>>>,
    /// Fires when the runtime has ended; its thread then exits.
    finished: Option<oneshot::Sender<()>>,
}

/// Interval at which the runtime's thread records that it is alive.
const BEAT: Duration = Duration::from_secs(1);

impl LockSupervisor {
    /// Starts the actors of one runtime on this arbiter. `finished` fires once they
    /// have stopped.
    pub(crate) fn launch(
        consul: Consul,
        settings: Rc<Settings>,
        slots: Arc<Slots>,
        hub: Arc<Hub>,
        finished: oneshot::Sender<()>,
    ) -> (Addr<Self>, watch::Receiver<Readiness>) {
        let (readiness, subscribed) = watch::channel(Readiness::Starting);
        let busy_wait = BusyWait::new();
        // Only on the runtime's own thread: tests pause the clock of theirs.
        if settings.clock.is_boot() && BusyWait::is_affordable() {
            actix_rt::spawn(Rc::clone(&busy_wait).keep());
        }
        let supervisor = Self::create(|ctx| {
            let me = ctx.address();
            let shared = Shared {
                hub: hub.clone(),
                slots: slots.clone(),
                consul: consul.clone(),
                settings: settings.clone(),
                style: Style {
                    service: settings.service.clone(),
                    flags: settings.flags,
                    retention: settings.retention,
                },
                warden: Rc::new(me.clone().recipient()),
                watch: me.recipient(),
                busy_wait,
            };
            Self {
                consul,
                settings,
                shared: Rc::new(shared),
                wards: Wards::new(slots),
                hub,
                readiness,
                locks: HashMap::new(),
                session: None,
                watcher: None,
                restarted: Restarted::default(),
                timer: Timer::default(),
                oversight: Oversight::default(),
                stopping: Vec::new(),
                finished: Some(finished),
            }
        });
        (supervisor, subscribed)
    }

    pub(super) fn session_id(&self) -> Option<SessionId> {
        self.wards.view().map(|view| view.id.clone())
    }

    fn feed(&mut self, event: Event, ctx: &mut Context<Self>) {
        log(&event);
        let now = self.settings.clock.now();
        let (journal, hub) = (&self.settings.journal, &self.hub);
        let orders = self.wards.handle(now, event, |key, news| {
            publish(journal, hub, key, &news, &GuardedSpan::none());
        });
        for order in orders {
            self.carry_out(order, ctx);
        }
        self.arm(now, self.wards.next_wakeup(), ctx);
    }

    fn carry_out(&mut self, order: ForActors, ctx: &mut Context<Self>) {
        let now = self.settings.clock.now();
        match order {
            ForActors::StartWatch => {
                let (consul, settings) = (self.consul.clone(), self.settings.clone());
                let pause = self.watcher.as_ref().map(|_| self.restarted.watch.pause(now));
                let warden = ctx.address().recipient();
                let actor = WatchActor::new(consul, settings, warden, pause.unwrap_or_default());
                self.watcher = Some(actor.start());
            }
            ForActors::StartSession { generation, left_behind } => {
                let (consul, settings) = (self.consul.clone(), self.settings.clone());
                let pause = self.session.as_ref().map(|_| self.restarted.session.pause(now));
                let (warden, pause) = (ctx.address().recipient(), pause.unwrap_or_default());
                let actor =
                    SessionActor::new(consul, settings, warden, generation, left_behind, pause);
                self.session = Some(actor.start());
            }
            ForActors::StartLock { key, worker, recovering } => {
                if let Some(slot) = self.wards.slots().get(&key) {
                    let recovers = recovering
                        .then(|| self.restarted.locks.entry(key.clone()).or_default().pause(now));
                    let actor = LockActor::new(slot, self.shared.clone(), worker, recovers);
                    self.locks.insert(key, actor.start());
                }
            }
            ForActors::Retire { key } => {
                self.restarted.locks.remove(&key);
                if let Some(actor) = self.locks.remove(&key) {
                    actor.do_send(Retire);
                }
            }
            ForActors::TellSession(told) => {
                if let Some(session) = &self.session {
                    session.do_send(ForSession(told.into()));
                }
            }
            ForActors::Show(readiness) => {
                self.readiness.send_replace(readiness);
            }
            ForActors::Finish(end) => self.finish(end, ctx),
        }
    }

    /// Shows what is held and waited for, and reports what lasts too long.
    fn look(&mut self) {
        let (slots, journal) = (self.wards.slots().all(), &self.settings.journal);
        let view = self.oversight.look(&slots, self.settings.warn_after);
        journal.telemetry().in_use(view.held, view.waiting);
        journal.telemetry().oldest(view.oldest_hold, view.oldest_wait);
        for (key, what) in view.notes {
            logs::warn!(%key, "{what}");
            journal.add_incident(Some(&key), what);
        }
    }

    fn finish(&mut self, end: End, ctx: &mut Context<Self>) {
        let logs_out = end != End::LimitPassed && self.consul.logs_in();
        let result = match end {
            End::Orderly => Ok(()),
            End::SessionLeft(error) => Err(error),
            End::LimitPassed => {
                let held = self.wards.slots().len();
                let why = format!("shutdown exceeded its limit; {held} keys are not released");
                Err(Error::unavailable(Step::DestroySession, why))
            }
        };
        // The actor may be dropped during the logout.
        self.settings.journal.set_end(result.clone());
        if logs_out {
            let (consul, limit) = (self.consul.clone(), self.settings.timing.request_timeout());
            let logs_out = async move { consul.log_out(limit).await };
            ctx.wait(logs_out.into_actor(self).map(move |(), actor, ctx| actor.end(result, ctx)));
        } else {
            self.end(result, ctx);
        }
    }

    fn end(&mut self, result: Result<(), Error>, ctx: &mut Context<Self>) {
        for done in self.stopping.drain(..) {
            // The caller may be gone.
            let _ = done.send(result.clone());
        }
        ctx.stop();
    }
}

/// Logs that an actor died.
fn log(event: &Event) {
    match event {
        Event::LockDied { key, .. } => {
            logs::error!(%key, "lock actor failed; its ownership is lost; restarting it");
        }
        Event::WatchDied => logs::error!("watch actor failed; restarting it"),
        Event::SessionDied => {
            logs::error!("session actor failed; all ownership is lost; restarting it");
        }
        _ => {}
    }
}

impl Actor for LockSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.feed(Event::Start, ctx);
        ctx.run_interval(BEAT, |actor, _| {
            actor.settings.journal.beat();
            if actor.oversight.is_due(actor.wards.slots().len()) {
                actor.look();
            }
        });
    }
}

impl Timed for LockSupervisor {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        self.feed(Event::Tick, ctx);
    }
}

impl Handler<ForWarden> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, ForWarden(event): ForWarden, ctx: &mut Context<Self>) {
        self.feed(event, ctx);
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
        self.stopping.extend(done);
        self.feed(Event::Stop { limit }, ctx);
    }
}

impl Drop for LockSupervisor {
    fn drop(&mut self) {
        self.settings.journal.ended(self.settings.journal.end().is_some());
        self.readiness.send_replace(Readiness::Stopped);
        let (journal, hub) = (&self.settings.journal, &self.hub);
        self.wards.abandon(|key, news| publish(journal, hub, key, &news, &GuardedSpan::none()));
        self.hub.close();
        for actor in self.locks.values() {
            actor.do_send(Retire);
        }
        if let Some(finished) = self.finished.take() {
            let _ = finished.send(());
        }
    }
}
