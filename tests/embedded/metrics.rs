//! The metrics.

use std::{
    cell::Cell,
    collections::BTreeMap,
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Context};
use actix_dsync::{Acquire, Campaign, Dsync, Release, Resign, embedded::Embedded, jobs::Singleton};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use crate::{acquire, key, runtime};

/// Stores every number by its metric's name and labels.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

struct Place {
    numbers: Numbers,
    name: String,
}

impl Numbers {
    fn place(&self, key: &Key) -> Arc<Place> {
        let labels: Vec<_> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        Arc::new(Place { numbers: self.clone(), name })
    }

    fn all(&self, name: &str) -> Vec<f64> {
        self.0.lock().unwrap().get(name).cloned().unwrap_or_default()
    }

    fn sum(&self, name: &str) -> f64 {
        self.all(name).iter().sum()
    }

    fn last(&self, name: &str) -> Option<f64> {
        self.all(name).last().copied()
    }
}

impl Place {
    fn note(&self, number: f64) {
        self.numbers.0.lock().unwrap().entry(self.name.clone()).or_default().push(number);
    }
}

impl CounterFn for Place {
    fn increment(&self, by: u64) {
        self.note(by as f64);
    }

    fn absolute(&self, _: u64) {
        unreachable!("nothing counts so");
    }
}

impl GaugeFn for Place {
    fn increment(&self, _: f64) {
        unreachable!("gauges are set");
    }

    fn decrement(&self, _: f64) {
        unreachable!("gauges are set");
    }

    fn set(&self, to: f64) {
        self.note(to);
    }
}

impl HistogramFn for Place {
    fn record(&self, number: f64) {
        self.note(number);
    }
}

impl Recorder for Numbers {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.place(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.place(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.place(key))
    }
}

#[actix::test]
async fn holds_acquisitions_waits_hand_overs_and_losses_are_counted_by_service() {
    tokio::time::pause();
    let numbers = Numbers::default();
    let _guard = metrics::set_default_local_recorder(&numbers);
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    dsync.ready().await.unwrap();

    // Acquired, handed over within the process, and released.
    let first = acquire(&dsync, "k").await;
    let behind = dsync.send(Acquire::new(key("k")));
    let _ = dsync.send(Release(first)).await.unwrap();
    let second = behind.await.unwrap();
    let waiting = dsync.send(Acquire::new(key("k")));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(numbers.last("dsync_held service=one"), Some(1.0));
    assert_eq!(numbers.last("dsync_waiting service=one"), Some(1.0));
    drop(waiting);
    let _ = dsync.send(Release(second)).await.unwrap();
    assert_eq!(numbers.sum("dsync_acquisitions_total service=one"), 1.0);
    assert_eq!(numbers.sum("dsync_hand_overs_total service=one"), 1.0);
    assert_eq!(numbers.all("dsync_wait_seconds service=one").len(), 2);
    let held = numbers.all("dsync_hold_seconds service=one");
    assert_eq!(held.len(), 2, "{held:?}");
    assert!((20.0..21.0).contains(&held[1]), "{held:?}");

    // Lost.
    let lease = acquire(&dsync, "k").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(consul.delete_key("k"));
    lease.lost().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(numbers.sum("dsync_losses_total service=one reason=key_deleted"), 1.0);
    assert_eq!(numbers.sum("dsync_acquisitions_total service=one"), 2.0);
    assert_eq!(numbers.all("dsync_hold_seconds service=one").len(), 3);
    assert_eq!(numbers.last("dsync_held service=one"), Some(0.0));

    // The session.
    let (took, margin) = (
        numbers.all("dsync_renew_seconds service=one"),
        numbers.all("dsync_renew_margin_seconds service=one"),
    );
    assert!(took.len() > 5 && took.len() == margin.len(), "{took:?}");
    let timing = dsync.timing();
    let least = (timing.lease() - timing.renew_period()).as_secs_f64() - 1.1;
    assert!(margin.iter().all(|left| *left > least), "{margin:?}");
    assert_eq!(numbers.sum("dsync_renewal_failures_total service=one"), 0.0);
    let session = dsync.health().session.unwrap().id;
    assert!(consul.destroy_session(&session));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(numbers.sum("dsync_renewal_failures_total service=one") >= 1.0);

    let held = acquire(&dsync, "k").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    drop(held);
    assert_eq!(numbers.last("dsync_held service=one"), Some(0.0), "nothing is held at the end");
    assert_eq!(numbers.sum("dsync_losses_total service=one reason=shutdown"), 1.0);
}

