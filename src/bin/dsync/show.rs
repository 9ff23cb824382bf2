//! What the tool prints.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use actix_dsync::{Holder, Key, admin::HeldKey, report::Preflight};

/// Shows a line of progress on a terminal; an empty one removes it.
pub(crate) fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
    }
}

/// Prints a line on standard error without waiting for it, since nobody may read it.
pub(crate) fn say(line: &str) -> Receiver<()> {
    let (line, (done, is_done)) = (format!("dsync: {line}\n"), channel());
    std::thread::spawn(move || {
        let _ = std::io::stderr().write_all(line.as_bytes());
        let _ = done.send(());
    });
    is_done
}

/// Says why the tool fails, and waits a second for somebody to read it.
pub(crate) fn failure(text: &str) {
    let _ = say(text).recv_timeout(Duration::from_secs(1));
}

/// A table, or JSON.
pub(crate) fn table(held: &[HeldKey], json: bool) {
    if json {
        return print_json(&held);
    }
    let rows = held.iter().map(|held| row(&held.key, &held.holder));
    let heads = ["KEY", "SESSION NAME", "NODE", "SESSION", "SINCE", "VALUE"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    for row in &rows {
        let cells = (0..5).map(|column| format!("{:<1$}", row[column], width(column)));
        let cells: Vec<String> = cells.collect();
        println!("{}  {}", cells.join("  "), row[5]);
    }
}

fn row(key: &str, holder: &Holder) -> [String; 6] {
    let name = |name: &Option<String>| printable(name.as_deref().unwrap_or("?"));
    [
        printable(key),
        name(&holder.session_name),
        name(&holder.node),
        printable(&holder.session),
        holder.since.to_string(),
        value(holder),
    ]
}

/// The first characters of the value, on one line.
fn value(holder: &Holder) -> String {
    printable(&String::from_utf8_lossy(&holder.value)).chars().take(120).collect()
}

/// Strangers wrote it: it must not control the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect()
}

fn is_plain(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{200e}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub(crate) fn holder(key: &Key, holder: &Holder, json: bool) {
    if json {
        return print_json(holder);
    }
    let [key, name, node, session, since, value] = row(key.as_str(), holder);
    println!("key           {key}");
    println!("session name  {name}");
    println!("node          {node}");
    println!("session       {session}");
    println!("index         {since}");
    println!("value         {value}");
}

pub(crate) fn preflight(found: &Preflight, json: bool) {
    if json {
        return print_json(found);
    }
    print!("{found}");
}

/// One line for a change of the holder.
pub(crate) fn change(key: &Key, holder: Option<&Holder>) {
    match holder {
        Some(holder) => {
            let [key, name, node, session, _, value] = row(key.as_str(), holder);
            println!("{key}  {name}  {node}  {session}  {value}");
        }
        None => println!("{}  -", printable(key.as_str())),
    }
}

/// A line of JSON, with the escapes of JSON for what could control a terminal.
fn escaped(line: &str) -> String {
    let escape =
        |c: char| if is_plain(c) { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) };
    line.chars().map(escape).collect()
}

fn print_json(what: &impl serde::Serialize) {
    match serde_json::to_string_pretty(what) {
        // JSON leaves some characters as they are that control terminals.
        Ok(text) => println!("{}", text.lines().map(escaped).collect::<Vec<_>>().join("\n")),
        Err(error) => failure(&error.to_string()),
    }
}
