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

/// The numbers of each metric, in order.
#[cfg(feature = "metrics")]
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

#[cfg(feature = "metrics")]
mod numbers {
    use std::sync::Arc;

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder,
        SharedString, Unit,
    };

    use super::Numbers;

    struct Place(Numbers, String);

    impl Place {
        fn note(&self, number: f64) {
            self.0.0.lock().unwrap().entry(self.1.clone()).or_default().push(number);
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

    impl Recorder for Numbers {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(Arc::new(Place(self.clone(), key.name().into())))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(Arc::new(Place(self.clone(), key.name().into())))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }
}

#[cfg(feature = "metrics")]
#[test]
fn the_connections_that_may_watch_are_a_gauge_and_each_fall_of_them_is_counted() {
    let numbers = Numbers::default();
    metrics::with_local_recorder(&numbers, || {
        let journal = Journal::new(Clock::Boot, Telemetry::new("test", false));
        // It refuses twice, recovers in two steps, and refuses again.
        for allowed in [6, 6, 3, 3, 2, 4, 6, 6, 5] {
            journal.set_watch_connections(Saturation { allowed, most: 6 });
        }
    });
    let numbers = numbers.0.lock().unwrap();
    assert_eq!(numbers["dsync_watch_connections"], [3.0, 2.0, 4.0, 6.0, 5.0], "only changes");
    let refused = &numbers["dsync_connections_refused_total"];
    assert_eq!(refused, &[0.0, 1.0, 1.0, 1.0], "shown as 0, then for 3, 2 and 5");
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
