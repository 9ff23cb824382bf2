//! Actors and jobs that live while their process leads.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::Duration,
};

use actix::prelude::*;
use actix_dsync::{
    Campaign, Dsync, Error, FencingToken, Resign, Tenure, Term, Timing,
    embedded::Embedded,
    jobs::{Singleton, SingletonHandle},
};
use tokio::time::Instant;

use crate::{in_a_task, key, runtime};

/// The events of one process's actors.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<(Duration, String)>>>);

impl Log {
    fn write(&self, began: Instant, word: impl Into<String>) {
        self.0.borrow_mut().push((began.elapsed(), word.into()));
    }

    fn words(&self) -> Vec<String> {
        self.0.borrow().iter().map(|(_, word)| word.clone()).collect()
    }

    fn count(&self, word: &str) -> usize {
        self.0.borrow().iter().filter(|(_, said)| said == word).count()
    }

    /// The time of the word's first entry.
    fn first(&self, word: &str) -> Duration {
        let log = self.0.borrow();
        log.iter().find(|(_, said)| said == word).map(|(at, _)| *at).expect("it was said")
    }
}

/// Refuses to stop for ever.
const STUBBORN: Duration = Duration::MAX;

/// How a worker behaves.
#[derive(Clone, Copy, Default)]
struct Manner {
    /// Refuses to stop for this long after it was asked to.
    stops_after: Option<Duration>,
    /// Waits for ever, so that none of its messages and futures is polled.
    waits: bool,
    /// Stops by itself after this time.
    lives: Option<Duration>,
    /// Panics after this time.
    panics: Option<Duration>,
}

struct Worker {
    term: Term,
    log: Log,
    manner: Manner,
    began: Instant,
    /// The number of live workers in the test: never two.
    alive: Rc<Cell<usize>>,
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.alive.set(self.alive.get() + 1);
        assert_eq!(self.alive.get(), 1, "two live at a time");
        assert!(self.term.is_valid(), "started outside of its term");
        self.log.write(self.began, "started");
        if let Some(life) = self.manner.lives {
            ctx.run_later(life, |_, ctx| ctx.stop());
        }
        if let Some(life) = self.manner.panics {
            ctx.run_later(life, |_, _| panic!("as the test wants it"));
        }
        if self.manner.waits {
            ctx.wait(actix::fut::wrap_future(std::future::pending::<()>()));
        }
    }

    fn stopping(&mut self, ctx: &mut Context<Self>) -> Running {
        self.log.write(self.began, "stopping");
        match self.manner.stops_after {
            Some(STUBBORN) => Running::Continue,
            Some(time) => {
                self.manner.stops_after = None;
                ctx.run_later(time, |_, ctx| ctx.stop());
                Running::Continue
            }
            None => Running::Stop,
        }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.log.write(self.began, "stopped");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
        let valid = if self.term.is_valid() { "gone" } else { "gone late" };
        self.log.write(self.began, valid);
    }
}

/// The state that the processes of a test share.
#[derive(Clone)]
struct Stage {
    consul: Embedded,
    began: Instant,
    alive: Rc<Cell<usize>>,
}

impl Stage {
    fn new() -> Self {
        Self { consul: Embedded::new(), began: Instant::now(), alive: Rc::default() }
    }

    fn singleton(&self, log: &Log, manner: Manner) -> Singleton<Worker> {
        let (began, alive, log) = (self.began, self.alive.clone(), log.clone());
        let make = move |term: Term| Worker {
            term,
            log: log.clone(),
            manner,
            began,
            alive: alive.clone(),
        };
        Singleton::new(make).on(key("job"))
    }

