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
