//! An actor that lives while this process leads.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    task::{self, Poll},
    time::Duration,
};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context,
    dev::ContextFut, fut,
};
use futures::{
    FutureExt as _,
    future::{LocalBoxFuture, Shared, select},
};
use tokio::sync::{oneshot, watch};

use super::{restart_pauses::RestartPauses, while_leading::panicked};
use crate::{
    config::Timing,
    dsync::Dsync,
    error::Error,
    holding::{ledger::WorkGuard, tenure::Tenure, term::Term, user_code::run_until},
    key::Key,
    logs,
    messages::Campaign,
};

/// Your actor, of which at most one lives at a time among all processes that start it for
/// the same key.
///
/// Each process campaigns. The elected process creates the actor, runs it *on the arbiter
/// of the caller* of [`start`](Singleton::start), and stops it before another process can
/// be elected:
///
/// ```text
///            elected                     no renewal is answered ...
///   process ────┬───────────────────────────┬─────────────┬──── deadline ─────────►
///   actor       └─ made, started ─── works ─┴─ ctx.stop ──┴─ ctx.terminate
///                                           │◄stop_within►│
/// ```
///
/// The actor needs no code for this. It is asked to stop, as by
/// [`ActorContext::stop`](actix::ActorContext::stop), as soon as the term has ended or no
/// more than [`stop_within`](Singleton::stop_within) of it remains. If its
/// [`stopping`](Actor::stopping) refuses, it may continue until that time has passed or the
/// term has ended, and is then terminated. If the session is renewed in the end, a new actor
/// is created under the same term.
///
/// A term can also end without notice: the key is deleted, the session is destroyed,
/// somebody sends [`Resign`](crate::Resign), or the runtime is shut down. Then no time to
/// stop is left, and an actor that refuses to stop is terminated at once. For an orderly
/// end, use [`SingletonHandle::stop`] or [`Dsync::hand_over`]: they stop the actor first
/// and then resign.
///
/// If the actor stops by itself or panics during the term, it is created again after a
/// pause that doubles from 100 ms to 10 s; a life of 10 s or more resets the pause. The same
/// applies if its creation panics. A panic is logged as an error and recorded as an incident;
/// neither `stopping` nor [`stopped`](Actor::stopped) is called after it.
///
/// # What it cannot do
/// It stops code that awaits, not code that blocks: while a handler computes or waits
/// synchronously, nothing on its thread can end it, and another process may be elected
/// meanwhile. The same applies while actix handles messages that wait in the actor's mailbox:
/// it handles all of them in a row. If many can wait, let the handler check
/// [`Term::is_valid`]. Nor can it stop tasks that the actor has spawned elsewhere, or a request in
/// flight. Pass [`Term::token`] to every resource that the actor writes to, and let the
/// resource refuse older tokens.
///
/// # Example
/// ```no_run
/// use std::time::Duration;
///
/// use actix::{Actor, AsyncContext as _, Context};
/// use actix_dsync::{Dsync, Key, Term, jobs::Singleton};
///
/// struct Sweeper {
///     term: Term,
/// }
///
/// impl Actor for Sweeper {
///     type Context = Context<Self>;
///
///     fn started(&mut self, ctx: &mut Self::Context) {
///         ctx.run_interval(Duration::from_secs(60), |actor, _| {
///             println!("sweeping, fenced by {}", actor.term.token());
///         });
///     }
/// }
///
/// # async fn example(dsync: Dsync) -> Result<(), Box<dyn std::error::Error>> {
/// let sweeper = Singleton::new(|term| Sweeper { term })
///     .on(Key::new("jobs/sweeper")?)
///     .stop_within(Duration::from_secs(2))
///     .start(&dsync)?;
/// // ... until the service ends:
/// sweeper.stop().await;
/// # Ok(())
/// # }
/// ```
#[must_use = "a singleton does nothing until it is started"]
pub struct Singleton<A: Actor<Context = Context<A>>> {
    make: Box<dyn Fn(Term) -> A>,
    campaign: Campaign,
    stop_within: Option<Duration>,
}

