//! The runtime's metrics, with the feature `metrics`.
//!
//! They go to the recorder that the process has installed for the `metrics` facade.
//! Every metric has the label `service`. Those marked "by key" also have the label
//! `key` if [`Config::metrics_by_key`](crate::Config::metrics_by_key) is set. Without
//! the feature, metrics compile to nothing.
//!
//! | name | kind | meaning |
//! |---|---|---|
//! | `dsync_held` | gauge | keys that this process owns |
//! | `dsync_waiting` | gauge | waiting callers |
//! | `dsync_oldest_hold_seconds` | gauge | the longest current hold of a caller, terms excluded |
//! | `dsync_oldest_wait_seconds` | gauge | the longest current wait of a caller |
//! | `dsync_ready` | gauge | 1 while this process has a session, otherwise 0 |
//! | `dsync_leader` | gauge, by key | 1 while this process leads (without the label `key`: any key), otherwise 0; shown from the start of a campaign |
//! | `dsync_acquisitions_total` | counter, by key | ownerships that this process acquired in Consul |
//! | `dsync_hand_overs_total` | counter, by key | grants from one caller of this process to the next |
//! | `dsync_losses_total` | counter, by key | ownerships lost, by `reason` |
//! | `dsync_panics_total` | counter, by key | panics of work that depends on leadership |
//! | `dsync_renewal_failures_total` | counter | failed renewals of the session |
//! | `dsync_watch_connections` | gauge | connections that may watch keys; updated when that changes |
//! | `dsync_connections_refused_total` | counter | times that this number fell because the agent refused a connection |
//! | `dsync_wait_seconds` | histogram, by key | time from a request to its grant |
//! | `dsync_hold_seconds` | histogram, by key | time from a grant to its end |
//! | `dsync_renew_seconds` | histogram | duration of a successful renewal |
//! | `dsync_renew_margin_seconds` | histogram | time left until the deadline when a successful renewal was answered |
//!
//! The first four are updated once a second. Every 1,000 keys in use add a second, up to 15
//! seconds: with 10,000 keys, they are updated every eleven seconds.
//!
//! Each counter is shown as 0 when the runtime starts: an expression such as `increase` does
//! not see the first event of a counter that appears with it. With the label `key`, a key's
//! counters of hand-overs, losses and panics are shown as 0 when the key is acquired. Its
//! counter of acquisitions begins with 1. Install the recorder before the runtime starts. It
//! must not block: the runtime and its callers wait for it. If it panics, the value is missing.
//!
//! Alert when `dsync_renew_margin_seconds` approaches zero: this process is then
//! close to losing everything that it holds.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

#[cfg(feature = "metrics")]
use std::sync::PoisonError;

#[cfg(feature = "metrics")]
use crate::logs::guarded;
use crate::{key::Key, ownership::LossReason};

/// The metrics of one runtime. Cheap to clone.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "unused without metrics"))]
pub(crate) struct Telemetry {
    service: Arc<str>,
    by_key: bool,
    /// The keys that this process leads.
    led: Arc<Mutex<BTreeSet<Key>>>,
}

impl Telemetry {
    /// Shows the counters of the whole runtime, which has no session yet.
    pub(crate) fn new(service: &str, by_key: bool) -> Self {
        let telemetry = Self { service: service.into(), by_key, led: Arc::default() };
        telemetry.show_counters();
        telemetry
    }
}

#[cfg(feature = "metrics")]
impl Telemetry {
    fn show_counters(&self) {
        self.ready(false);
        count("dsync_renewal_failures_total", self.labels(None), 0);
        count("dsync_connections_refused_total", self.labels(None), 0);
        if !self.by_key {
            count("dsync_acquisitions_total", self.labels(None), 0);
            self.show_counters_of(None);
        }
    }

    fn show_counters_of(&self, key: Option<&Key>) {
        count("dsync_hand_overs_total", self.labels(key), 0);
        count("dsync_panics_total", self.labels(key), 0);
        for reason in LossReason::ALL {
            count("dsync_losses_total", self.loss_labels(key, reason), 0);
        }
    }

    pub(crate) fn in_use(&self, held: usize, waiting: usize) {
        show("dsync_held", self.labels(None), held as f64);
        show("dsync_waiting", self.labels(None), waiting as f64);
    }

    pub(crate) fn oldest(&self, hold: Duration, wait: Duration) {
        show("dsync_oldest_hold_seconds", self.labels(None), hold.as_secs_f64());
        show("dsync_oldest_wait_seconds", self.labels(None), wait.as_secs_f64());
    }

    pub(crate) fn ready(&self, ready: bool) {
        show("dsync_ready", self.labels(None), f64::from(u8::from(ready)));
    }

    pub(crate) fn leads(&self, key: &Key, leads: bool) {
        // The lock keeps the values of two threads in order.
        let mut led = self.led.lock().unwrap_or_else(PoisonError::into_inner);
        if leads {
            led.insert(key.clone());
        } else {
            led.remove(key);
        }
        let leads = if self.by_key { leads } else { !led.is_empty() };
        show("dsync_leader", self.labels(Some(key)), f64::from(u8::from(leads)));
    }