/// `increase` does not see the first event of a counter that appears with it.
#[actix::test]
async fn every_counter_is_shown_before_it_counts() {
    tokio::time::pause();
    let numbers = Numbers::default();
    let _guard = metrics::set_default_local_recorder(&numbers);
    let by_key = ["losses", "acquisitions", "hand_overs", "panics"];
    let of_all = ["renewal_failures", "connections_refused"];
    let shown = |names: &[&str], labels: &str| {
        names.iter().for_each(|name| {
            let reason = if *name == "losses" { " reason=session_gone" } else { "" };
            let place = format!("dsync_{name}_total {labels}{reason}");
            assert_eq!(numbers.all(&place).first(), Some(&0.0), "{place}");
        });
    };
    let one = runtime("one", &Embedded::new());
    shown(&by_key, "service=one");
    shown(&of_all, "service=one");
    let builder = Dsync::builder("two").embedded(&Embedded::new()).on_current_arbiter();
    let two = builder.metrics_by_key(true).start().unwrap();
    shown(&of_all, "service=two");
    drop(acquire(&two, "k").await);
    shown(&["losses", "hand_overs", "panics"], "service=two key=k");
    drop((one, two));
}

/// Whether this is the first call.
fn is_first(calls: &Cell<u32>) -> bool {
    calls.replace(calls.get() + 1) == 0
}

/// Panics when it is started, if it is the first.
struct Worker {
    is_first: bool,
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        assert!(!self.is_first, "as the test wants it");
    }
}

/// Work that depends on the leadership of `job`. It panics the first time, and never again.
type Work = fn(Dsync) -> Pin<Box<dyn Future<Output = ()>>>;

const PANICS_ONCE: [(&str, Work); 4] = [
    ("turn", |dsync| {
        let calls = Cell::new(0);
        let work = move |_| {
            let is_first = is_first(&calls);
            async move { assert!(!is_first, "as the test wants it") }
        };
        let job = dsync.every(key("job"), Duration::from_secs(1), work);
        Box::pin(async move { job.await.unwrap() })
    }),
    ("while_leading", |dsync| {
        let calls = Cell::new(0);
        let job = dsync.while_leading(key("job"), move |_| {
            let is_first = is_first(&calls);
            async move {
                assert!(!is_first, "as the test wants it");
                pending::<()>().await;
            }
        });
        Box::pin(async move { job.await.unwrap() })
    }),
    ("singleton", |dsync| {
        let calls = Cell::new(0);
        let made = move |_| Worker { is_first: is_first(&calls) };
        let singleton = Singleton::new(made).on(key("job")).start(&dsync).unwrap();
        Box::pin(async move {
            pending::<()>().await;
            drop(singleton);
        })
    }),
    ("creation of a singleton", |dsync| {
        let calls = Cell::new(0);
        let made = move |_| {
            assert!(!is_first(&calls), "as the test wants it");
            Worker { is_first: false }
        };
        let singleton = Singleton::new(made).on(key("job")).start(&dsync).unwrap();
        Box::pin(async move {
            pending::<()>().await;
            drop(singleton);
        })
    }),
];

#[actix::test]
async fn a_panic_of_work_that_depends_on_leadership_is_counted_once() {
    tokio::time::pause();
    for (name, work) in PANICS_ONCE {
        for (by_key, place) in [(false, "service=one"), (true, "service=one key=job")] {
            let numbers = Numbers::default();
            let _guard = metrics::set_default_local_recorder(&numbers);
            let consul = Embedded::new();
            let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
            let dsync = builder.metrics_by_key(by_key).start().unwrap();
            let working = actix_rt::spawn(work(dsync.clone()));
            tokio::time::sleep(Duration::from_secs(60)).await;
            let counted = numbers.all(&format!("dsync_panics_total {place}"));
            assert_eq!(counted, [0.0, 1.0], "{name}, {place}");
            assert!(!working.is_finished(), "{name} goes on");
            working.abort();
            dsync.shutdown(Duration::from_secs(5)).await.unwrap();
        }
    }
}