impl<A: Actor<Context = Context<A>>> Singleton<A> {
    /// Creates a singleton whose actor `make` creates, once for each life. The term shows
    /// whether this process still leads, and its token fences the actor's writes.
    pub fn new(make: impl Fn(Term) -> A + 'static) -> Self {
        Self { make: Box::new(make), campaign: Campaign::default(), stop_within: None }
    }

    /// Sets the key of the leadership that the actor depends on.
    ///
    /// Default: the service's leadership, as for [`Campaign`].
    pub fn on(self, key: Key) -> Self {
        Self { campaign: Campaign::on(key), ..self }
    }

    /// Sets how long the actor may take to stop.
    ///
    /// The lease reserves this time: the actor is stopped when no more remains. It must
    /// therefore be shorter than [`Timing::rides_out`], below which the remaining lease does
    /// not fall while Consul answers in time. The longer it is, the shorter an interruption
    /// of Consul stops the actor: `rides_out` minus this time.
    ///
    /// Default: a quarter of [`Timing::rides_out`]; 2.5 s with the default timing.
    pub fn stop_within(self, stop_within: Duration) -> Self {
        Self { stop_within: Some(stop_within), ..self }
    }

    /// Starts the campaign, and runs the actor on the arbiter of the calling thread whenever
    /// this process leads.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a healthy lease would fall below
    /// [`stop_within`](Singleton::stop_within); otherwise as for [`Campaign`].
    /// [`Error::AlreadyStarted`] if this runtime already runs work for the same key: start a
    /// singleton once, not in the closure of `HttpServer::new`, which runs once per worker.
    /// [`Error::Stopped`] also after a [`hand_over`](Dsync::hand_over). [`Error::Invalid`]
    /// with the field `arbiter` if the calling thread runs no actors, as under
    /// `#[tokio::main]`: use `#[actix::main]` or `#[actix_web::main]`, call it within a Tokio
    /// `LocalSet`, or use [`Dsync::while_leading`], which needs neither. Tokio reports this only
    /// by a panic, which is caught: with `panic = "abort"`, the process ends.
    pub fn start(self, dsync: &Dsync) -> Result<SingletonHandle<A>, Error> {
        if !runs_actors() {
            let why = "is missing: this thread runs no actors; use #[actix::main] or \
                       #[actix_web::main] instead of #[tokio::main], call Singleton::start within \
                       a tokio LocalSet, or use Dsync::while_leading";
            return Err(Error::Invalid { field: "arbiter", why: why.into() });
        }
        let timing = dsync.timing();
        let stop_within = self.stop_within.unwrap_or(timing.rides_out() / 4);
        check(stop_within, &timing)?;
        let guard = dsync.bind_work(self.campaign)?;
        let tenure = guard.tenure().clone();
        let (actor, place) = watch::channel(None);
        let (stop, stopped) = oneshot::channel::<()>();
        let over = guard.over();
        let called_off = async move {
            select(stopped, pin!(over)).await;
        };
        let called_off = called_off.boxed_local().shared();
        let make = self.make.into();
        let (guard, dsync) = (Rc::new(guard), dsync.clone());
        let handle = SingletonHandle { tenure, place, stop, dsync: dsync.clone() };
        let keeper = Keeper { make, stop_within, dsync, guard, called_off, actor };
        actix_rt::spawn(async move {
            keeper.hold().await;
            let Keeper { guard, actor, .. } = keeper;
            // The last life has ended, and its reference with it.
            if let Some(guard) = Rc::into_inner(guard) {
                guard.withdraw().await;
            }
            // Now signal the end.
            drop(actor);
        });
        Ok(handle)
    }
}

/// Whether actors can be spawned on this thread, which Tokio reports only by a panic.
///
/// The handle of an arbiter does not show it: a task of Tokio's on an arbiter's thread has one, too.
fn runs_actors() -> bool {
    std::panic::catch_unwind(|| drop(actix_rt::spawn(async {}))).is_ok()
}