    fn start(&self, dsync: &Dsync, manner: Manner) -> (SingletonHandle<Worker>, Log) {
        let log = Log::default();
        (self.singleton(&log, manner).start(dsync).unwrap(), log)
    }
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[actix::test]
async fn the_elected_process_runs_the_actor_and_the_next_one_only_after_it_has_gone() {
    tokio::time::pause();
    let stage = Stage::new();
    let (one, two) = (runtime("one", &stage.consul), runtime("two", &stage.consul));
    let (first, log) = stage.start(&one, Manner::default());
    seconds(1).await;
    let (second, other) = stage.start(&two, Manner::default());
    seconds(60).await;
    assert_eq!(log.words(), ["started"]);
    assert!(other.words().is_empty() && second.address().is_none());
    assert!(first.address().unwrap().connected());
    let token = first.tenure().token().unwrap();

    let asked = Instant::now();
    first.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    seconds(1).await;
    assert_eq!(log.words(), ["started", "stopping", "stopped", "gone"]);
    assert_eq!(other.words(), ["started"]);
    assert!(second.tenure().token().unwrap() > token);
    drop(second);
    seconds(1).await;
    assert_eq!(other.words(), ["started", "stopping", "stopped", "gone"]);
    assert_eq!(stage.consul.entries(), [], "the last one resigned");
}

#[actix::test]
async fn a_process_that_is_cut_off_has_stopped_its_actor_before_its_deadline() {
    tokio::time::pause();
    for manner in [
        Manner::default(),
        Manner { stops_after: Some(Duration::from_secs(1)), ..Manner::default() },
        Manner { stops_after: Some(STUBBORN), ..Manner::default() },
        Manner { waits: true, ..Manner::default() },
        Manner { waits: true, stops_after: Some(STUBBORN), ..Manner::default() },
    ] {
        let stage = Stage::new();
        let one = runtime("one", &stage.consul);
        let budget = Duration::from_secs(2);
        let log = Log::default();
        let first = stage.singleton(&log, manner).stop_within(budget).start(&one).unwrap();
        seconds(20).await;
        let term = first.tenure().term().unwrap();
        stage.consul.cut();
        let deadline = stage.began.elapsed() + term.remaining();
        seconds(20).await;
        assert!(!term.is_valid());
        let told = log.first("stopping");
        assert!(told <= deadline - budget + Duration::from_millis(2), "{told:?} of {deadline:?}");
        assert!(told > deadline - budget - Duration::from_millis(2), "{told:?} of {deadline:?}");
        let gone = log.first("stopped");
        let expected = told + manner.stops_after.unwrap_or_default().min(budget);
        assert!(gone <= expected + Duration::from_millis(2), "{gone:?} of {expected:?}");
        assert!(first.address().is_none());
        stage.consul.mend();
        seconds(60).await;
        assert_eq!(log.count("started"), 2, "it leads again, and works again");
        assert!(first.address().is_some());
        one.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}

#[actix::test]
async fn an_interruption_that_ends_in_time_restarts_the_actor_under_the_same_token() {
    tokio::time::pause();
    let stage = Stage::new();
    let one = runtime("one", &stage.consul);
    let log = Log::default();
    let budget = Duration::from_secs(5);
    let first = stage.singleton(&log, Manner::default()).stop_within(budget).start(&one).unwrap();
    seconds(20).await;
    let term = first.tenure().term().unwrap();
    stage.consul.cut();
    tokio::time::sleep(term.remaining() - Duration::from_secs(4)).await;
    assert_eq!(log.words(), ["started", "stopping", "stopped", "gone"]);
    assert!(term.is_valid());
    stage.consul.mend();
    seconds(5).await;
    assert_eq!(log.count("started"), 2);
    assert_eq!(first.tenure().token(), Some(term.token()));

    // A shorter interruption has no effect.
    stage.consul.cut();
    seconds(4).await;
    stage.consul.mend();
    seconds(60).await;
    assert_eq!((log.count("started"), log.count("stopping")), (2, 1));
}

#[actix::test]
async fn an_actor_that_dies_is_restarted_after_growing_pauses_that_a_long_life_resets() {
    tokio::time::pause();
    let at_once = Some(Duration::ZERO);
    for manner in [
        Manner { lives: at_once, ..Manner::default() },
        Manner { panics: at_once, ..Manner::default() },
        // Its broken state must not run again.
        Manner { panics: at_once, stops_after: Some(STUBBORN), ..Manner::default() },
    ] {
        let stage = Stage::new();
        let one = runtime("one", &stage.consul);
        let (first, log) = stage.start(&one, manner);
        seconds(60).await;
        let starts: Vec<_> = log
            .0
            .borrow()
            .iter()
            .filter(|(_, word)| word == "started")
            .map(|(at, _)| *at)
            .collect();
        let pauses: Vec<_> = starts.windows(2).map(|two| (two[1] - two[0]).as_millis()).collect();
        assert_eq!(pauses.len(), 11, "{pauses:?}");
        for (place, pause) in pauses.iter().enumerate() {
            let expected = (100 << place.min(7)).min(10_000);
            assert!((expected..expected + 5).contains(pause), "{pauses:?}");
        }
        first.stop().await;
        seconds(60).await;
        assert_eq!(log.count("started"), starts.len(), "called off for good");
    }
    let stage = Stage::new();
    let one = runtime("one", &stage.consul);
    let long = Some(Duration::from_secs(10));
    let (_first, log) = stage.start(&one, Manner { lives: long, ..Manner::default() });
    seconds(101).await;
    assert_eq!(log.count("started"), 10);
}

#[actix::test]
async fn an_actor_whose_constructor_panics_is_restarted() {
    tokio::time::pause();
    let stage = Stage::new();
    let one = runtime("one", &stage.consul);
    let (log, tries) = (Log::default(), Rc::new(Cell::new(0)));
    let (began, alive, (told, tried)) =
        (stage.began, stage.alive.clone(), (log.clone(), tries.clone()));
    let make = move |term| {
        tried.set(tried.get() + 1);
        assert!(tried.get() > 2, "as the test wants it");
        let (log, alive) = (told.clone(), alive.clone());
        Worker { term, log, manner: Manner::default(), began, alive }
    };
    let first = Singleton::new(make).start(&one).unwrap();
    assert_eq!(first.tenure().key().as_str(), "service/one/leadership");
    seconds(5).await;
    assert_eq!((tries.get(), log.count("started")), (3, 1));
}

/// An actor that notes its start, then waits and refuses to stop.
struct Noted(Rc<Cell<bool>>);

impl Actor for Noted {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.0.set(true);
        ctx.wait(actix::fut::wrap_future(std::future::pending::<()>()));
    }

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        Running::Continue
    }
}

