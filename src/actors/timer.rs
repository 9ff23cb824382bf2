//! The one timer of an actor.

use std::time::Duration;

use actix::prelude::*;

use crate::clock::Moment;

/// How late a timer may be on busy cores.
const OVERDUE: Duration = Duration::from_secs(1);

/// The timer of an actor, and when it fires.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<(SpawnHandle, Moment)>);

/// An actor that a timer wakes.
pub(super) trait Timed: Actor<Context = Context<Self>> {
    fn timer(&mut self) -> &mut Timer;

    /// The timer has fired, perhaps too early.
    fn wake(&mut self, ctx: &mut Context<Self>);

    /// Sets the timer to fire at `at`, or earlier. A timer that is long overdue is set anew: its
    /// sleep does not count the time for which the host was suspended.
    fn arm(&mut self, now: Moment, at: Option<Moment>, ctx: &mut Context<Self>) {
        let timer = self.timer();
        if let (Some((_, fires)), Some(at)) = (timer.0, at)
            && fires <= at
            && now < fires + OVERDUE
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

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;

    struct Sleeper {
        timer: Timer,
        wakes: Rc<Cell<u32>>,
    }

    impl Actor for Sleeper {
        type Context = Context<Self>;

        /// After the first step, the host is suspended for 100 s.
        fn started(&mut self, ctx: &mut Context<Self>) {
            let at = |millis: u64| Moment::from_nanos(millis * 1_000_000);
            self.arm(at(0), Some(at(60_000)), ctx);
            self.arm(at(100_000), Some(at(100_050)), ctx);
        }
    }

    impl Timed for Sleeper {
        fn timer(&mut self) -> &mut Timer {
            &mut self.timer
        }

        fn wake(&mut self, _: &mut Context<Self>) {
            self.wakes.set(self.wakes.get() + 1);
        }
    }

    #[actix::test]
    async fn a_timer_that_a_suspend_delayed_does_not_delay_the_next_step() {
        tokio::time::pause();
        let wakes = Rc::new(Cell::new(0));
        let _sleeper = Sleeper { timer: Timer::default(), wakes: wakes.clone() }.start();
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(wakes.get(), 1);
    }
}
