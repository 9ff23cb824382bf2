//! Reads the files that `README.md` documents.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::act_of;
use crate::mutex::{Act, Said};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Function {
    Acquire,
    Check,
    Release,
}

#[derive(Debug, Deserialize)]
struct Line {
    time: u64,
    process: String,
    op: u64,
    #[serde(rename = "type")]
    kind: Kind,
    f: Function,
    key: String,
    token: Option<u64>,
    valid: Option<bool>,
}

/// The lines of one operation.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) process: usize,
    key: String,
    from: u64,
    to: Option<u64>,
    pub(crate) function: Function,
    /// `None` as long as the operation is open.
    pub(crate) kind: Option<Kind>,
    pub(crate) token: Option<u64>,
    pub(crate) valid: Option<bool>,
}

/// An operation of the model. Without an end it stays open: it takes effect at any later time, or never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) process: usize,
    pub(crate) from: u64,
    pub(crate) ended: Option<(u64, Said)>,
    pub(crate) act: Act,
}

/// The histories of a folder, by their names.
pub(crate) fn of_folder(folder: &Path) -> BTreeMap<String, Vec<Outcome>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let files = paths.filter(|path| path.extension().is_some_and(|it| it == "jsonl"));
    let named = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (name, outcomes(&text))
    };
    files.map(named).collect()
}

fn outcomes(text: &str) -> Vec<Outcome> {
    let mut processes = HashMap::new();
    let mut outcomes: BTreeMap<u64, Outcome> = BTreeMap::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let count = processes.len();
        let process = *processes.entry(line.process).or_insert(count);
        let outcome = outcomes.entry(line.op).or_insert_with(|| Outcome {
            process,
            key: line.key,
            from: line.time,
            to: None,
            function: line.f,
            kind: None,
            token: None,
            valid: None,
        });
        if line.kind != Kind::Invoke {
            outcome.to = Some(line.time);
            outcome.kind = Some(line.kind);
        }
        outcome.token = line.token.or(outcome.token);
        outcome.valid = line.valid.or(outcome.valid);
    }
    outcomes.into_values().collect()
}

/// The operations on each key, in the order of their ends.
pub(crate) fn by_key(outcomes: Vec<Outcome>) -> BTreeMap<String, Vec<Operation>> {
    let mut keys: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for outcome in outcomes {
        if let Some((act, said)) = act_of(&outcome) {
            let ended = outcome.to.zip(said);
            let Outcome { process, from, key, .. } = outcome;
            keys.entry(key).or_default().push(Operation { process, from, ended, act });
        }
    }
    let end = |it: &Operation| it.ended.map_or(it.from, |(at, _)| at);
    keys.values_mut().for_each(|operations| operations.sort_by_key(end));
    keys
}
