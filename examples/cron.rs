//! A job by a cron expression, which has one turn each time, although three replicas
//! schedule it. Any crate whose cron schedule is an iterator of instants will do.
//!
//! ```sh
//! cargo run --example cron
//! ```
//!
//! The leader ends in the middle. Another replica continues; no time has two turns.

#[path = "support/mod.rs"]
mod support;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, SystemTime},
};

use actix_dsync::{
    Dsync, Key,
    jobs::{Missed, Schedule},
};
use chrono::{DateTime, Utc};
use croner::Cron;

use support::Store;

/// Every other second. The field of the seconds is optional.
const WHEN: &str = "*/2 * * * * *";
const A_WHILE: Duration = Duration::from_secs(6);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Which replica had the turn of each time.
type Turns = Rc<RefCell<BTreeMap<SystemTime, Vec<&'static str>>>>;

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::find();
    let turns = Turns::default();
    let mut replicas = Vec::new();
    for name in ["anna", "ben", "chloe"] {
        let dsync = store.replica("reports")?.start()?;
        schedule(name, &dsync, turns.clone())?;
        replicas.push((name, dsync));
    }
    println!("three replicas schedule the same job, at {WHEN:?}");
    tokio::time::sleep(A_WHILE).await;

    let last = turns.borrow().values().last().and_then(|by| by.last().copied());
    let leader = last.ok_or("no replica has had a turn")?;
    println!("{leader} is told to end, and hands over");
    let at = replicas.iter().position(|(name, _)| *name == leader).ok_or("unknown")?;
    let (_, leaving) = replicas.swap_remove(at);
    leaving.hand_over(STOP_LIMIT).await?;
    leaving.shutdown(STOP_LIMIT).await?;
    tokio::time::sleep(A_WHILE).await;

    for (_, dsync) in &replicas {
        dsync.shutdown(STOP_LIMIT).await?;
    }
    let turns = turns.borrow();
    let twice = turns.values().filter(|by| by.len() > 1).count();
    println!("{} times had a turn, {twice} had two", turns.len());
    Ok(())
}

/// What each replica does at its start.
fn schedule(
    name: &'static str,
    dsync: &Dsync,
    turns: Turns,
) -> Result<(), Box<dyn std::error::Error>> {
    let cron: Cron = WHEN.parse()?;
    let schedule = Schedule::at(cron.iter_after(Utc::now()))
        .missed(Missed::SkipAfter(Duration::from_secs(1)))
        .time_limit(Duration::from_secs(30));
    let job = dsync.every(Key::new("jobs/report")?, schedule, move |turn| {
        let turns = turns.clone();
        async move {
            let due = DateTime::<Utc>::from(turn.due()).time();
            println!("  {name}: turn of {due} UTC, fenced by {}", turn.token());
            turns.borrow_mut().entry(turn.due()).or_default().push(name);
        }
    });
    actix::spawn(async move {
        if let Err(error) = job.await {
            eprintln!("{name}: {error}");
        }
    });
    Ok(())
}
