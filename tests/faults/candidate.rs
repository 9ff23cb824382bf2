//! A player that campaigns, with a singleton that writes to the protected resource.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, AsyncContext as _, Context};
use actix_dsync::{
    Dsync, Key, LossReason, Resign, Term,
    events::{Deposed, Elected, Filter},
    jobs::{Singleton, SingletonHandle},
};
use futures::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::player::{Orders, REST, TICK, lines};
use crate::record::{Log, Own, What, Write, boot_nanos};

/// The order that makes a leader resign with a cool-down.
pub(crate) const RESIGN: &str = "resign";
/// The key of the campaign, and the name of the singleton's own ownership of it.
pub(crate) const LEADER: &str = "leader";
pub(crate) const JOB: &str = "job";

const COOL_DOWN: Duration = Duration::from_secs(3);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Campaigns until the input ends or the process is asked to end.
pub(crate) async fn run(orders: Orders) {
    let log = Arc::new(Log::append_to(&orders.events));
    let dsync = Dsync::builder(&orders.name)
        .address(&orders.url)
        .prefix(&orders.prefix)
        .timing(orders.timing.clone())
        .start()
        .expect("valid settings");
    let terms = Terms::default();
    std::thread::spawn({
        let (terms, log, name) = (terms.clone(), log.clone(), orders.name.clone());
        let resource = Log::append_to(&orders.resource);
        move || look(&name, &terms, &log, &resource)
    });
    let (elected, deposed) = (dsync.events(Filter::All), dsync.events(Filter::All));
    let worker = start_worker(&dsync, &orders, &log);
    let tenure = worker.tenure().clone();
    let telling = {
        let (log, terms, tenure) = (log.clone(), terms.clone(), tenure.clone());
        let terms_of = terms.clone();
        let told = log.clone();
        let electing = elected.for_each(move |Elected { token, .. }| {
            let own = own(LEADER, token.as_u64());
            told.event(What::Granted(own.clone()));
            if let Some(term) = tenure.term().filter(|term| term.token() == token) {
                terms_of.lock().insert(own, Seen { term, deadline: 0, told: false });
            }
            std::future::ready(())
        });
        let deposing = deposed.for_each(move |event: Deposed| {
            deposition(&event, &terms, &log);
            std::future::ready(())
        });
        actix_rt::spawn(async move { futures::join!(electing, deposing) })
    };

    let mut lines = lines();
    let mut terminated = signal(SignalKind::terminate()).expect("a handler for signals");
    loop {
        tokio::select! {
            _ = terminated.recv() => break,
            line = lines.recv() => match line.as_deref() {
                Some(RESIGN) => {
                    let resign = Resign::of(&tenure).cool_down(COOL_DOWN);
                    if let Err(error) = dsync.send(resign).await {
                        log.event(What::Failed(format!("resign: {error}")));
                    }
                }
                Some(REST) => {
                    hand_over(&dsync, &log).await;
                    log.event(What::Rests);
                }
                Some(other) => panic!("{other:?} is no order"),
                None => break,
            },
        }
    }
    hand_over(&dsync, &log).await;
    worker.stop().await;
    if let Err(error) = dsync.shutdown(STOP_LIMIT).await {
        log.event(What::Failed(format!("shutdown: {error}")));
    }
    drop(dsync);
    let _ = tokio::time::timeout(STOP_LIMIT, telling).await;
    log.event(What::Finished);
}

async fn hand_over(dsync: &Dsync, log: &Log) {
    if let Err(error) = dsync.hand_over(STOP_LIMIT).await {
        log.event(What::Failed(format!("hand over: {error}")));
    }
}

fn deposition(event: &Deposed, terms: &Terms, log: &Log) {
    let own = own(LEADER, event.token.as_u64());
    let valid = terms.lock().get(&own).is_some_and(|seen| seen.term.is_valid());
    log.event(if event.reason == LossReason::Resigned && !valid {
        What::Released { own, lost: false }
    } else {
        let reason = serde_json::to_value(event.reason).expect("a plain name");
        What::Lost { own, reason: reason.as_str().expect("a plain name").to_owned(), valid }
    });
}

fn own(key: &str, token: u64) -> Own {
    Own { key: key.to_owned(), token }
}

/// The terms of this process so far.
#[derive(Clone, Default)]
struct Terms(Arc<Mutex<HashMap<Own, Seen>>>);

struct Seen {
    term: Term,
    /// The term's deadline at the last check.
    deadline: u64,
    told: bool,
}

impl Terms {
    fn lock(&self) -> MutexGuard<'_, HashMap<Own, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks the terms on a separate thread, so that no runtime's trouble hides their state.
fn look(name: &str, terms: &Terms, log: &Log, resource: &Log) {
    loop {
        std::thread::sleep(TICK);
        for (own, seen) in &mut *terms.lock() {
            let asked = boot_nanos();
            if seen.term.is_valid() {
                let left = u64::try_from(seen.term.remaining().as_nanos()).unwrap_or(u64::MAX);
                seen.deadline = asked.saturating_add(left);
                resource.write(&Write::line(asked, name, own));
            } else if !seen.told {
                seen.told = true;
                log.event(What::Invalid { own: own.clone(), deadline: seen.deadline });
            }
        }
    }
}

fn start_worker(dsync: &Dsync, orders: &Orders, log: &Arc<Log>) -> SingletonHandle<Worker> {
    let (name, log) = (orders.name.clone(), log.clone());
    let resource = Arc::new(Log::append_to(&orders.resource));
    let make = move |term| {
        let (name, log, resource) = (name.clone(), log.clone(), resource.clone());
        Worker { name, term, log, resource }
    };
    let key = Key::new(LEADER).expect("a valid key");
    Singleton::new(make).on(key).start(dsync).expect("valid settings")
}

/// An actor that only the leader runs. It does not check the clock: it is stopped.
struct Worker {
    name: String,
    term: Term,
    log: Arc<Log>,
    resource: Arc<Log>,
}

impl Worker {
    fn own(&self) -> Own {
        own(JOB, self.term.token().as_u64())
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.log.event(What::Granted(self.own()));
        ctx.run_interval(TICK, |worker, _| {
            let own = worker.own();
            worker.resource.write(&Write::line(boot_nanos(), &worker.name, &own));
        });
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.log.event(What::Released { own: self.own(), lost: false });
    }
}
