//! The cases in numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::stage::Outcome;

/// How late a loss may be told, and a waiter come after a lock-delay, in the middle of the samples:
/// a runtime that looks once a second, say, is found. A machine that has other work adds to it.
const BOUND: Duration = Duration::from_millis(500);

/// A row for each fault.
pub(crate) fn of(outcomes: &BTreeMap<&str, Vec<Outcome>>) -> String {
    let mut table = String::from(
        "fault | runs | keys | grants | max overlap ns | LockLost late ms: median, max | \
         stale checks | second has it s: median, max | after lock-delay ms: median, max | \
         late writes | losses\n",
    );
    for (fault, outcomes) in outcomes {
        let reports = || outcomes.iter().map(|outcome| &outcome.report);
        let overlap = reports().filter_map(|report| report.overlap).max();
        let mut losses: BTreeMap<&str, usize> = BTreeMap::new();
        for (reason, count) in reports().flat_map(|report| &report.losses) {
            *losses.entry(reason).or_default() += count;
        }
        let _ = writeln!(
            table,
            "{fault} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {losses:?}",
            outcomes.len(),
            outcomes.iter().map(|outcome| outcome.keys).sum::<usize>(),
            reports().map(|report| report.grants).sum::<usize>(),
            overlap.map_or_else(|| "–".into(), |overlap| overlap.to_string()),
            figures(&lateness(outcomes), 1e3),
            reports().map(|report| report.stale_checks).sum::<usize>(),
            figures(&sorted(outcomes.iter().flat_map(|outcome| &outcome.takeover)), 1.0),
            figures(&after_delay(outcomes), 1e3),
            reports().map(|report| report.late_writes).sum::<usize>(),
        );
    }
    table
}

/// Which faults were told, or followed, too late in the middle of their samples. `stall` is the
/// longest for which the machine did not run what was due, here and perhaps in Consul.
pub(crate) fn too_late(outcomes: &BTreeMap<&str, Vec<Outcome>>, stall: Duration) -> Vec<String> {
    let mut late = Vec::new();
    for (fault, outcomes) in outcomes {
        for (what, spans) in
            [("LockLost", lateness(outcomes)), ("after lock-delay", after_delay(outcomes))]
        {
            if middle(&spans).is_some_and(|middle| middle > BOUND + 2 * stall) {
                late.push(format!("{fault}: {what} {}", figures(&spans, 1e3)));
            }
        }
    }
    late
}

fn lateness(outcomes: &[Outcome]) -> Vec<Duration> {
    sorted(outcomes.iter().flat_map(|outcome| &outcome.report.lateness))
}

fn after_delay(outcomes: &[Outcome]) -> Vec<Duration> {
    sorted(outcomes.iter().flat_map(|outcome| &outcome.after_delay))
}

fn sorted<'a>(spans: impl Iterator<Item = &'a Duration>) -> Vec<Duration> {
    let mut spans: Vec<_> = spans.copied().collect();
    spans.sort_unstable();
    spans
}

fn middle(sorted: &[Duration]) -> Option<Duration> {
    sorted.get(sorted.len() / 2).copied()
}

fn figures(sorted: &[Duration], scale: f64) -> String {
    match (middle(sorted), sorted.last()) {
        (Some(middle), Some(most)) => {
            format!("{:.1}, {:.1}", middle.as_secs_f64() * scale, most.as_secs_f64() * scale)
        }
        _ => "–".into(),
    }
}
