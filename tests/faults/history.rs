//! Histories as files, for a judge that is not ours: `judge/README.md` documents the format.
//!
//! With `DSYNC_HISTORIES`, every case writes its history into that folder. With `DSYNC_JUDGE`, this
//! program reads the histories of a folder back, spoils copies of them, and prints what our checker
//! says of each; `scripts/judge` compares that with what the other judge says.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::checker::{Logs, Report};
use crate::record::{Event, Own, What, Write};

/// A line of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    time: u64,
    process: String,
    op: usize,
    #[serde(rename = "type")]
    kind: Kind,
    f: Function,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Function {
    Acquire,
    Check,
    Release,
}

/// An operation: two lines, or one if its process never learned the outcome.
#[derive(Clone, Debug)]
struct Op {
    process: String,
    f: Function,
    key: String,
    from: u64,
    to: Option<(u64, Kind)>,
    token: Option<u64>,
    valid: Option<bool>,
    reason: Option<String>,
}

impl Op {
    fn new(process: &str, f: Function, key: &str, from: u64) -> Self {
        let (process, key) = (process.to_owned(), key.to_owned());
        Self { process, f, key, from, to: None, token: None, valid: None, reason: None }
    }

    fn check(process: &str, own: &Own, (from, to): (u64, u64), valid: bool) -> Self {
        Self {
            to: Some((to, Kind::Ok)),
            token: Some(own.token),
            valid: Some(valid),
            ..Self::new(process, Function::Check, &own.key, from)
        }
    }

    fn is(&self, f: Function, kind: Kind) -> bool {
        self.f == f && self.to.is_some_and(|(_, it)| it == kind)
    }

    /// The end of an operation that has one.
    fn ended(&self) -> u64 {
        self.to.map_or(self.from, |(at, _)| at)
    }
}

/// Writes a history into the folder of `DSYNC_HISTORIES`, if the variable is set.
pub(crate) fn keep(name: &str, logs: &Logs) {
    if let Some(folder) = std::env::var_os("DSYNC_HISTORIES") {
        save(folder.as_ref(), name, &ops_of(logs));
    }
}

fn save(folder: &Path, name: &str, ops: &[Op]) {
    let mut lines = Vec::new();
    for (number, op) in ops.iter().enumerate() {
        let line = |time, kind| Line {
            time,
            process: op.process.clone(),
            op: number,
            kind,
            f: op.f,
            key: op.key.clone(),
            token: op.token.filter(|_| kind != Kind::Invoke || op.f != Function::Acquire),
            valid: op.valid.filter(|_| kind == Kind::Ok),
            reason: op.reason.clone().filter(|_| kind == Kind::Ok),
        };
        lines.push(line(op.from, Kind::Invoke));
        lines.extend(op.to.map(|(time, kind)| line(time, kind)));
    }
    lines.sort_by_key(|line| (line.time, line.kind != Kind::Invoke));
    let text: String = lines
        .iter()
        .map(|line| serde_json::to_string(line).expect("plain values") + "\n")
        .collect();
    let path = folder.join(format!("{name}.jsonl"));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn read(path: &Path) -> Vec<Op> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut ops: BTreeMap<usize, Op> = BTreeMap::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let op = ops
            .entry(line.op)
            .or_insert_with(|| Op::new(&line.process, line.f, &line.key, line.time));
        if line.kind != Kind::Invoke {
            op.to = Some((line.time, line.kind));
        }
        op.token = line.token.or(op.token);
        op.valid = line.valid.or(op.valid);
        op.reason = line.reason.or_else(|| op.reason.take());
    }
    ops.into_values().collect()
}

