//! Checks the logs of all processes: was there ever a second holder, and was every loss reported?
//!
//! `judge/` decides on the same histories by other means: see `history.rs`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::{Event, Own, What, Write};

/// The checker's input, with the processes in any order.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pub(crate) events: Vec<(String, Vec<Event>)>,
    pub(crate) writes: Writes,
    pub(crate) pauses: Vec<Pause>,
}

/// A process was stopped and continued.
#[derive(Clone, Debug)]
pub(crate) struct Pause {
    pub(crate) process: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Whether the pause was longer than any lease.
    pub(crate) outlasts: bool,
}

/// A summary of the protected resource's log.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// Each ownership's first and last write.
    spans: HashMap<(String, Own), Span>,
    /// The largest token that has written, by key, and when its first write was checked.
    largest: HashMap<String, (u64, u64)>,
    /// The number of writes that followed one with a larger token.
    late: usize,
    /// The number of those that were also checked after it.
    overtaken: usize,
    count: usize,
}

/// The first and the last of the writes of one ownership.
pub(crate) type Span = (Check, Check);

/// When a check that found an ownership valid began and ended.
pub(crate) type Check = (u64, u64);

impl Writes {
    /// The first and the last write of an ownership.
    pub(crate) fn span(&self, process: &str, own: &Own) -> Option<Span> {
        self.spans.get(&(process.to_owned(), own.clone())).copied()
    }

    pub(crate) fn push(&mut self, write: Write) {
        self.count += 1;
        let largest = self.largest.entry(write.own.key.clone()).or_default();
        if write.own.token > largest.0 {
            *largest = (write.own.token, write.at);
        } else if write.own.token < largest.0 {
            self.late += 1;
            self.overtaken += usize::from(write.at > largest.1);
        }
        let check = (write.at, write.until);
        let span = self.spans.entry((write.process, write.own)).or_insert((check, check));
        *span = (span.0.min(check), span.1.max(check));
    }
}

/// The checker's result.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) grants: usize,
    pub(crate) writes: usize,
    /// The number of times that a key changed processes.
    pub(crate) changes: usize,
    /// The largest overlap, in nanoseconds: the last moment at which an unreleased ownership was valid,
    /// minus the next one's grant. Negative if there was time to spare.
    pub(crate) overlap: Option<i64>,
    /// Ownerships that were still valid after a later one had been granted.
    pub(crate) overlaps: Vec<String>,
    /// Grants whose token is not larger than the one before.
    pub(crate) disorder: Vec<String>,
    /// Ownerships that were valid after they had ended.
    pub(crate) revived: Vec<String>,
    /// Writes that followed one with a larger token: the resource refuses them.
    pub(crate) late_writes: usize,
    /// Those whose check also followed the other's: the process was not just slow to write.
    pub(crate) overtaken_writes: usize,
    /// Ownerships whose end was reported never, more than once, or too early.
    pub(crate) untold: Vec<String>,
    /// Leases that were still valid after a pause longer than any lease.
    pub(crate) stale_checks: usize,
    /// The time from a deadline (or the process's wake-up, if later) to the `LockLost`.
    pub(crate) lateness: Vec<Duration>,
    /// The time from the last moment of one ownership to the grant of the next.
    pub(crate) gaps: Vec<Duration>,
    /// Losses by reason.
    pub(crate) losses: BTreeMap<String, usize>,
    /// Failed requests by their error.
    pub(crate) failures: BTreeMap<String, usize>,
}

/// One ownership, assembled from the logs.
#[derive(Debug)]
struct Life {
    process: String,
    own: Own,
    /// When it was requested, if that was logged.
    asked: Option<u64>,
    granted: u64,
    /// The last moment at which it was known to be valid.
    last_valid: Option<u64>,
    /// When it was first known to have ended.
    ended: Option<u64>,
    deadline: Option<u64>,
    /// When its owner released it, if that was logged.
    releases: Option<u64>,
    released: Option<bool>,
    lost: Vec<(u64, String, bool)>,
}