fn check(stop_within: Duration, timing: &Timing) -> Result<(), Error> {
    let most = timing.rides_out();
    if stop_within < most {
        return Ok(());
    }
    let why = format!(
        "is {stop_within:?}; it must be less than {most:.1?}, the lease less a renew period and a \
         request timeout: choose less, or a timing with a longer TTL and lock-delay"
    );
    Err(Error::Invalid { field: "stop_within", why })
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for Singleton<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Singleton")
            .field("campaign", &self.campaign)
            .field("stop_within", &self.stop_within)
            .finish_non_exhaustive()
    }
}

/// A started [`Singleton`].
///
/// Dropping it stops the actor in the background, as [`stop`](SingletonHandle::stop) does.
/// It keeps the runtime running.
///
/// When the actor has stopped for good, the process resigns, unless you started the campaign
/// yourself with [`Campaign`]: then you must end it. A [`Campaign`] that joins later does not
/// change this, so if your code campaigns for the same key, it must do so first.
#[must_use = "dropping the handle stops the actor"]
pub struct SingletonHandle<A: Actor> {
    tenure: Tenure,
    place: watch::Receiver<Option<Addr<A>>>,
    stop: oneshot::Sender<()>,
    /// Keeps the runtime running while the actor is wanted.
    dsync: Dsync,
}

impl<A: Actor> SingletonHandle<A> {
    /// The campaign that the actor depends on.
    #[must_use]
    pub fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// The actor's address, while the actor lives in this process.
    ///
    /// It is also returned while the actor is stopping. Call this for each use: the address
    /// of a former life stays closed.
    #[must_use]
    pub fn address(&self) -> Option<Addr<A>> {
        self.place.borrow().clone()
    }

    /// Stops the actor within [`stop_within`](Singleton::stop_within), then resigns if the
    /// campaign was started for it, so that another process is elected at once. Returns when
    /// Consul has confirmed the release, like the reply to [`Resign`](crate::Resign).
    ///
    /// # Cancel safety
    /// Dropping the future cancels nothing.
    pub async fn stop(self) {
        let Self { stop, mut place, dsync: _dsync, .. } = self;
        drop(stop);
        // Fails if the other end is gone, which is fine.
        while place.changed().await.is_ok() {}
    }
}

impl<A: Actor> fmt::Debug for SingletonHandle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingletonHandle")
            .field("tenure", &self.tenure)
            .field("lives", &self.place.borrow().is_some())
            .finish_non_exhaustive()
    }
}

/// Completes when no actor is wanted any more.
type CalledOff = Shared<LocalBoxFuture<'static, ()>>;

/// Keeps the actor alive in this process's terms.
struct Keeper<A: Actor<Context = Context<A>>> {
    make: Rc<dyn Fn(Term) -> A>,
    stop_within: Duration,
    dsync: Dsync,
    /// Shared with the current life: a stopping arbiter drops its tasks in any order, and the
    /// actor must be gone before its process resigns.
    guard: Rc<WorkGuard>,
    called_off: CalledOff,
    actor: watch::Sender<Option<Addr<A>>>,
}

/// Why an actor's life has ended.
enum End {
    /// It was asked to stop.
    Told,
    /// It stopped by itself.
    Own,
}

impl<A: Actor<Context = Context<A>>> Keeper<A> {
    /// Keeps the actor alive in each term until it is called off.
    async fn hold(&self) {
        while let Some(term) = self.unless_called_off(self.guard.tenure().elected()).await {
            self.serve(&term).await;
        }
    }

