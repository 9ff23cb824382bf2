//! Campaigns, works while it leads, and prints events.
//!
//! Events, each with `t`, the Unix time in nanoseconds:
//! - `start`: `pid`;
//! - `elected`: `key`, `token`;
//! - `deposed`: the same, and `why`;
//! - `leader`: `key`, and the leader's `session`, or null;
//! - `job-begins`: `key`, `token`; `job-ends`: the job was dropped;
//! - `resigned`: at SIGUSR1;
//! - `handed-over`: at SIGTERM, when Consul has the key back.

use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use actix_dsync::{
    Campaign, Dsync, Key, Resign, Term,
    events::{Deposed, Elected, Event, Filter, LeaderChanged},
};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Failure, STOP_LIMIT, print,
    run::{open_log, write_line},
    stop, unix_ns,
};

const TICK: Duration = Duration::from_millis(20);
const COOL_DOWN: Duration = Duration::from_secs(5);

pub(crate) async fn campaign(dsync: Dsync, key: Key, log: Option<PathBuf>) -> Result<(), Failure> {
    let log = log.map(open_log).transpose()?.map(Arc::new);
    let watched = |kind| signal(kind).map_err(|error| Failure::Work(format!("signals: {error}")));
    let mut terminate = watched(SignalKind::terminate())?;
    let mut interrupt = watched(SignalKind::interrupt())?;
    let mut resign = watched(SignalKind::user_defined1())?;

    print(json!({ "ev": "start", "pid": std::process::id() }));
    tell(
        &dsync,
        |Elected { key, token, .. }| json!({ "ev": "elected", "key": key, "token": token }),
    );
    tell(
        &dsync,
        |Deposed { key, token, reason, .. }| json!({ "ev": "deposed", "key": key, "token": token, "why": reason }),
    );
    tell(
        &dsync,
        |LeaderChanged { key, leader, .. }| json!({ "ev": "leader", "key": key, "session": leader.map(|leader| leader.session) }),
    );
    let tenure = dsync.send(Campaign::on(key.clone())).await?;
    let job = tokio::spawn(dsync.while_leading(key, move |term| work(term, log.clone())));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = resign.recv() => {
                dsync.send(Resign::of(&tenure).cool_down(COOL_DOWN)).await?;
                print(json!({ "ev": "resigned" }));
            }
        }
    }
    match dsync.hand_over(STOP_LIMIT).await {
        Ok(_) => print(json!({ "ev": "handed-over" })),
        Err(error) => eprintln!("node: warning: {error}"),
    }
    stop(&dsync).await;
    job.await.map_err(|error| Failure::Work(format!("the job: {error}")))??;
    Ok(())
}

fn tell<E: Event + 'static>(dsync: &Dsync, line: impl Fn(E) -> Value + Send + 'static) {
    let mut events = dsync.events::<E>(Filter::All);
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            print(line(event));
        }
    });
}

async fn work(term: Term, log: Option<Arc<File>>) {
    print(json!({ "ev": "job-begins", "key": term.key(), "token": term.token() }));
    let job = Job(term);
    loop {
        // Read first, so that the answer is from this moment or later.
        let asked = unix_ns();
        if let Some(log) = log.as_deref().filter(|_| job.0.is_valid()) {
            write_line(log, asked, job.0.key(), job.0.token());
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Prints an event when the job is dropped.
struct Job(Term);

impl Drop for Job {
    fn drop(&mut self) {
        print(json!({ "ev": "job-ends", "key": self.0.key(), "token": self.0.token() }));
    }
}
