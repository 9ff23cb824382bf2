//! Which numbers the runtime counts, with the feature `metrics`.
//!
//! They go to whatever recorder the process has installed for the `metrics`
//! facade. Every metric has the label `service`; those marked with a key have the
//! label `key`, too, if [`Config::metrics_by_key`](crate::Config::metrics_by_key)
//! is set. Without the feature nothing is counted and nothing is paid.
//!
//! | name | kind | what |
//! |---|---|---|
//! | `dsync_held` | gauge | keys that this process owns; set once a second |
//! | `dsync_waiting` | gauge | callers that wait; set once a second |
//! | `dsync_leader` | gauge, by key | 1 while this process leads, else 0 |
//! | `dsync_acquisitions_total` | counter, by key | ownerships that this process won in Consul |
//! | `dsync_hand_overs_total` | counter, by key | grants from one caller of this process to the next |
//! | `dsync_losses_total` | counter, by key | ownerships lost, by `reason` |
//! | `dsync_panics_total` | counter, by key | panics of work that was bound to leadership |
//! | `dsync_renewal_failures_total` | counter | renewals of the session that were not answered well |
//! | `dsync_watch_connections` | gauge | connections that may be used to watch keys now; set when that changes |
//! | `dsync_connections_refused_total` | counter | how often fewer had to do because the agent took no more |
//! | `dsync_wait_seconds` | histogram, by key | from a request to its grant |
//! | `dsync_hold_seconds` | histogram, by key | from a grant to its end |
//! | `dsync_renew_seconds` | histogram | how long a renewal that was answered well took |
//! | `dsync_renew_margin_seconds` | histogram | what was left to the deadline when it was answered |
//!
//! Alert on a `dsync_renew_margin_seconds` that comes near zero: that is how near
//! this process is to losing everything it holds.

use std::{sync::Arc, time::Duration};

use crate::{key::Key, ownership::LossReason};

/// Counts for one runtime. Cheap to clone.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "nothing is counted"))]
pub(crate) struct Telemetry {
    service: Arc<str>,
    by_key: bool,
}

impl Telemetry {
    pub(crate) fn new(service: &str, by_key: bool) -> Self {
        Self { service: service.into(), by_key }
    }
}

#[cfg(feature = "metrics")]
impl Telemetry {
    pub(crate) fn in_use(&self, held: usize, waiting: usize) {
        metrics::gauge!("dsync_held", self.labels(None)).set(held as f64);
        metrics::gauge!("dsync_waiting", self.labels(None)).set(waiting as f64);
    }

    pub(crate) fn leads(&self, key: &Key, leads: bool) {
        metrics::gauge!("dsync_leader", self.labels(Some(key))).set(f64::from(u8::from(leads)));
    }

    pub(crate) fn acquired(&self, key: &Key) {
        metrics::counter!("dsync_acquisitions_total", self.labels(Some(key))).increment(1);
    }

    pub(crate) fn handed_over(&self, key: &Key) {
        metrics::counter!("dsync_hand_overs_total", self.labels(Some(key))).increment(1);
    }

    pub(crate) fn lost(&self, key: &Key, reason: LossReason) {
        let mut labels = self.labels(Some(key));
        labels.push(metrics::Label::from_static_parts("reason", reason.name()));
        metrics::counter!("dsync_losses_total", labels).increment(1);
    }

    pub(crate) fn panicked(&self, key: &Key) {
        metrics::counter!("dsync_panics_total", self.labels(Some(key))).increment(1);
    }

    /// Measures a wait from now to its grant.
    pub(crate) fn waits(&self, key: &Key) -> Stopwatch {
        self.measure("dsync_wait_seconds", key)
    }

    /// Measures a hold from now to its end.
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
        metrics::histogram!("dsync_renew_seconds", self.labels(None)).record(took);
        metrics::histogram!("dsync_renew_margin_seconds", self.labels(None)).record(margin);
    }

    pub(crate) fn renewal_failed(&self) {
        metrics::counter!("dsync_renewal_failures_total", self.labels(None)).increment(1);
    }

    pub(crate) fn watch_connections(&self, allowed: usize) {
        metrics::gauge!("dsync_watch_connections", self.labels(None)).set(allowed as f64);
    }

    pub(crate) fn connection_refused(&self) {
        metrics::counter!("dsync_connections_refused_total", self.labels(None)).increment(1);
    }

    fn labels(&self, key: Option<&Key>) -> Vec<metrics::Label> {
        let service = metrics::SharedString::from_shared(self.service.clone());
        let mut labels = vec![metrics::Label::new("service", service)];
        if let Some(key) = key.filter(|_| self.by_key) {
            labels.push(metrics::Label::new("key", key.as_str().to_owned()));
        }
        labels
    }
}

#[cfg(not(feature = "metrics"))]
#[allow(clippy::unused_self, reason = "as with the feature")]
impl Telemetry {
    pub(crate) fn in_use(&self, _held: usize, _waiting: usize) {}
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

/// A time that is being measured. It counts only if it is stopped.
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
        metrics::histogram!(name, telemetry.labels(Some(&key))).record(since.elapsed());
    }
}

#[cfg(not(feature = "metrics"))]
pub(crate) struct Stopwatch {}

#[cfg(not(feature = "metrics"))]
impl Stopwatch {
    pub(crate) fn stop(self) {}
}