    pub(crate) fn acquired(&self, key: &Key) {
        if self.by_key {
            self.show_counters_of(Some(key));
        }
        count("dsync_acquisitions_total", self.labels(Some(key)), 1);
    }

    pub(crate) fn handed_over(&self, key: &Key) {
        count("dsync_hand_overs_total", self.labels(Some(key)), 1);
    }

    pub(crate) fn lost(&self, key: &Key, reason: LossReason) {
        count("dsync_losses_total", self.loss_labels(Some(key), reason), 1);
    }

    pub(crate) fn panicked(&self, key: &Key) {
        count("dsync_panics_total", self.labels(Some(key)), 1);
    }

    /// Starts measuring a caller's wait.
    pub(crate) fn waits(&self, key: &Key) -> Stopwatch {
        self.measure("dsync_wait_seconds", key)
    }

    /// Starts measuring a caller's hold.
    pub(crate) fn holds(&self, key: &Key) -> Stopwatch {
        self.measure("dsync_hold_seconds", key)
    }

    fn measure(&self, name: &'static str, key: &Key) -> Stopwatch {
        Stopwatch(Box::new(Measured {
            since: tokio::time::Instant::now(),
            name,
            key: key.clone(),
            telemetry: self.clone(),
        }))
    }

    pub(crate) fn renewed(&self, took: Duration, margin: Duration) {
        record("dsync_renew_seconds", self.labels(None), took);
        record("dsync_renew_margin_seconds", self.labels(None), margin);
    }

    pub(crate) fn renewal_failed(&self) {
        count("dsync_renewal_failures_total", self.labels(None), 1);
    }

    pub(crate) fn watch_connections(&self, allowed: usize) {
        show("dsync_watch_connections", self.labels(None), allowed as f64);
    }

    pub(crate) fn connection_refused(&self) {
        count("dsync_connections_refused_total", self.labels(None), 1);
    }

    fn loss_labels(&self, key: Option<&Key>, reason: LossReason) -> Labels {
        let mut labels = self.labels(key);
        labels.push(metrics::Label::from_static_parts("reason", reason.name()));
        labels
    }

    fn labels(&self, key: Option<&Key>) -> Labels {
        let service = metrics::SharedString::from_shared(self.service.clone());
        let mut labels = vec![metrics::Label::new("service", service)];
        if let Some(key) = key.filter(|_| self.by_key) {
            labels.push(metrics::Label::new("key", key.as_str().to_owned()));
        }
        labels
    }
}

#[cfg(feature = "metrics")]
type Labels = Vec<metrics::Label>;

#[cfg(feature = "metrics")]
fn count(name: &'static str, labels: Labels, by: u64) {
    guarded(|| metrics::counter!(name, labels).increment(by));
}

#[cfg(feature = "metrics")]
fn show(name: &'static str, labels: Labels, value: f64) {
    guarded(|| metrics::gauge!(name, labels).set(value));
}

#[cfg(feature = "metrics")]
fn record(name: &'static str, labels: Labels, took: Duration) {
    guarded(|| metrics::histogram!(name, labels).record(took));
}

#[cfg(not(feature = "metrics"))]
#[allow(clippy::unused_self, reason = "the signatures of the feature `metrics`")]
impl Telemetry {
    fn show_counters(&self) {}
    pub(crate) fn in_use(&self, _held: usize, _waiting: usize) {}
    pub(crate) fn oldest(&self, _hold: Duration, _wait: Duration) {}
    pub(crate) fn ready(&self, _ready: bool) {}
    pub(crate) fn leads(&self, _key: &Key, _leads: bool) {}
    pub(crate) fn acquired(&self, _key: &Key) {}
    pub(crate) fn handed_over(&self, _key: &Key) {}
    pub(crate) fn lost(&self, _key: &Key, _reason: LossReason) {}
    pub(crate) fn panicked(&self, _key: &Key) {}
    pub(crate) fn waits(&self, _key: &Key) -> Stopwatch {
        Stopwatch {}
    }
    pub(crate) fn holds(&self, _key: &Key) -> Stopwatch {
        Stopwatch {}
    }
    pub(crate) fn renewed(&self, _took: Duration, _margin: Duration) {}
    pub(crate) fn renewal_failed(&self) {}
    pub(crate) fn watch_connections(&self, _allowed: usize) {}
    pub(crate) fn connection_refused(&self) {}
}

/// A running measurement, recorded by [`stop`](Stopwatch::stop) and discarded by
/// dropping.
#[cfg(feature = "metrics")]
pub(crate) struct Stopwatch(Box<Measured>);

#[cfg(feature = "metrics")]
struct Measured {
    since: tokio::time::Instant,
    name: &'static str,
    key: Key,
    telemetry: Telemetry,
}

#[cfg(feature = "metrics")]
impl Stopwatch {
    pub(crate) fn stop(self) {
        let Measured { since, name, key, telemetry } = *self.0;
        record(name, telemetry.labels(Some(&key)), since.elapsed());
    }
}

#[cfg(not(feature = "metrics"))]
pub(crate) struct Stopwatch {}

#[cfg(not(feature = "metrics"))]
impl Stopwatch {
    pub(crate) fn stop(self) {}
}

#[cfg(test)]
mod tests;
