//! Work of the leader that panics is started again.

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use actix_dsync::{
    Campaign, List,
    embedded::Embedded,
    events::{Filter, LockLost},
};
use futures::StreamExt as _;
use tokio::time::Instant;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
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

/// Panics when the log says that a lock was lost.
struct Fragile;

impl Visit for Fragile {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let is_loss = field.name() == "message" && format!("{value:?}") == "lock lost";
        assert!(!is_loss, "as the test wants it");
    }
}

impl Subscriber for Fragile {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Self);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[actix::test]
async fn a_panic_of_the_logs_subscriber_costs_no_event_and_not_the_runtime() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let guard = tracing::subscriber::set_default(Fragile);
    let mut lost = dsync.events::<LockLost>(Filter::All);
    let leases = [acquire(&dsync, "one").await, acquire(&dsync, "two").await];
    let session = consul.entries()[0].session.clone().unwrap();
    assert!(consul.destroy_session(&session));
    let mut keys = Vec::new();
    for _ in &leases {
        let told = tokio::time::timeout(Duration::from_secs(60), lost.next()).await;
        keys.push(told.expect("soon").expect("the runtime lives").key);
    }
    keys.sort();
    assert_eq!(keys, [key("one"), key("two")]);
    assert!(acquire(&dsync, "one").await.is_valid());
    drop(guard);
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
}
