//! The totals of many histories.

use std::{collections::BTreeMap, fmt, time::Duration};

#[derive(Clone, Debug, Default)]
pub(super) struct Stats {
    pub(super) histories: u64,
    pub(super) lasted: Duration,
    pub(super) requests: u64,
    pub(super) grants: u64,
    /// Leases handed over from caller to caller within a process.
    pub(super) handed_over: u64,
    /// Sets that were granted.
    pub(super) sets: u64,
    pub(super) elections: u64,
    pub(super) losses: u64,
    pub(super) reasons: BTreeMap<String, u64>,
    pub(super) refusals: BTreeMap<String, u64>,
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// Questions, answers and phases of locks; see `reached.rs`.
    pub(super) reached: BTreeMap<&'static str, u64>,
    pub(super) busiest_second: u64,
    /// The longest time that a key was wanted and nobody held it.
    pub(super) longest_wait: Duration,
}

impl Stats {
    pub(super) fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(super) fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.lasted += other.lasted;
        self.requests += other.requests;
        self.grants += other.grants;
        self.handed_over += other.handed_over;
        self.sets += other.sets;
        self.elections += other.elections;
        self.losses += other.losses;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
        for (kind, count) in &other.refusals {
            *self.refusals.entry(kind.clone()).or_default() += count;
        }
        for (what, count) in &other.reached {
            *self.reached.entry(what).or_default() += count;
        }
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.busiest_second = self.busiest_second.max(other.busiest_second);
        self.longest_wait = self.longest_wait.max(other.longest_wait);
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.lasted.as_secs_f64() / 3600.0;
        writeln!(f, "histories         {} ({hours:.1} virtual hours)", self.histories)?;
        writeln!(
            f,
            "requests          {} (busiest second of a process: {})",
            self.requests, self.busiest_second
        )?;
        writeln!(f, "grants            {}", self.grants)?;
        writeln!(f, "local hand-overs  {}", self.handed_over)?;
        writeln!(f, "sets granted      {}", self.sets)?;
        writeln!(f, "elections         {}", self.elections)?;
        writeln!(f, "losses reported   {} {:?}", self.losses, self.reasons)?;
        writeln!(f, "refusals          {:?}", self.refusals)?;
        writeln!(
            f,
            "longest time that a key was wanted and nobody held it: {:?}",
            self.longest_wait
        )?;
        for (title, counts) in [("faults", &self.faults), ("reached", &self.reached)] {
            writeln!(f, "{title}")?;
            counts.iter().try_for_each(|(kind, count)| writeln!(f, "  {kind:<28} {count}"))?;
        }
        Ok(())
    }
}