/// Resigns as soon as the log says that the actor starts.
#[derive(Clone)]
struct ResignsAtStart(Dsync, Tenure);

impl io::Write for ResignsAtStart {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if String::from_utf8_lossy(line).contains("singleton started") {
            drop(self.0.send(Resign::of(&self.1)));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[actix::test]
async fn an_actor_whose_term_ends_before_its_first_poll_is_never_started() {
    tokio::time::pause();
    let stage = Stage::new();
    let one = runtime("one", &stage.consul);
    let started = Rc::new(Cell::new(false));
    let noted = started.clone();
    let first = Singleton::new(move |_| Noted(noted.clone())).on(key("job")).start(&one).unwrap();
    let writer = ResignsAtStart(one.clone(), first.tenure().clone());
    let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(log);
    first.tenure().ended().await;
    seconds(1).await;
    assert!(!started.get());
    first.stop().await;
}

const PAUSE: Duration = Duration::from_secs(2);

/// One of many ways in which a term ends without notice.
type Fault = fn(&Stage, &Dsync, &Tenure);

#[actix::test]
async fn a_term_that_ends_without_notice_ends_even_an_actor_that_refuses_to_stop() {
    let faults: [(Fault, bool); 4] = [
        (|_, dsync, tenure| drop(dsync.send(Resign::of(tenure).cool_down(PAUSE))), true),
        (
            |stage, _, _| {
                let session = stage.consul.entries()[0].session.clone().unwrap();
                assert!(stage.consul.destroy_session(&session));
            },
            true,
        ),
        // Consul hands the key over at once: only the token protects.
        (|stage, _, _| assert!(stage.consul.delete_key("job")), false),
        (|stage, _, _| assert!(stage.consul.force_release("job")), false),
    ];
    tokio::time::pause();
    for (place, (fault, another_waits)) in faults.into_iter().enumerate() {
        let stage = Stage::new();
        let (one, two) = (runtime("one", &stage.consul), runtime("two", &stage.consul));
        let stubborn = Manner { stops_after: Some(STUBBORN), ..Manner::default() };
        let (first, log) = stage.start(&one, stubborn);
        seconds(20).await;
        let other = another_waits.then(|| stage.start(&two, Manner::default()));
        seconds(20).await;
        let term = first.tenure().term().unwrap();
        fault(&stage, &one, first.tenure());
        term.lost().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        // It is asked to stop, but no time is left.
        let ended = ["started", "stopping", "stopped", "gone late"];
        // By now the process may lead again.
        assert_eq!(log.words()[..4], ended, "{place}");
        let (second, other) = other.unwrap_or_else(|| stage.start(&two, Manner::default()));
        seconds(60).await;
        assert_eq!(log.count("started") + other.count("started"), 2, "{place}");
        let leading = [first.address(), second.address()];
        assert_eq!(leading.iter().flatten().count(), 1, "{place}");
        drop((first, second));
        seconds(1).await;
    }
}

#[actix::test]
async fn a_second_start_for_a_key_in_one_runtime_is_refused_until_the_first_has_stopped() {
    tokio::time::pause();
    let stage = Stage::new();
    let one = runtime("one", &stage.consul);
    let quiet = || Singleton::new(|_| Quiet).on(key("job")).start(&one);
    let twice = |refused: Result<(), Error>| {
        let Err(error @ Error::AlreadyStarted { .. }) = refused else { panic!("{refused:?}") };
        let text = error.to_string();
        assert!(
            text.contains("work for job already runs") && text.contains("HttpServer"),
            "{text}"
        );
    };
    let slow = Manner { stops_after: Some(Duration::from_secs(1)), ..Manner::default() };
    let (first, log) = stage.start(&one, slow);
    seconds(1).await;
    // This holds for any kind of work and from any thread.
    twice(quiet().map(drop));
    twice(one.while_leading(key("job"), |_| async {}).await);
    twice(one.every(key("job"), Duration::from_secs(60), |_| async {}).await);
    let cloned = one.clone();
    let elsewhere = std::thread::spawn(move || {
        let job = cloned.while_leading(key("job"), |_| async {});
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(job)
    });
    twice(elsewhere.join().unwrap());
    // Other keys and other processes are not affected.
    drop(Singleton::new(|_| Quiet).on(key("other")).start(&one).unwrap());
    let two = runtime("two", &stage.consul);
    let second = Singleton::new(|_| Quiet).on(key("job")).start(&two).unwrap();

    drop(first);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(log.words().last().unwrap(), "stopping");
    twice(quiet().map(drop));
    seconds(2).await;
    let third = quiet().unwrap();
    second.stop().await;
    seconds(1).await;
    assert!(third.address().is_some());
}

#[actix::test]
async fn work_started_by_each_worker_of_a_server_runs_once() {
    let consul = Embedded::new();
    let dsync = Dsync::builder("one").embedded(&consul).start().unwrap();
    let alive = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (refused, starts) = std::sync::mpsc::channel();
    let (runtime, started) = (dsync.clone(), alive.clone());
    let server = actix_web::HttpServer::new(move || {
        let alive = started.clone();
        let work = runtime.while_leading(key("job"), move |_| {
            alive.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            std::future::pending()
        });
        let refused = refused.clone();
        actix_rt::spawn(async move { refused.send(work.await) });
        actix_web::App::new()
    });
    let server = server.workers(4).bind("127.0.0.1:0").unwrap().run();
    let serving = actix_rt::spawn(server);
    for _ in 0..3 {
        let refused = loop {
            match starts.try_recv() {
                Ok(refused) => break refused,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert!(matches!(refused, Err(Error::AlreadyStarted { .. })), "{refused:?}");
    }
    while alive.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    serving.abort();
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(alive.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[actix::test]
async fn work_resigns_from_a_campaign_started_for_it_and_never_from_the_users_own() {
    tokio::time::pause();
    let stage = Stage::new();
    let one = runtime("one", &stage.consul);
    let quiet = || Singleton::new(|_| Quiet).on(key("job")).start(&one).unwrap();
    let first = quiet();
    let joined = one.send(Campaign::on(key("job"))).await.unwrap();
    seconds(1).await;
    assert!(first.address().is_some());
    first.stop().await;
    joined.ended().await;
    assert_eq!(stage.consul.entries(), []);

    let own = one.send(Campaign::on(key("job"))).await.unwrap();
    let second = quiet();
    seconds(1).await;
    second.stop().await;
    let third = actix_rt::spawn(one.while_leading(key("job"), |_| std::future::pending()));
    seconds(1).await;
    third.abort();
    seconds(1).await;
    assert!(own.is_leader());
}

#[actix::test]
async fn a_future_that_nobody_polls_does_not_lead() {
    tokio::time::pause();
    let stage = Stage::new();
    let (one, two) = (runtime("one", &stage.consul), runtime("two", &stage.consul));
    let job = one.while_leading(key("job"), |_| async {});
    let turns = one.every(key("job"), Duration::from_secs(60), |_| async {});
    seconds(60).await;
    assert_eq!(stage.consul.entries(), []);
    let (other, log) = stage.start(&two, Manner::default());
    seconds(1).await;
    assert_eq!(log.words(), ["started"]);
    one.hand_over(Duration::from_secs(1)).await.expect("it waits for no such future");
    drop((job, turns, other));
}

struct Quiet;

impl Actor for Quiet {
    type Context = Context<Self>;
}

#[actix::test]
async fn a_stop_that_takes_longer_than_a_lease_can_spare_is_refused() {
    tokio::time::pause();
    let stage = Stage::new();
    let one = runtime("one", &stage.consul);
    let quiet = |within| Singleton::new(|_| Quiet).stop_within(within).start(&one);
    let most = Timing::default().rides_out();
    let Err(Error::Invalid { field: "stop_within", .. }) = quiet(most) else {
        panic!("{most:?} was taken");
    };
    let longest = quiet(most - Duration::from_millis(1)).unwrap();
    seconds(1).await;
    let address = longest.address().unwrap();
    seconds(600).await;
    assert!(address.connected(), "a healthy lease does not dip");
}

#[actix::test]
async fn a_hand_over_stops_actors_before_it_resigns_and_accepts_no_more() {
    tokio::time::pause();
    let stage = Stage::new();
    let (one, two) = (runtime("one", &stage.consul), runtime("two", &stage.consul));
    let slow = Manner { stops_after: Some(Duration::from_secs(1)), ..Manner::default() };
    let (first, log) = stage.start(&one, slow);
    let own = one.send(Campaign::default()).await.unwrap();
    seconds(1).await;
    let lease = crate::acquire(&one, "lock").await;
    let (_second, other) = stage.start(&two, Manner::default());
    seconds(5).await;
    let limit = Duration::from_secs(5);
    let asked = Instant::now();
    one.hand_over_on(std::future::ready(()), limit).await;
    let took = asked.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_millis(1_100)).contains(&took), "{took:?}");
    assert_eq!(log.words(), ["started", "stopping", "stopping", "stopped", "gone"]);
    own.ended().await;
    seconds(1).await;
    assert!(lease.is_valid(), "locks go on");
    assert_eq!(other.words(), ["started"]);
    let gap = other.first("started") - log.first("gone");
    assert!(gap < Duration::from_millis(200), "{gap:?}");
    assert_eq!(one.while_leading(key("job"), |_| async {}).await, Err(Error::Stopped));
    let refused = stage.singleton(&log, slow).start(&one);
    assert!(matches!(refused, Err(Error::Stopped)), "{refused:?}");
    one.hand_over(limit).await.unwrap();
    first.stop().await;
    one.shutdown(limit).await.unwrap();
}

#[actix::test]
async fn a_job_runs_once_a_term_and_is_dropped_at_its_end() {
    in_a_task(async {
        let stage = Stage::new();
        let one = runtime("one", &stage.consul);
        let runs = Rc::new(RefCell::new(Vec::<(FencingToken, bool)>::new()));
        let noted = runs.clone();
        let job = one.while_leading(key("job"), move |term| {
            let runs = noted.clone();
            async move {
                runs.borrow_mut().push((term.token(), term.is_valid()));
                // Every other run ends at once.
                if !runs.borrow().len().is_multiple_of(2) {
                    std::future::pending::<()>().await;
                }
            }
        });
        let job = actix_rt::spawn(job);
        for count in 1..=6 {
            seconds(60).await;
            assert_eq!(runs.borrow().len(), count, "one run a term");
            assert!(stage.consul.delete_key("job"));
        }
        seconds(10).await;
        let runs = runs.borrow().clone();
        assert!(runs.iter().all(|(_, valid)| *valid));
        assert!(runs.windows(2).all(|two| two[0].0 < two[1].0), "{runs:?}");
        one.shutdown(Duration::from_secs(5)).await.unwrap();
        assert_eq!(job.await.unwrap(), Ok(()), "the job ends with its campaign");
    })
    .await;
}

#[actix::test]
async fn a_job_and_a_singleton_continue_without_any_other_handle_of_the_runtime() {
    in_a_task(async {
        let stage = Stage::new();
        let one = runtime("one", &stage.consul);
        let runs = Rc::new(Cell::new(0));
        let noted = runs.clone();
        let job = actix_rt::spawn(one.while_leading(key("another"), move |_| {
            noted.set(noted.get() + 1);
            std::future::pending()
        }));
        let (worker, log) = stage.start(&one, Manner::default());
        drop(one);
        seconds(60).await;
        assert!(stage.consul.delete_key("job") && stage.consul.delete_key("another"));
        seconds(60).await;
        assert_eq!((runs.get(), log.count("started")), (2, 2));
        assert!(!job.is_finished() && worker.address().is_some());
        job.abort();
        drop(worker);
        seconds(60).await;
        assert!(stage.consul.entries().is_empty(), "{:?}", stage.consul.entries());
    })
    .await;
}

#[actix::test]
async fn a_job_needs_no_actix_and_can_be_sent_to_another_thread() {
    fn sendable<T: Send>(future: T) -> T {
        future
    }
    let consul = Embedded::new();
    let dsync = Dsync::builder("one").embedded(&consul).start().unwrap();
    let job = sendable(dsync.while_leading(key("job"), |_| async {}));
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(job.await, Err(Error::Stopped), "it begins when it is polled");
}

#[test]
fn a_start_where_no_actors_run_is_refused_and_says_what_to_do() {
    // As under `#[tokio::main]`.
    let tokio_main = tokio::runtime::Runtime::new().unwrap();
    let consul = Embedded::new();
    let dsync = Dsync::builder("one").embedded(&consul).start().unwrap();
    let start = || Singleton::new(|_| Quiet).on(key("job")).start(&dsync);
    let refused = tokio_main.block_on(async { start().map(drop) });
    let Err(Error::Invalid { field: "arbiter", why }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("#[actix_web::main]") && why.contains("LocalSet"), "{why}");
    // As it says, and the one before has begun nothing.
    let local = tokio::task::LocalSet::new();
    local.block_on(&tokio_main, async {
        let handle = start().unwrap();
        handle.tenure().elected().await;
        handle.stop().await;
    });
    tokio_main.block_on(async { dsync.shutdown(Duration::from_secs(5)).await.unwrap() });
}

#[actix::test]
async fn a_start_in_a_tokio_task_of_an_arbiters_thread_is_refused() {
    let consul = Embedded::new();
    let dsync = Dsync::builder("one").embedded(&consul).start().unwrap();
    let of = dsync.clone();
    let start = async move { Singleton::new(|_| Quiet).on(key("job")).start(&of).map(drop) };
    let refused = tokio::spawn(start).await.unwrap();
    assert!(matches!(refused, Err(Error::Invalid { field: "arbiter", .. })), "{refused:?}");
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(consul.entries(), [], "it began nothing");
}

#[actix::test]
async fn an_actor_whose_arbiter_stops_is_gone_before_its_process_resigns() {
    tokio::time::pause();
    let stage = Stage::new();
    let one = runtime("one", &stage.consul);
    let arbiter = tokio::task::LocalSet::new();
    let started = async {
        let started = stage.start(&one, Manner::default());
        seconds(1).await;
        started
    };
    let (first, log) = arbiter.run_until(started).await;
    assert!(first.address().is_some());
    drop(arbiter);
    let words = log.words();
    assert_eq!(words.last().unwrap(), "gone", "not late: {words:?}");
    seconds(1).await;
    assert_eq!(stage.consul.entries(), [], "it resigned then");
}
