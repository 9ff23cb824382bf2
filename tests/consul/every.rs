//! The record of a periodic job's turn, when its write is held or the reply is lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use actix_dsync::Dsync;

use crate::locks::{agent, at, key};
use crate::support::proxy::{Mode, Proxy};

/// So long that no test sees two periods.
const PERIOD: Duration = Duration::from_secs(1_000 * 86_400);
/// A text that only the body of a record's transaction contains.
const WRITE: &str = r#""cas""#;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Turns(Arc<Mutex<BTreeMap<SystemTime, usize>>>);

impl Turns {
    fn start(&self, dsync: &Dsync) -> tokio::task::JoinHandle<Result<(), actix_dsync::Error>> {
        let turns = self.clone();
        tokio::spawn(dsync.every(key("job"), PERIOD, move |turn| {
            *turns.0.lock().unwrap().entry(turn.due()).or_default() += 1;
            std::future::ready(())
        }))
    }

    fn begun(&self) -> bool {
        !self.0.lock().unwrap().is_empty()
    }

    fn assert_once_each(&self) {
        let turns = self.0.lock().unwrap();
        assert!(turns.values().all(|count| *count == 1), "{turns:?}");
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}

async fn end(dsync: &Dsync, job: tokio::task::JoinHandle<Result<(), actix_dsync::Error>>) {
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(job.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_record_that_arrives_after_its_repetition_gives_no_second_turn() {
    let proxy = Proxy::to(agent().http_addr());
    let dsync = at(proxy.url(), "late-record").start().unwrap();
    let turns = Turns::default();
    proxy.hold_next(WRITE);
    let job = turns.start(&dsync);
    until("the write is held", || proxy.holds()).await;
    assert!(!turns.begun());
    until("it is written by another request", || turns.begun()).await;
    proxy.let_pass();
    tokio::time::sleep(Duration::from_secs(2)).await;
    turns.assert_once_each();
    end(&dsync, job).await;
}

#[tokio::test]
async fn a_record_whose_answer_was_lost_is_settled_by_reading_it() {
    let proxy = Proxy::to(agent().http_addr());
    let dsync = at(proxy.url(), "lost-answer").start().unwrap();
    let turns = Turns::default();
    proxy.hold_next(WRITE);
    let job = turns.start(&dsync);
    until("the write is held", || proxy.holds()).await;
    proxy.set(Mode::OneWay);
    proxy.let_pass();
    let entry = "lost-answer/.dsync/every/job";
    until("it has arrived", || agent().operator().kv_get(entry).is_some()).await;
    // Longer than a request's limit, shorter than the lease.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!turns.begun(), "begun though nobody knows whether it may");
    proxy.set(Mode::Forward);
    until("the turn begins", || turns.begun()).await;
    turns.assert_once_each();
    assert_eq!(proxy.requests(WRITE).len(), 1, "written again instead of read");
    end(&dsync, job).await;

    // Another process finds the turn taken.
    let other = at(agent().url(), "lost-answer").start().unwrap();
    let job = turns.start(&other);
    tokio::time::sleep(Duration::from_secs(3)).await;
    turns.assert_once_each();
    end(&other, job).await;
}