    /// Keeps the actor alive while enough of the term remains.
    async fn serve(&self, term: &Term) {
        let mut pauses = RestartPauses::new();
        while self.unless_called_off(term.rises_above(self.stop_within)).await == Some(true) {
            pauses.begun();
            // A separate task, so that its panic ends nothing else.
            let life = live(
                self.guard.clone(),
                self.make.clone(),
                term.clone(),
                self.stop_within,
                self.called_off.clone(),
                self.actor.clone(),
            );
            let end = actix_rt::spawn(life).await;
            self.actor.send_replace(None);
            let (key, token) = (term.key(), term.token());
            match end {
                Ok(End::Told) => {
                    logs::info!(%key, %token, "singleton stopped");
                    continue;
                }
                Ok(End::Own) => logs::warn!(%key, %token, "singleton stopped by itself"),
                Err(panic) => panicked(&self.dsync, term, "the singleton", &panic.to_string()),
            }
            let pause = tokio::time::sleep(pauses.after_failure());
            let (over, rested) = (pin!(term.invalid()), pin!(pause));
            if self.unless_called_off(select(over, rested)).await.is_none() {
                return;
            }
        }
    }

    async fn unless_called_off<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        run_until(self.called_off.clone(), future).await.ok()
    }
}

/// One life of the actor. This polls the actor's context instead of actix, so that the actor
/// can be stopped while it waits, and its end is known. The guard is dropped after the actor,
/// however the life ends.
async fn live<A: Actor<Context = Context<A>>>(
    _guard: Rc<WorkGuard>,
    make: Rc<dyn Fn(Term) -> A>,
    term: Term,
    stop_within: Duration,
    called_off: CalledOff,
    place: watch::Sender<Option<Addr<A>>>,
) -> End {
    let dip = pin!(term.dips_to(stop_within));
    let mut signal = select(dip, called_off);
    // This task may have started late, and creating the actor may take long.
    if (&mut signal).now_or_never().is_some() {
        return End::Told;
    }
    let actor = make(term.clone());
    if (&mut signal).now_or_never().is_some() {
        return End::Told;
    }
    let context = Context::new();
    // The address also keeps the actor alive.
    place.send_replace(Some(context.address()));
    let (key, token) = (term.key().clone(), term.token());
    logs::info!(%key, %token, "singleton started");
    let mut life = Life { context: context.into_future(actor), term: term.clone(), begun: false };

    if run_until(signal, &mut life).await.is_ok() {
        return End::Own;
    }
    if !life.begun {
        return End::Told;
    }
    life.context.ctx().stop();
    let (over, late) = (pin!(term.invalid()), pin!(tokio::time::sleep(stop_within)));
    if run_until(select(over, late), &mut life).await.is_err() {
        // If it were terminated from outside, actix would start the actor again. So it is asked
        // to stop, again if it refused before. If it refuses now, this runs first, before any
        // timer or message of the actor.
        let last = fut::wrap_future(async {}).map(move |(), _: &mut A, ctx: &mut Context<A>| {
            logs::warn!(%key, %token, "singleton terminated: it did not stop in time");
            ctx.terminate();
        });
        life.context.ctx().wait(last);
        life.context.ctx().stop();
        life.await;
    }
    End::Told
}

/// A living actor.
struct Life<A: Actor<Context = Context<A>>> {
    context: ContextFut<A, Context<A>>,
    term: Term,
    /// Whether the actor was started.
    begun: bool,
}

impl<A: Actor<Context = Context<A>>> Future for Life<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        self.begun = true;
        Pin::new(&mut self.context).poll(cx)
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Life<A> {
    /// actix polls the actor once more when its context is dropped, unless it is terminated. That
    /// would start an actor that has not begun, run code after the term, or panic a second time,
    /// which ends the process.
    fn drop(&mut self) {
        if !self.begun || std::thread::panicking() || !self.term.is_valid() {
            self.context.ctx().terminate();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_that_takes_longer_than_a_lease_can_spare_is_refused_by_name() {
        for timing in [Timing::default(), Timing::patient(), Timing::fast_failover()] {
            let most = timing.rides_out();
            check(most / 4, &timing).unwrap();
            check(most - Duration::from_millis(1), &timing).unwrap();
            let Err(Error::Invalid { field, why }) = check(most, &timing) else {
                panic!("{most:?} was taken");
            };
            assert_eq!(field, "stop_within");
            assert!(why.contains("must be less than"), "{why}");
        }
    }
}