/// The operations of all processes. Of the checks that found an ownership valid, the first and the
/// last are kept: they are made one after another, and imply those between them.
fn ops_of(logs: &Logs) -> Vec<Op> {
    let mut ops = Vec::new();
    for (process, events) in &logs.events {
        let mut open: HashMap<(Function, String), usize> = HashMap::new();
        for event in events {
            let at = event.at;
            match &event.what {
                What::Asks(key) => {
                    open.insert((Function::Acquire, key.clone()), ops.len());
                    ops.push(Op::new(process, Function::Acquire, key, at));
                }
                What::Gone(key) => {
                    if let Some(place) = open.remove(&(Function::Acquire, key.clone())) {
                        ops[place].to = Some((at, Kind::Info));
                    }
                }
                What::Granted(own) => {
                    // A campaign asks all the time.
                    let place = open.remove(&(Function::Acquire, own.key.clone()));
                    let place = place.unwrap_or_else(|| {
                        ops.push(Op::new(process, Function::Acquire, &own.key, at));
                        ops.len() - 1
                    });
                    (ops[place].to, ops[place].token) = (Some((at, Kind::Ok)), Some(own.token));
                    if let Some((first, last)) = logs.writes.span(process, own) {
                        ops.push(Op::check(process, own, first, true));
                        if last != first {
                            ops.push(Op::check(process, own, last, true));
                        }
                    }
                }
                What::Invalid { own, .. } => ops.push(Op::check(process, own, (at, at), false)),
                What::Lost { own, reason, valid } => ops.push(Op {
                    reason: Some(reason.clone()),
                    ..Op::check(process, own, (at, at), *valid)
                }),
                What::Releases(own) => {
                    open.insert((Function::Release, own.key.clone()), ops.len());
                    let op = Op::new(process, Function::Release, &own.key, at);
                    ops.push(Op { token: Some(own.token), ..op });
                }
                What::Released { own, lost } => {
                    match open.remove(&(Function::Release, own.key.clone())) {
                        Some(place) => {
                            let kind = if *lost { Kind::Fail } else { Kind::Ok };
                            ops[place].to = Some((at, kind));
                        }
                        // A term that was resigned: when that was asked is not logged.
                        None => ops.push(Op::check(process, own, (at, at), false)),
                    }
                }
                What::Rests | What::Finished | What::Failed(_) => {}
            }
        }
    }
    ops
}

/// What our checker reads of a history.
fn logs_of(ops: &[Op]) -> Logs {
    let mut events: BTreeMap<&str, Vec<Event>> = BTreeMap::new();
    let mut writes = Vec::new();
    for op in ops {
        let events = events.entry(&op.process).or_default();
        let mut event = |at, what| events.push(Event { at, what });
        let own = Own { key: op.key.clone(), token: op.token.unwrap_or_default() };
        let ended = op.ended();
        match op.f {
            Function::Acquire => {
                event(op.from, What::Asks(op.key.clone()));
                match op.to {
                    Some((_, Kind::Ok)) => event(ended, What::Granted(own)),
                    Some(_) => event(ended, What::Gone(op.key.clone())),
                    None => {}
                }
            }
            Function::Check if op.valid == Some(true) => {
                let process = op.process.clone();
                writes.push(Write { at: op.from, until: ended, process, own });
            }
            Function::Check => event(
                ended,
                match op.reason.clone() {
                    Some(reason) => What::Lost { own, reason, valid: false },
                    None => What::Invalid { own, deadline: 0 },
                },
            ),
            Function::Release => {
                event(op.from, What::Releases(own.clone()));
                if op.to.is_some() {
                    let lost = !op.is(Function::Release, Kind::Ok);
                    event(ended, What::Released { own, lost });
                }
            }
        }
    }
    let mut logs = Logs::default();
    writes.sort_by_key(|write| write.at);
    writes.into_iter().for_each(|write| logs.writes.push(write));
    for (process, mut events) in events {
        events.sort_by_key(|event| event.at);
        logs.events.push((process.to_owned(), events));
    }
    logs
}

/// A change of a history; most make it one that no lock has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoil {
    /// An owner's check says "valid" after the next owner's grant.
    LateCheck,
    /// A grant comes before the last check of the former owner.
    EarlyGrant,
    /// Two successive owners have each other's token.
    TokensSwapped,
    /// Two successive owners have one token.
    TokenRepeated,
    /// A check says "valid" after one that said that the ownership has ended.
    Revived,
    /// A release is confirmed that was asked for after the next owner's grant.
    LateRelease,
    /// Harmless: nothing is known of how an ownership ended.
    EndForgotten,
    /// Harmless: the clock shows another time.
    ClockShifted,
}

pub(crate) const SPOILS: [Spoil; 8] = [
    Spoil::LateCheck,
    Spoil::EarlyGrant,
    Spoil::TokensSwapped,
    Spoil::TokenRepeated,
    Spoil::Revived,
    Spoil::LateRelease,
    Spoil::EndForgotten,
    Spoil::ClockShifted,
];

impl Spoil {
    pub(crate) fn is_harmless(self) -> bool {
        matches!(self, Self::EndForgotten | Self::ClockShifted)
    }

