//! What a process does that wakes up late: no user code is polled after its term.

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending},
    pin::Pin,
    rc::Rc,
    time::Duration,
};

use actix::prelude::*;
use actix_dsync::{
    AcquireAll, Campaign, Dsync, Tenure, Term,
    embedded::Embedded,
    jobs::{Singleton, SingletonHandle},
    web::{Leader, LeaderOnly},
};
use actix_web::{
    App,
    dev::Service as _,
    test::{TestRequest, init_service},
    web::resource,
};

use crate::{acquire, in_a_task, key, runtime, steps};

const TICK: Duration = Duration::from_millis(100);
/// How long the process seems to be stopped: after it, every timer is overdue at once.
const PAUSE: Duration = Duration::from_secs(60);

/// The number of runs of user code, and of those outside its term.
#[derive(Clone, Default)]
struct Runs {
    all: Rc<Cell<usize>>,
    outside: Rc<Cell<usize>>,
}

impl Runs {
    fn record(&self, valid: bool) {
        self.all.set(self.all.get() + 1);
        self.outside.set(self.outside.get() + usize::from(!valid));
    }
}

/// Works at each tick, and refuses to stop.
struct Ticker {
    term: Term,
    runs: Runs,
    asked_to_stop: Rc<Cell<bool>>,
}

impl Actor for Ticker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.runs.record(self.term.is_valid());
        ctx.run_interval(TICK, |ticker, _| ticker.runs.record(ticker.term.is_valid()));
    }

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        self.asked_to_stop.set(true);
        Running::Continue
    }
}

fn ticker(dsync: &Dsync, runs: &Runs) -> (SingletonHandle<Ticker>, Rc<Cell<bool>>) {
    let (runs, asked) = (runs.clone(), Rc::new(Cell::new(false)));
    let asked_to_stop = asked.clone();
    let make = move |term: Term| {
        runs.record(term.is_valid());
        Ticker { term, runs: runs.clone(), asked_to_stop: asked_to_stop.clone() }
    };
    (Singleton::new(make).on(key("job")).start(dsync).unwrap(), asked)
}

#[actix::test]
async fn an_actor_that_is_stopping_runs_no_overdue_timer_after_its_term() {
    in_a_task(async {
        let consul = Embedded::new();
        let dsync = runtime("one", &consul);
        let runs = Runs::default();
        let (handle, asked_to_stop) = ticker(&dsync, &runs);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(runs.all.get() > 10);
        consul.cut();
        while !asked_to_stop.get() {
            tokio::time::sleep(TICK / 10).await;
        }
        assert!(handle.tenure().is_leader(), "it is given time to stop");
        tokio::time::advance(PAUSE).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(handle.address().is_none());
        assert_eq!(runs.outside.get(), 0, "it worked after its term");
    })
    .await;
}

/// The ways in which user code runs in a term.
type Work = fn(Dsync, Runs) -> Pin<Box<dyn Future<Output = ()>>>;

async fn tick(term: Term, runs: Runs) {
    loop {
        runs.record(term.is_valid());
        tokio::time::sleep(TICK).await;
    }
}

const WORK: [(&str, Work); 7] = [
    ("singleton", |dsync, runs| {
        Box::pin(async move {
            let _handle = ticker(&dsync, &runs);
            pending::<()>().await;
        })
    }),
    ("while_leading", |dsync, runs| {
        Box::pin(async move {
            let work = move |term: Term| {
                runs.record(term.is_valid());
                tick(term, runs.clone())
            };
            dsync.while_leading(key("job"), work).await.unwrap();
        })
    }),
    ("every", |dsync, runs| {
        Box::pin(async move {
            let work = move |turn: actix_dsync::jobs::Turn| {
                runs.record(turn.term().is_valid());
                tick(turn.term().clone(), runs.clone())
            };
            dsync.every(key("job"), Duration::from_secs(3_600), work).await.unwrap();
        })
    }),
    ("term", |dsync, runs| {
        Box::pin(async move {
            let tenure: Tenure = dsync.send(Campaign::on(key("job"))).await.unwrap();
            loop {
                let term = tenure.elected().await;
                let _ = term.run(tick(term.clone(), runs.clone())).await;
            }
        })
    }),
    ("lease", |dsync, runs| {
        Box::pin(async move {
            loop {
                let lease = acquire(&dsync, "job").await;
                let work = async {
                    loop {
                        runs.record(lease.is_valid());
                        tokio::time::sleep(TICK).await;
                    }
                };
                let _ = lease.run(work).await;
            }
        })
    }),
    ("lease set", |dsync, runs| {
        Box::pin(async move {
            loop {
                let asked = AcquireAll::new([key("job"), key("other")]);
                let set = dsync.send(asked).await.unwrap();
                let work = async {
                    loop {
                        runs.record(set.is_valid());
                        tokio::time::sleep(TICK).await;
                    }
                };
                let _ = set.run(work).await;
            }
        })
    }),
    ("handler for the leader only", |dsync, runs| {
        Box::pin(async move {
            let tenure: Tenure = dsync.send(Campaign::on(key("job"))).await.unwrap();
            let handler = move |leader: Leader| {
                let runs = runs.clone();
                async move {
                    tick((*leader).clone(), runs).await;
                    "never"
                }
            };
            let only = resource("/").wrap(LeaderOnly::of(&tenure)).to(handler);
            let app = init_service(App::new().service(only)).await;
            loop {
                tenure.elected().await;
                let _ = app.call(TestRequest::get().uri("/").to_request()).await;
            }
        })
    }),
];

#[actix::test]
async fn a_process_stopped_after_any_number_of_steps_does_no_work_after_its_term() {
    in_a_task(async {
        for (name, work) in WORK {
            let ran = RefCell::new(0);
            for count in 0..60 {
                let consul = Embedded::new();
                let dsync = runtime("one", &consul);
                let runs = Runs::default();
                let working = actix_rt::spawn(work(dsync.clone(), runs.clone()));
                steps(count).await;
                consul.cut();
                tokio::time::advance(PAUSE).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert_eq!(runs.outside.get(), 0, "{name}, {count} steps");
                *ran.borrow_mut() += usize::from(runs.all.get() > 0);
                working.abort();
                dsync.shutdown(Duration::from_millis(1)).await.unwrap_err();
            }
            assert!((1..60).contains(&ran.take()), "{name} always or never ran before");
        }
    })
    .await;
}

#[actix::test]
async fn a_runtime_that_was_stopped_past_its_deadline_is_not_ready_until_it_has_another_session() {
    tokio::time::pause();
    let dsync = runtime("one", &Embedded::new());
    dsync.ready().await.unwrap();
    // Time passes, and no task has run since.
    assert!(futures::poll!(std::pin::pin!(tokio::time::advance(PAUSE))).is_pending());
    assert!(!dsync.health().ready);
    let mut ready = std::pin::pin!(dsync.ready());
    assert!(futures::poll!(&mut ready).is_pending());
    assert_eq!(ready.await, Ok(()));
    assert!(dsync.health().ready);
}
