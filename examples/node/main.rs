//! A scriptable process for tests and demos. It prints one JSON object per line.
//!
//! See [`USAGE`] for the commands, and `run.rs` and `campaign.rs` for the events. Logs go to
//! stderr; `RUST_LOG` sets the level.

mod arguments;
mod campaign;
mod measure;
mod run;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_dsync::{Dsync, Key};

use crate::arguments::{Arguments, Command, USAGE};

/// Why the process ends early.
enum Failure {
    /// The arguments cannot be used.
    Usage(String),
    /// The work failed.
    Work(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .init();
    match obey().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => {
            eprintln!("node: {why}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Work(why)) => {
            eprintln!("node: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn obey() -> Result<(), Failure> {
    let Arguments { command, config, prefix } =
        Arguments::parse(std::env::args().skip(1)).map_err(Failure::Usage)?;
    let start = || {
        let started = Dsync::builder("node").config(config.clone()).start();
        started.map_err(|error| Failure::Usage(error.to_string()))
    };
    // The full key, so that events name it as Consul does.
    let key = |number: usize| {
        Key::new(format!("{prefix}/{number}")).map_err(|error| Failure::Usage(error.to_string()))
    };
    match command {
        Command::Run { keys, tick, log } => {
            let keys = (0..keys).map(key).collect::<Result<_, _>>()?;
            run::run(start()?, keys, tick, log).await
        }
        Command::Campaign { log } => {
            let key = Key::new(format!("{prefix}/leader"));
            let key = key.map_err(|error| Failure::Usage(error.to_string()))?;
            campaign::campaign(start()?, key, log).await
        }
        Command::Cycle { n } => measure::cycle(start()?, key(0)?, n).await,
        Command::Preflight => preflight(start()?, key(0)?).await,
        Command::Handoff { n } => measure::handoff([start()?, start()?], key(0)?, n).await,
    }
}

/// The time limit of each step of an orderly end.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Ends the runtime. If Consul is gone, its TTL gives the locks back: a warning, no failure.
async fn stop(dsync: &Dsync) {
    if let Err(error) = dsync.shutdown(STOP_LIMIT).await {
        eprintln!("node: warning: {error}; the session's TTL frees the locks");
    }
}

/// Prints what locks lack.
async fn preflight(dsync: Dsync, key: Key) -> Result<(), Failure> {
    let work = |error: actix_dsync::Error| Failure::Work(error.to_string());
    let found = dsync.preflight_for([key]).await.map_err(work)?;
    print!("{found}");
    stop(&dsync).await;
    if found.passed { Ok(()) } else { Err(Failure::Work("the preflight failed".into())) }
}

/// Prints an event as one line, with the time.
fn print(mut event: serde_json::Value) {
    event["t"] = unix_ns().into();
    let mut stdout = io::stdout().lock();
    // The reader may have closed the pipe.
    let _ = writeln!(stdout, "{event}").and_then(|()| stdout.flush());
}

fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}