#[actix::test]
async fn leadership_is_a_gauge() {
    tokio::time::pause();
    let numbers = Numbers::default();
    let _guard = metrics::set_default_local_recorder(&numbers);
    let consul = Embedded::new();
    let (dsync, other) = (runtime("one", &consul), runtime("two", &consul));
    let tenure = dsync.send(Campaign::on(key("leader"))).await.unwrap();
    tenure.elected().await;
    // A process that never led shows 0, so that an alert can see that nobody leads.
    let follower = other.send(Campaign::on(key("leader"))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(numbers.all("dsync_leader service=one"), [0.0, 1.0]);
    assert_eq!(numbers.all("dsync_leader service=two"), [0.0]);
    drop(follower);
    dsync.send(Resign::of(&tenure)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(numbers.last("dsync_leader service=one"), Some(0.0));
}

#[actix::test]
async fn a_process_is_ready_while_it_has_a_session() {
    tokio::time::pause();
    let numbers = Numbers::default();
    let _guard = metrics::set_default_local_recorder(&numbers);
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    assert_eq!(numbers.last("dsync_ready service=one"), Some(0.0));
    dsync.ready().await.unwrap();
    assert_eq!(numbers.last("dsync_ready service=one"), Some(1.0));
    consul.cut();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(numbers.last("dsync_ready service=one"), Some(0.0));
}

#[actix::test]
async fn without_keys_as_labels_the_gauge_of_leadership_shows_whether_any_key_is_led() {
    tokio::time::pause();
    let numbers = Numbers::default();
    let _guard = metrics::set_default_local_recorder(&numbers);
    let consul = Embedded::new();
    let (dsync, other) = (runtime("one", &consul), runtime("two", &consul));
    let theirs = other.send(Campaign::on(key("theirs"))).await.unwrap();
    theirs.elected().await;
    let ours = dsync.send(Campaign::on(key("ours"))).await.unwrap();
    ours.elected().await;
    let _follower = dsync.send(Campaign::on(key("theirs"))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(numbers.last("dsync_leader service=one"), Some(1.0));
    dsync.send(Resign::of(&ours)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(numbers.last("dsync_leader service=one"), Some(0.0));
}

#[actix::test]
async fn keys_are_labels_only_if_configured() {
    tokio::time::pause();
    let numbers = Numbers::default();
    let _guard = metrics::set_default_local_recorder(&numbers);
    let consul = Embedded::new();
    let by_key = |by_key| {
        let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
        builder.metrics_by_key(by_key).start().unwrap()
    };
    drop(acquire(&by_key(false), "k").await);
    let names = numbers.0.lock().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(names.iter().all(|name| !name.contains("key=")), "{names:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(acquire(&by_key(true), "k").await);
    assert_eq!(numbers.sum("dsync_acquisitions_total service=one key=k"), 1.0);
    assert_eq!(numbers.all("dsync_wait_seconds service=one key=k").len(), 1);
    assert_eq!(numbers.all("dsync_hold_seconds service=one key=k").len(), 1);
}

#[actix::test]
async fn the_longest_hold_and_wait_show_while_they_last() {
    tokio::time::pause();
    let numbers = Numbers::default();
    let _guard = metrics::set_default_local_recorder(&numbers);
    let dsync = runtime("one", &Embedded::new());
    // A term is no hold: it lasts for weeks.
    let tenure = dsync.send(Campaign::default()).await.unwrap();
    tenure.elected().await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let lease = acquire(&dsync, "k").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let waiting = dsync.send(Acquire::new(key("k")));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let last = |name: &str| numbers.last(&format!("{name} service=one")).unwrap();
    assert!((48.0..=50.0).contains(&last("dsync_oldest_hold_seconds")));
    assert!((18.0..=20.0).contains(&last("dsync_oldest_wait_seconds")));
    drop((lease, waiting));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(last("dsync_oldest_hold_seconds"), 0.0);
    assert_eq!(last("dsync_oldest_wait_seconds"), 0.0);
}