    /// The changed history, unless it has no place for the change.
    fn apply(self, ops: &[Op]) -> Option<Vec<Op>> {
        let mut ops = ops.to_vec();
        let (former, next) = self.place(&ops)?;
        let (a, b) = (ops[former].clone(), ops[next].clone());
        let own = Own { key: a.key.clone(), token: a.token? };
        let of =
            |it: &Op, op: &Op| (&it.process, &it.key, it.token) == (&op.process, &op.key, op.token);
        let after = |at: u64| (at + 1, at + 2);
        let valid = |op: &Op| op.f == Function::Check && op.valid == Some(true);
        match self {
            Self::LateCheck => ops.push(Op::check(&a.process, &own, after(b.ended()), true)),
            Self::EarlyGrant => {
                let checks = ops.iter().filter(|op| of(op, &a) && valid(op));
                let last = checks.map(|op| op.from).max()?;
                (ops[next].from, ops[next].to) = (last - 2, Some((last - 1, Kind::Ok)));
            }
            Self::TokensSwapped | Self::TokenRepeated => {
                for op in &mut ops {
                    if of(op, &b) {
                        op.token = a.token;
                    } else if of(op, &a) && self == Self::TokensSwapped {
                        op.token = b.token;
                    }
                }
            }
            Self::Revived => {
                let ends = ops.iter().filter(|op| of(op, &a) && is_end(op));
                let end = ends.map(Op::ended).max()?;
                ops.push(Op::check(&a.process, &own, after(end), true));
            }
            Self::LateRelease => {
                let release = ops.iter_mut().find(|op| of(op, &a) && op.f == Function::Release)?;
                let (from, to) = after(b.ended());
                (release.from, release.to) = (from, Some((to, Kind::Ok)));
            }
            Self::EndForgotten => ops.retain(|op| !(of(op, &a) && is_end(op))),
            Self::ClockShifted => {
                for op in &mut ops {
                    op.from += 1_000_000_007;
                    op.to = op.to.map(|(at, kind)| (at + 1_000_000_007, kind));
                }
            }
        }
        Some(ops)
    }

    /// Two successive owners of a key in different processes, both of which were seen to be valid; and
    /// the first of them as this change needs it.
    fn place(self, ops: &[Op]) -> Option<(usize, usize)> {
        let mut grants: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, op) in ops.iter().enumerate() {
            if op.is(Function::Acquire, Kind::Ok) {
                grants.entry(&op.key).or_default().push(place);
            }
        }
        for mut places in grants.into_values() {
            places.sort_by_key(|place| ops[*place].token);
            for two in places.windows(2) {
                let (a, b) = (&ops[two[0]], &ops[two[1]]);
                let any = |it: &Op, what: &dyn Fn(&Op) -> bool| {
                    ops.iter().any(|op| {
                        (&op.process, &op.key, op.token) == (&it.process, &it.key, it.token)
                            && what(op)
                    })
                };
                let seen = |it: &Op| any(it, &|op| op.valid == Some(true));
                let fits = match self {
                    Self::LateRelease => any(a, &|op| op.is(Function::Release, Kind::Ok)),
                    Self::Revived => any(a, &is_end),
                    _ => true,
                };
                if a.process != b.process && seen(a) && seen(b) && fits {
                    return Some((two[0], two[1]));
                }
            }
        }
        None
    }
}

fn is_end(op: &Op) -> bool {
    op.f == Function::Release || op.valid == Some(false)
}

/// What our checker says of each spoiled copy of a history.
pub(crate) fn spoiled(logs: &Logs) -> Vec<(Spoil, bool)> {
    let ops = ops_of(logs);
    let spoiled = SPOILS.iter().filter_map(|spoil| Some((*spoil, spoil.apply(&ops)?)));
    spoiled.map(|(spoil, ops)| (spoil, Report::of(&logs_of(&ops)).is_of_a_lock())).collect()
}

/// Reads the histories of a folder, adds spoiled copies, and prints for each whether it is a lock's.
pub(crate) fn judge(folder: &Path) -> ExitCode {
    for (name, ops) in histories(folder) {
        for spoil in SPOILS.into_iter().filter(|_| !name.contains(SPOILED)) {
            if let Some(ops) = spoil.apply(&ops) {
                save(folder, &format!("{name}{SPOILED}{spoil:?}"), &ops);
            }
        }
    }
    for (name, ops) in histories(folder) {
        let report = Report::of(&logs_of(&ops));
        println!("{name} {}", if report.is_of_a_lock() { "good" } else { "bad" });
        for why in report.overlaps.iter().chain(&report.disorder).chain(&report.revived).take(2) {
            eprintln!("{name}: {why}");
        }
    }
    ExitCode::SUCCESS
}

/// Stands between a history's name and what was changed in it.
const SPOILED: &str = ".spoiled-";

fn histories(folder: &Path) -> Vec<(String, Vec<Op>)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<OsString> =
        names.filter(|name| name.to_string_lossy().ends_with(".jsonl")).collect();
    names.sort();
    let named = |name: &OsString| {
        let text = name.to_string_lossy();
        let stem = text.strip_suffix(".jsonl").unwrap_or(&text).to_owned();
        (stem, read(&folder.join(name)))
    };
    names.iter().map(named).collect()
}
