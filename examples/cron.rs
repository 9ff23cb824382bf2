//! A periodic job that runs once per period, although three replicas schedule it.
//!
//! ```sh
//! cargo run --example cron
//! ```
//!
//! The leader ends in the middle. Another replica continues; no period has two turns.

#[path = "support/mod.rs"]
mod support;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_dsync::{Dsync, Key, jobs::Period};

use support::Store;

const EVERY: Duration = Duration::from_secs(2);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Which replica had the turn of each period.
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
    println!("three replicas schedule the same job, every {EVERY:?}");
    tokio::time::sleep(EVERY * 3).await;

    let last = turns.borrow().values().last().and_then(|by| by.last().copied());
    let leader = last.ok_or("no replica has had a turn")?;
    println!("{leader} is told to end, and hands over");
    let at = replicas.iter().position(|(name, _)| *name == leader).ok_or("unknown")?;
    let (_, leaving) = replicas.swap_remove(at);
    leaving.hand_over(STOP_LIMIT).await?;
    leaving.shutdown(STOP_LIMIT).await?;
    tokio::time::sleep(EVERY * 3).await;

    for (_, dsync) in &replicas {
        dsync.shutdown(STOP_LIMIT).await?;
    }
    let turns = turns.borrow();
    let twice = turns.values().filter(|by| by.len() > 1).count();
    println!("{} periods had a turn, {twice} had two", turns.len());
    Ok(())
}

/// What each replica does at its start.
fn schedule(name: &'static str, dsync: &Dsync, turns: Turns) -> Result<(), actix_dsync::Error> {
    // Half a second after each multiple of the period.
    let period = Period::new(EVERY).starting_at(Duration::from_millis(500));
    let job = dsync.every(Key::new("jobs/report")?, period, move |turn| {
        let turns = turns.clone();
        async move {
            let due = turn.due().duration_since(UNIX_EPOCH).unwrap_or_default();
            println!("  {name}: turn of {:.1} s, fenced by {}", due.as_secs_f64(), turn.token());
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
