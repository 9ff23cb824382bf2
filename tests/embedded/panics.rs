//! Work of the leader that panics is started again.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::{Actor, ActorContext as _, AsyncContext as _, Context};
use actix_dsync::{
    Acquire, Campaign, Lease, List,
    embedded::Embedded,
    events::{Filter, LockLost},
    jobs::Singleton,
};
use futures::StreamExt as _;
use tokio::time::Instant;
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::{acquire, key, runtime};

#[actix::test]
async fn work_that_panics_is_called_again_in_its_term_after_growing_pauses() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let starts = Rc::new(RefCell::new(Vec::new()));
    let began = starts.clone();
    let job = dsync.while_leading(key("job"), move |term| {
        began.borrow_mut().push((Instant::now(), term.token()));
        let count = began.borrow().len();
        assert!(count.is_multiple_of(2), "in the call");
        async move {
            // The fourth run is long, which resets the pauses.
            let life = if count == 4 { 10 } else { 0 };
            tokio::time::sleep(Duration::from_secs(life)).await;
            assert!(count > 7, "in the future: {count}");
        }
    });
    let job = actix_rt::spawn(job);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let starts = starts.borrow().clone();
    let pauses: Vec<_> = starts.windows(2).map(|two| (two[1].0 - two[0].0).as_millis()).collect();
    let expected = [100, 200, 400, 10_100, 200, 400, 800];
    assert_eq!(pauses.len(), expected.len(), "{pauses:?}");
    for (pause, expected) in pauses.iter().zip(expected) {
        assert!((expected..expected + 5).contains(pause), "{pauses:?}");
    }
    assert!(starts.iter().all(|(_, token)| *token == starts[0].1), "one term: {starts:?}");
    assert!(!job.is_finished());
    // The eighth run has returned; the process still leads.
    assert!(dsync.send(Campaign::on(key("job"))).await.unwrap().is_leader());
    let report = dsync.send(List).await.unwrap();
    let told: Vec<_> = report.incidents.iter().map(|incident| incident.what.as_str()).collect();
    assert!(told.contains(&"the work of the leader has panicked: in the call"), "{told:?}");
    assert!(told.contains(&"the work of the leader has panicked: in the future: 6"), "{told:?}");
}

#[actix::test]
async fn work_that_panics_is_not_called_again_once_its_campaign_has_ended() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let runs = Rc::new(RefCell::new(0));
    let counted = runs.clone();
    let job = actix_rt::spawn(dsync.while_leading(key("job"), move |_| {
        *counted.borrow_mut() += 1;
        async { panic!("as the test wants it") }
    }));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = *runs.borrow();
    assert!(before > 2);
    dsync.hand_over(Duration::from_secs(5)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(job.await.unwrap(), Ok(()));
    assert_eq!(*runs.borrow(), before);
}

/// Panics when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("in the destructor");
    }
}

#[actix::test]
async fn work_that_panics_while_it_is_dropped_is_called_again_in_the_next_term() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (terms, turns) = (Rc::default(), Rc::default());
    let (begun, turned): (Rc<RefCell<Vec<_>>>, Rc<RefCell<Vec<_>>>) = (terms, turns);
    let (terms, turns) = (begun.clone(), turned.clone());
    let job = actix_rt::spawn(dsync.while_leading(key("job"), move |term| {
        begun.borrow_mut().push(term.token());
        async {
            let _held = Grenade;
            std::future::pending::<()>().await;
        }
    }));
    let every = Duration::from_secs(1);
    let periodic = actix_rt::spawn(dsync.every(key("periodic"), every, move |turn| {
        turned.borrow_mut().push(turn.token());
        async {
            let _held = Grenade;
            std::future::pending::<()>().await;
        }
    }));
    tokio::time::sleep(Duration::from_secs(5)).await;
    for name in ["job", "periodic"] {
        assert!(consul.force_release(name));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    for tokens in [terms.borrow(), turns.borrow()] {
        assert!(tokens.len() == 2 && tokens[0] < tokens[1], "{tokens:?}");
    }
    let report = dsync.send(List).await.unwrap();
    let told: Vec<_> = report.incidents.iter().map(|incident| incident.what.as_str()).collect();
    for work in ["the work of the leader", "a turn of the periodic job"] {
        let incident = format!("{work} has panicked: in the destructor");
        assert!(told.contains(&&*incident), "{told:?}");
    }
    // At the end of the process, too.
    dsync.hand_over(Duration::from_secs(5)).await.unwrap();
    assert_eq!((job.await.unwrap(), periodic.await.unwrap()), (Ok(()), Ok(())));
}

/// Panics at every event, and whenever a span is entered, left or filled in, or that of a hold is
/// created.
struct Fragile;

impl Subscriber for Fragile {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        assert_ne!(span.metadata().name(), "hold", "as the test wants it");
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        panic!("as the test wants it");
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        panic!("as the test wants it");
    }

    fn enter(&self, _: &Id) {
        panic!("as the test wants it");
    }

    fn exit(&self, _: &Id) {
        panic!("as the test wants it");
    }
}

#[actix::test]
async fn a_log_that_always_panics_costs_no_event_no_lock_and_not_the_runtime() {
    tokio::time::pause();
    let consul = Embedded::new();
    let guard = tracing::subscriber::set_default(Fragile);
    let dsync = runtime("one", &consul);
    let mut lost = dsync.events::<LockLost>(Filter::All);
    let leases = [acquire(&dsync, "one").await, acquire(&dsync, "two").await];
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(leases.iter().all(Lease::is_valid));
    let session = consul.sessions()[0].id.clone();
    assert!(consul.destroy_session(&session));
    let mut keys = Vec::new();
    for _ in &leases {
        let told = tokio::time::timeout(Duration::from_secs(60), lost.next()).await;
        keys.push(told.expect("soon").expect("the runtime lives").key);
    }
    keys.sort();
    assert_eq!(keys, [key("one"), key("two")]);
    // Another process waits, and learns of the release from its blocking read.
    let ours = acquire(&dsync, "one").await;
    assert!(ours.is_valid());
    let other = runtime("two", &consul);
    let waits = other.send(Acquire::new(key("one")));
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(ours);
    assert!(waits.await.unwrap().is_valid());
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    drop(guard);
}

/// Ends its own life.
struct Short;

impl Actor for Short {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_later(Duration::from_secs(1), |_, ctx| ctx.stop());
    }
}

#[actix::test]
async fn a_singleton_lives_again_although_the_log_panics_when_it_stops() {
    tokio::time::pause();
    let consul = Embedded::new();
    let guard = tracing::subscriber::set_default(Fragile);
    let dsync = runtime("one", &consul);
    let lives = Rc::new(RefCell::new(0));
    let counted = lives.clone();
    let made = move |_| {
        *counted.borrow_mut() += 1;
        Short
    };
    let singleton = Singleton::new(made).on(key("job")).start(&dsync).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(*lives.borrow() > 5, "{} lives", lives.borrow());
    singleton.stop().await;
    drop(guard);
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
}
