use std::collections::BTreeSet;

/// The names of metrics in a text, without the suffixes that Prometheus adds.
fn metrics(text: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("dsync_") {
        let name = &text[at..];
        let end = name.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(name.len());
        let name = &name[..end];
        names.insert(name.strip_suffix("_bucket").unwrap_or(name));
    }
    names
}

#[test]
fn every_metric_is_documented_and_shown_on_the_dashboard() {
    let (docs, code) = include_str!("../telemetry.rs").split_once("\nuse ").unwrap();
    let recorded = metrics(code);
    assert!(recorded.len() > 10, "{recorded:?}");
    assert_eq!(metrics(docs), recorded);
    let dashboard = include_str!("../../../docs/grafana.json");
    assert_eq!(metrics(dashboard), recorded);
    serde_json::from_str::<serde_json::Value>(dashboard).unwrap();
    let alerts = include_str!("../../../docs/operations.md");
    let unknown: Vec<_> = metrics(alerts).difference(&recorded).copied().collect();
    assert_eq!(unknown, [] as [&str; 0]);
}

#[cfg(feature = "metrics")]
#[test]
fn a_panic_of_the_recorder_ends_no_step() {
    use std::time::Duration;

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

    use super::Telemetry;
    use crate::ownership::LossReason;

    struct Panics;

    impl metrics::Recorder for Panics {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            panic!("{key}")
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            panic!("{key}")
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            panic!("{key}")
        }
    }

    metrics::with_local_recorder(&Panics, || {
        let telemetry = Telemetry::new("service", true);
        let key = crate::key::Key::new("k").unwrap();
        telemetry.in_use(1, 1);
        telemetry.oldest(Duration::ZERO, Duration::ZERO);
        telemetry.leads(&key, true);
        telemetry.acquired(&key);
        telemetry.handed_over(&key);
        telemetry.lost(&key, LossReason::Shutdown);
        telemetry.panicked(&key);
        telemetry.waits(&key).stop();
        telemetry.holds(&key).stop();
        telemetry.renewed(Duration::ZERO, Duration::ZERO);
        telemetry.renewal_failed();
        telemetry.watch_connections(1);
        telemetry.connection_refused();
    });
}
