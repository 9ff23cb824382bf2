#[cfg(feature = "metrics")]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[cfg(feature = "metrics")]
use metrics::{Counter, Gauge, Histogram, KeyName, Metadata, SharedString, Unit};

use super::*;

fn at(seconds: u64) -> Moment {
    Moment::from_nanos(seconds * 1_000_000_000)
}

#[test]
fn a_thread_without_a_beat_for_ten_seconds_is_not_live_until_it_beats_again() {
    let pulse = Pulse::new(at(100));
    assert!(pulse.beats(at(109)));
    assert!(!pulse.beats(at(110)));
    pulse.beat(at(111));
    assert!(pulse.beats(at(112)));
    assert!(pulse.beats(at(105)), "the clock was read before the beat");
}

#[test]
fn a_runtime_stays_live_after_a_shutdown_and_not_after_any_other_end() {
    let (well, badly) = (Pulse::new(at(1)), Pulse::new(at(1)));
    well.end(true);
    badly.end(false);
    badly.beat(at(2));
    assert!(well.beats(at(1_000)));
    assert!(!badly.beats(at(2)));
}

#[test]
fn a_saturated_agent_shows_in_the_health_and_with_every_key_until_it_recovers() {
    let journal = Journal::new(Clock::Boot, Telemetry::new("test", false));
    let key = Key::new("k").unwrap();
    journal.set_watch_connections(Saturation { allowed: 6, most: 6 });
    assert_eq!((journal.health().saturation, journal.incidents().len()), (None, 0));
    let saturated = Saturation { allowed: 3, most: 6 };
    journal.set_watch_connections(saturated);
    journal.set_watch_connections(saturated);
    assert_eq!(journal.health().saturation, Some(saturated));
    assert!(journal.last_error(&key).unwrap().contains("3 of 6"));
    assert_eq!(journal.incidents().len(), 1);
    journal.set_watch_connections(Saturation { allowed: 6, most: 6 });
    assert_eq!((journal.health().saturation, journal.last_error(&key)), (None, None));
}

/// The gauge of the connections that may watch, and the counter of those that were refused.
#[cfg(feature = "metrics")]
#[derive(Default)]
struct Connections {
    allowed: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

#[cfg(feature = "metrics")]
impl metrics::Recorder for Connections {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &metrics::Key, _: &Metadata<'_>) -> Counter {
        let is_refused = key.name() == "dsync_connections_refused_total";
        if is_refused { Counter::from_arc(self.refused.clone()) } else { Counter::noop() }
    }

    fn register_gauge(&self, key: &metrics::Key, _: &Metadata<'_>) -> Gauge {
        let is_allowed = key.name() == "dsync_watch_connections";
        if is_allowed { Gauge::from_arc(self.allowed.clone()) } else { Gauge::noop() }
    }

    fn register_histogram(&self, _: &metrics::Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[cfg(feature = "metrics")]
#[test]
fn the_connections_that_may_watch_are_a_gauge_and_each_fall_of_them_is_counted() {
    const UNSET: f64 = -1.0;
    let shown = Connections::default();
    metrics::with_local_recorder(&shown, || {
        let journal = Journal::new(Clock::Boot, Telemetry::new("test", false));
        // It refuses twice, recovers in two steps, and refuses again. Only changes are shown.
        for (allowed, gauge, refused) in [
            (6, UNSET, 0),
            (6, UNSET, 0),
            (3, 3.0, 1),
            (3, UNSET, 1),
            (2, 2.0, 2),
            (4, 4.0, 2),
            (6, 6.0, 2),
            (6, UNSET, 2),
            (5, 5.0, 3),
        ] {
            shown.allowed.store(UNSET.to_bits(), Relaxed);
            journal.set_watch_connections(Saturation { allowed, most: 6 });
            let found = (f64::from_bits(shown.allowed.load(Relaxed)), shown.refused.load(Relaxed));
            assert_eq!(found, (gauge, refused), "{allowed} allowed");
        }
    });
}

#[test]
fn an_incident_of_a_key_is_kept_after_many_incidents_of_the_session() {
    let journal = Journal::new(Clock::Boot, Telemetry::new("test", false));
    for count in 0..50 {
        journal.add_incident(None, format!("trouble {count}"));
    }
    let key = Key::new("k").unwrap();
    journal.add_incident(Some(&key), "stuck".into());
    let incidents = journal.incidents();
    assert_eq!(incidents.len(), MOST_INCIDENTS);
    assert_eq!((incidents[0].key.as_ref(), incidents[0].what.as_str()), (Some(&key), "stuck"));
    assert_eq!(journal.last_error(&key).as_deref(), Some("stuck"));
}

#[test]
fn incidents_are_bounded_and_a_repeated_one_is_listed_once() {
    let journal = Journal::new(Clock::Boot, Telemetry::new("test", false));
    let key = Key::new("k").unwrap();
    journal.add_incident(None, "session lost".into());
    for count in 0..50 {
        let other = Key::new(format!("{count}")).unwrap();
        journal.add_incident(Some(&other), "lost".into());
        journal.add_incident(Some(&key), "again".into());
    }
    let incidents = journal.incidents();
    assert_eq!(incidents.len(), MOST_INCIDENTS);
    assert_eq!((incidents[0].key.as_ref(), incidents[0].what.as_str()), (Some(&key), "again"));
    assert_eq!(incidents[1].key.as_ref().map(Key::as_str), Some("49"));
    assert_eq!(incidents.iter().filter(|incident| incident.what == "again").count(), 1);
    assert_eq!(incidents.last().map(|incident| incident.what.as_str()), Some("session lost"));
    assert_eq!(journal.last_error(&key).as_deref(), Some("again"));
    assert_eq!(journal.last_error(&Key::new("other").unwrap()), None);
    journal.add_incident(None, "x".repeat(100_000));
    assert_eq!(journal.incidents()[0].what.chars().count(), LONGEST_INCIDENT);
}
