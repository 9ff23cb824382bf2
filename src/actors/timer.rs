//! The one timer of an actor.

use actix::prelude::*;

use crate::clock::Moment;

/// The timer of an actor, and when it fires.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<(SpawnHandle, Moment)>);

/// An actor that a timer wakes.
pub(super) trait Timed: Actor<Context = Context<Self>> {
    fn timer(&mut self) -> &mut Timer;

    /// The timer has fired, perhaps too early.
    fn wake(&mut self, ctx: &mut Context<Self>);

    /// Sets the timer to fire at `at`, or earlier.
    fn arm(&mut self, now: Moment, at: Option<Moment>, ctx: &mut Context<Self>) {
        let timer = self.timer();
        if let (Some((_, fires)), Some(at)) = (timer.0, at)
            && fires <= at
        {
            return;
        }
        if let Some((old, _)) = timer.0.take() {
            ctx.cancel_future(old);
        }
        timer.0 = at.map(|at| {
            let handle = ctx.run_later(at.since(now), |actor, ctx| {
                actor.timer().0 = None;
                actor.wake(ctx);
            });
            (handle, at)
        });
    }
}
