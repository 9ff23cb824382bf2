//! The user's work: it ticks, panics, refuses to stop and ends by itself.

use std::{cell::RefCell, future::pending, rc::Rc, time::Duration};

use actix::prelude::*;

use super::{
    super::{
        every::Turn,
        schedule::Schedule,
        singleton::{Singleton, SingletonHandle},
    },
    plan::{Kind, Plan},
    witness::{JOB, Reached, Witness},
};
use crate::{
    dsync::Dsync, error::Error, holding::term::Term, key::Key, simulation::random::Random,
};

/// The work of one process.
#[derive(Clone)]
pub(super) struct Work {
    process: Rc<str>,
    witness: Witness,
    random: Rc<RefCell<Random>>,
}

/// A part of the work: one turn, one run, or one life of the actor.
struct Part {
    process: Rc<str>,
    witness: Witness,
    term: Term,
}

impl Part {
    fn new(Work { process, witness, .. }: &Work, term: &Term) -> Self {
        witness.lives(process);
        Self { process: process.clone(), witness: witness.clone(), term: term.clone() }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.witness.is_gone(&self.process, &self.term);
    }
}

impl Work {
    pub(super) fn new(process: &str, witness: &Witness, seed: u64) -> Self {
        let random = Rc::new(RefCell::new(Random::new(seed)));
        Self { process: process.into(), witness: witness.clone(), random }
    }

    fn chance(&self, share: u64) -> bool {
        self.random.borrow_mut().chance(share)
    }

    fn soon(&self) -> Duration {
        self.random.borrow_mut().skewed_millis(1..=2_000)
    }

    /// Works until the runtime calls it off.
    ///
    /// # Errors
    /// The error with which the runtime ends or refuses the work.
    pub(super) async fn run(self, dsync: Dsync, plan: Plan) -> Result<(), Error> {
        let key = Key::new(JOB)?;
        match plan.kind {
            Kind::Every => {
                let schedule = Schedule::new(plan.period);
                let schedule = match plan.time_limit {
                    Some(limit) => schedule.time_limit(limit),
                    None => schedule,
                };
                let may_hang = plan.time_limit.is_some();
                dsync.every(key, schedule, |turn| self.clone().turn(turn, may_hang)).await
            }
            Kind::WhileLeading => {
                let work = |term: Term| {
                    self.witness.works(&self.process, &term);
                    self.clone().tick(term, usize::MAX)
                };
                dsync.while_leading(key, work).await
            }
            Kind::Singleton => {
                let handle = self.singleton(key).start(&dsync)?;
                // It stops in the background when the runtime hands over.
                let _handle: SingletonHandle<Worker> = handle;
                pending().await
            }
        }
    }

    fn turn(self, turn: Turn, may_hang: bool) -> impl Future<Output = ()> {
        self.witness.begins(&self.process, &turn);
        let ticks = self.random.borrow_mut().below(4);
        async move {
            self.clone().tick(turn.term().clone(), ticks).await;
            if may_hang && self.chance(100) {
                pending::<()>().await;
            }
        }
    }

    /// Works this often. Panics now and then.
    async fn tick(self, term: Term, count: usize) {
        let _part = Part::new(&self, &term);
        for _ in 0..count {
            self.witness.works(&self.process, &term);
            self.maybe_panic();
            tokio::time::sleep(self.soon()).await;
        }
        self.witness.works(&self.process, &term);
    }

    fn maybe_panic(&self) {
        if self.chance(10) {
            self.witness.reach(Reached::Panic);
            // Without the message of the panic hook.
            std::panic::resume_unwind(Box::new("as the history wants it"));
        }
    }

    fn singleton(&self, key: Key) -> Singleton<Worker> {
        let work = self.clone();
        let make = move |term: Term| {
            work.witness.works(&work.process, &term);
            let part = Part::new(&work, &term);
            Worker { work: work.clone(), term, _part: part }
        };
        Singleton::new(make).on(key)
    }
}

/// The actor of a singleton.
struct Worker {
    work: Work,
    term: Term,
    _part: Part,
}

impl Worker {
    fn works(&self) {
        self.work.witness.works(&self.work.process, &self.term);
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.works();
        ctx.run_interval(Duration::from_millis(300), |worker, ctx| {
            worker.works();
            worker.work.maybe_panic();
            if worker.work.chance(10) {
                worker.work.witness.reach(Reached::ActorStopsByItself);
                ctx.stop();
            }
        });
    }

    fn stopping(&mut self, ctx: &mut Context<Self>) -> Running {
        if self.work.chance(500) {
            return Running::Stop;
        }
        self.work.witness.reach(Reached::ActorRefusesToStop);
        if self.work.chance(500) {
            ctx.run_later(self.work.soon(), |worker, ctx| {
                worker.works();
                ctx.stop();
            });
        }
        Running::Continue
    }
}