impl Life {
    /// Whether it was won before the other one, and over when its process learned of it: the process
    /// was stopped in between.
    fn was_won_before(&self, other: &Self) -> bool {
        self.last_valid.is_none()
            && self.own.token < other.own.token
            && self.asked.is_some_and(|asked| asked <= other.granted)
    }

    fn end(&mut self, at: u64) {
        self.ended = Some(self.ended.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Report {
    pub(crate) fn of(logs: &Logs) -> Self {
        let mut report = Self {
            writes: logs.writes.count,
            late_writes: logs.writes.late,
            overtaken_writes: logs.writes.overtaken,
            ..Self::default()
        };
        let mut lives = Vec::new();
        for (process, events) in &logs.events {
            let own = lives_of(process, events, &logs.writes, &mut report);
            report.tell(process, events, &own, &logs.pauses);
            report.revive(&own);
            lives.extend(own);
        }
        report.grants = lives.len();
        let mut by_key: BTreeMap<&str, Vec<&Life>> = BTreeMap::new();
        for life in &lives {
            by_key.entry(&life.own.key).or_default().push(life);
        }
        for mut lives in by_key.into_values() {
            lives.sort_by_key(|life| life.granted);
            report.order(&lives);
        }
        report
    }

    /// The ownerships of one key, in the order of their grants.
    fn order(&mut self, lives: &[&Life]) {
        // The ownership so far that was valid longest.
        let mut longest: Option<(&Life, u64)> = None;
        let mut former: Option<&Life> = None;
        for &life in lives {
            if former.is_some_and(|former| life.was_won_before(former)) {
                continue;
            }
            if let Some((other, last)) = longest {
                let overlap = i64::try_from(last).unwrap_or(i64::MAX)
                    - i64::try_from(life.granted).unwrap_or(i64::MAX);
                if overlap > 0 || other.released.is_none() {
                    self.overlap = Some(self.overlap.map_or(overlap, |most| most.max(overlap)));
                }
                if overlap > 0 {
                    self.overlaps.push(format!(
                        "{}: {} with token {} was valid {overlap} ns after {} was granted {}",
                        life.own.key, other.process, other.own.token, life.process, life.own.token,
                    ));
                } else {
                    self.gaps.push(Duration::from_nanos(overlap.unsigned_abs()));
                }
            }
            if let Some(former) = former {
                self.changes += usize::from(former.process != life.process);
                if former.own.token >= life.own.token {
                    self.disorder.push(format!(
                        "{}: {} was granted {} after {} had been granted {}",
                        life.own.key,
                        life.process,
                        life.own.token,
                        former.process,
                        former.own.token,
                    ));
                }
            }
            if let Some(last) = life.last_valid {
                // An ownership that was never seen valid orders nothing.
                former = Some(life);
                if longest.is_none_or(|(_, most)| most < last) {
                    longest = Some((life, last));
                }
            }
        }
    }

    fn revive(&mut self, lives: &[Life]) {
        for life in lives {
            if let (Some(last), Some(ended)) = (life.last_valid, life.ended)
                && last > ended
            {
                let Own { key, token } = &life.own;
                let (process, after) = (&life.process, last - ended);
                self.revived.push(format!("{key}: {token} of {process}, {after} ns after its end"));
            }
        }
    }

    /// Whether the history is that of a lock: one owner at a time, in the order of the tokens.
    pub(crate) fn is_of_a_lock(&self) -> bool {
        self.overlaps.is_empty() && self.disorder.is_empty() && self.revived.is_empty()
    }

    /// Checks how one process was informed of its losses.
    fn tell(&mut self, process: &str, events: &[Event], lives: &[Life], pauses: &[Pause]) {
        let finished = events.iter().any(|event| event.what == What::Finished);
        for life in lives {
            let Own { key, token } = &life.own;
            let said = match (life.released, &life.lost[..]) {
                (None, []) if finished => "nothing",
                (Some(false), [_, ..]) => "a loss of what it had given back",
                (_, [_, _, ..]) => "one loss twice",
                (_, [(_, _, true)]) => "a loss before the lease had ended",
                _ => "",
            };
            if !said.is_empty() {
                self.untold.push(format!("{process} was told {said}: {key} {token} {life:?}"));
            }
            if let ([(told, reason, _)], Some(deadline)) = (&life.lost[..], life.deadline)
                && reason == "deadline_passed"
            {
                let awake = pauses.iter().filter(|it| it.process == process && it.to < *told);
                let due = awake.map(|pause| pause.to).fold(deadline, u64::max);
                self.lateness.push(Duration::from_nanos(told.saturating_sub(due)));
            }
            let stale = pauses.iter().any(|it| {
                it.process == process
                    && it.outlasts
                    && life.granted < it.from
                    && life.last_valid.is_some_and(|last| last >= it.to)
            });
            self.stale_checks += usize::from(stale);
        }
    }

    /// Panics with every violation of the guarantees.
    pub(crate) fn assert_safe(&self) {
        assert!(self.overlaps.is_empty(), "two holders: {:#?}", some(&self.overlaps));
        assert!(self.disorder.is_empty(), "tokens out of order: {:#?}", some(&self.disorder));
        assert!(self.revived.is_empty(), "valid after their ends: {:#?}", some(&self.revived));
        assert_eq!(self.stale_checks, 0, "a lease that had ended said that it is valid");
        self.assert_told();
    }

    pub(crate) fn assert_told(&self) {
        assert!(self.untold.is_empty(), "losses not told once: {:#?}", some(&self.untold));
    }
}

fn some(many: &[String]) -> (usize, &[String]) {
    (many.len(), &many[..many.len().min(5)])
}

fn lives_of(process: &str, events: &[Event], writes: &Writes, report: &mut Report) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    let mut places: HashMap<Own, usize> = HashMap::new();
    let mut early: Vec<(Own, (u64, String, bool))> = Vec::new();
    let mut asked: HashMap<&str, u64> = HashMap::new();
    for event in events {
        let mut at_place = |own: &Own, note: &mut dyn FnMut(&mut Life)| {
            if let Some(place) = places.get(own) {
                note(&mut lives[*place]);
            }
        };
        match &event.what {
            What::Granted(own) => {
                places.insert(own.clone(), lives.len());
                lives.push(Life {
                    process: process.to_owned(),
                    own: own.clone(),
                    asked: asked.remove(&*own.key),
                    granted: event.at,
                    last_valid: writes.span(process, own).map(|(_, (last, _))| last),
                    ended: None,
                    deadline: None,
                    releases: None,
                    released: None,
                    lost: Vec::new(),
                });
            }
            What::Invalid { own, deadline } => at_place(own, &mut |life| {
                life.deadline = Some(*deadline);
                life.end(event.at);
            }),
            What::Releases(own) => at_place(own, &mut |life| life.releases = Some(event.at)),
            What::Released { own, lost } => at_place(own, &mut |life| {
                life.released = Some(*lost);
                life.end(event.at);
                if !lost {
                    // Only a valid lease can be released.
                    life.last_valid = life.last_valid.max(life.releases);
                }
            }),
            What::Lost { own, reason, valid } => {
                *report.losses.entry(reason.clone()).or_default() += 1;
                early.push((own.clone(), (event.at, reason.clone(), *valid)));
            }
            What::Failed(why) => *report.failures.entry(why.clone()).or_default() += 1,
            What::Asks(key) => drop(asked.insert(key, event.at)),
            What::Gone(_) | What::Rests | What::Finished => {}
        }
    }
    // Different tasks log the loss and the grant, so their lines may be in either order.
    for (own, loss) in early {
        match places.get(&own) {
            Some(place) => {
                if !loss.2 {
                    lives[*place].end(loss.0);
                }
                lives[*place].lost.push(loss);
            }
            None => report.untold.push(format!("{process} lost what it never had: {own:?}")),
        }
    }
    lives
}
