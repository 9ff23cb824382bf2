//! What the tool prints.

use std::{
    io::{self, ErrorKind, IsTerminal as _, Write as _},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use actix_dsync::{
    Holder, Key,
    admin::HeldKey,
    report::Preflight,
    tool::{escaped, json_escaped},
};

use crate::Failure;

/// Shows a line of progress on a terminal; an empty one removes it.
pub(crate) fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
    }
}

/// Prints a line on standard error without waiting for it, since nobody may read it. It is not
/// printed if the system starts no thread.
pub(crate) fn say(line: &str) -> Receiver<()> {
    let (line, (done, is_done)) = (format!("dsync: {line}\n"), channel());
    let _ = std::thread::Builder::new().spawn(move || {
        let _ = std::io::stderr().write_all(line.as_bytes());
        let _ = done.send(());
    });
    is_done
}

/// Says why the tool fails, and waits a second for somebody to read it.
pub(crate) fn failure(text: &str) {
    let said = say(text).recv_timeout(Duration::from_secs(1));
    if said == Err(RecvTimeoutError::Disconnected) {
        // There was no thread.
        let _ = writeln!(io::stderr(), "dsync: {text}");
    }
}

/// Who reads standard output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Reads,
    /// It has closed its end, as `head -1` does, which is no error.
    Left,
}

/// Writes to standard output, from a thread of its own: a reader that does not read delays no signal.
pub(crate) async fn print(text: String) -> Result<Reader, Failure> {
    let (done, written) = tokio::sync::oneshot::channel();
    let writes = move || {
        let mut out = io::stdout().lock();
        let _ = done.send(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    };
    std::thread::Builder::new().spawn(writes).map_err(Failure::System)?;
    let written = written.await.unwrap_or_else(|_| Err(io::Error::other("its thread ended")));
    match written {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Left),
        Err(error) => Err(Failure::Output(error)),
    }
}

/// A table, or JSON.
pub(crate) fn table(held: &[HeldKey], json: bool) -> Result<String, Failure> {
    if json {
        return as_json(&held);
    }
    let rows = held.iter().map(|held| row(&held.key, &held.holder));
    let heads = ["KEY", "SESSION NAME", "NODE", "SESSION", "INDEX", "VALUE"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let line = |row: &[String; 6]| {
        let cells = (0..5).map(|column| format!("{:<1$}", row[column], width(column)));
        let cells: Vec<String> = cells.collect();
        format!("{}  {}\n", cells.join("  "), row[5])
    };
    Ok(rows.iter().map(line).collect())
}

fn row(key: &str, holder: &Holder) -> [String; 6] {
    let name = |name: &Option<String>| escaped(name.as_deref().unwrap_or("?")).into_owned();
    [
        escaped(key).into_owned(),
        name(&holder.session_name),
        name(&holder.node),
        escaped(&holder.session).into_owned(),
        holder.index.to_string(),
        value(holder),
    ]
}

/// The first characters of the value, on one line.
fn value(holder: &Holder) -> String {
    let value = String::from_utf8_lossy(&holder.value);
    let start: String = value.chars().take(120).collect();
    escaped(&start).into_owned()
}

pub(crate) fn holder(key: &Key, holder: &Holder, json: bool) -> Result<String, Failure> {
    if json {
        return as_json(holder);
    }
    let names = ["key", "session name", "node", "session", "index", "value"];
    let lines = names.into_iter().zip(row(key.as_str(), holder));
    Ok(lines.map(|(name, value)| format!("{name:<12}  {value}\n")).collect())
}

pub(crate) fn preflight(found: &Preflight, json: bool) -> Result<String, Failure> {
    if json { as_json(found) } else { Ok(found.to_string()) }
}

/// One line for a change of the holder.
pub(crate) fn change(key: &Key, holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => {
            let [key, name, node, session, _, value] = row(key.as_str(), holder);
            format!("{key}  {name}  {node}  {session}  {value}\n")
        }
        None => format!("{}  -\n", escaped(key.as_str())),
    }
}

fn as_json(what: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(what).map_err(|error| Failure::Output(error.into()))?;
    // JSON leaves some characters as they are that control terminals.
    Ok(json_escaped(&text) + "\n")
}
