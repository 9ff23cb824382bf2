//! Acquires keys, holds them, acquires them again after a loss, and prints events.
//!
//! Events, each with `t`, the Unix time in nanoseconds:
//! - `start`: `pid`;
//! - `acquired`: `key`, `token`, and `held`, the number of keys that this process holds now;
//! - `lost`: the same, and `why`; at SIGTERM each held key is lost to `shutdown`;
//! - `error`: `key`, `err`;
//! - `after-pause` (with `--tick`): `key`; `pause_ms`; `stale_checks`, how often the lease
//!   reported after the pause that it was valid although it was lost; `told_after_ms`, when
//!   its loss was reported, or null if it was not lost.

use std::{
    fs::File,
    io::Write as _,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_dsync::{Acquire, Dsync, Error, FencingToken, Key, Lease, LossReason};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Failure, print, stop, unix_ns};

const TICK: Duration = Duration::from_millis(10);
const LOG_PERIOD: Duration = Duration::from_millis(100);
/// A tick that is later than this was not just late.
const PAUSE: Duration = Duration::from_secs(1);
/// A lease that was not lost by then has survived the pause.
const VERDICT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(1);

pub(crate) async fn run(
    dsync: Dsync,
    keys: Vec<Key>,
    tick: bool,
    log: Option<PathBuf>,
) -> Result<(), Failure> {
    let log = log.map(open_log).transpose()?;
    let unwatchable = |error: std::io::Error| Failure::Work(format!("signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(unwatchable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unwatchable)?;

    print(json!({ "ev": "start", "pid": std::process::id() }));
    let contender = Arc::new(Contender { dsync, held: AtomicUsize::new(0), tick, log });
    let mut tasks = tokio::task::JoinSet::new();
    for key in keys {
        let contender = contender.clone();
        tasks.spawn(async move { contender.contend(key).await });
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Each task learns of the end from its lease or from the reply to its request.
    stop(&contender.dsync).await;
    tasks.join_all().await;
    Ok(())
}

pub(crate) fn open_log(path: PathBuf) -> Result<File, Failure> {
    let file = File::options().create(true).append(true).open(&path);
    file.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// One write, so that lines of several processes do not mix.
pub(crate) fn write_line(mut log: &File, t: u64, key: &Key, token: FencingToken) {
    let line = format!("{t} {} {key} {token}\n", std::process::id());
    if let Err(error) = log.write_all(line.as_bytes()) {
        print(json!({ "ev": "error", "err": format!("--log: {error}") }));
    }
}

struct Contender {
    dsync: Dsync,
    held: AtomicUsize,
    tick: bool,
    log: Option<File>,
}

impl Contender {
    async fn contend(&self, key: Key) {
        loop {
            match self.dsync.send(Acquire::new(key.clone())).await {
                Ok(lease) => {
                    let token = lease.token();
                    let held = self.held.fetch_add(1, Ordering::Relaxed) + 1;
                    print(json!({ "ev": "acquired", "key": key, "token": token, "held": held }));
                    let why = self.hold(&lease).await;
                    let held = self.held.fetch_sub(1, Ordering::Relaxed) - 1;
                    print(json!({
                        "ev": "lost", "key": key, "token": token, "why": why, "held": held,
                    }));
                }
                Err(Error::Stopped) => return,
                Err(error) => {
                    print(json!({ "ev": "error", "key": key, "err": error.to_string() }));
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Until the lease is lost.
    async fn hold(&self, lease: &Lease) -> LossReason {
        let period = match (self.tick, &self.log) {
            (true, _) => TICK,
            (false, Some(_)) => LOG_PERIOD,
            (false, None) => return lease.lost().await,
        };
        let mut lost = pin!(lease.lost());
        let mut last_tick = Instant::now();
        let mut next_line = last_tick;
        let mut pause = None;
        loop {
            let now = Instant::now();
            if now - last_tick > PAUSE {
                pause = Some(Pause { length: now - last_tick, end: now, valid_checks: 0 });
            }
            last_tick = now;
            // Read first, so that the answer is from this moment or later.
            let asked = unix_ns();
            let valid = lease.is_valid();
            if let Some(pause) = &mut pause {
                pause.valid_checks += usize::from(valid);
            }
            if valid && now >= next_line {
                self.write_line(asked, lease);
                next_line = now + LOG_PERIOD;
            }
            if pause.as_ref().is_some_and(|pause| pause.end.elapsed() > VERDICT) {
                self.tell(pause.take(), lease, false);
            }
            // After a pause both are due: the check comes first, to catch a lease that lies.
            tokio::select! {
                biased;
                () = tokio::time::sleep(period) => {}
                why = &mut lost => {
                    if pause.is_none() && last_tick.elapsed() > PAUSE {
                        let length = last_tick.elapsed();
                        pause = Some(Pause { length, end: Instant::now(), valid_checks: 0 });
                    }
                    self.tell(pause, lease, true);
                    return why;
                }
            }
        }
    }

    fn tell(&self, pause: Option<Pause>, lease: &Lease, lost: bool) {
        if let Some(Pause { length, end, valid_checks }) = pause.filter(|_| self.tick) {
            print(json!({
                "ev": "after-pause",
                "key": lease.key(),
                "pause_ms": length.as_millis() as u64,
                "stale_checks": if lost { valid_checks } else { 0 },
                "told_after_ms": lost.then(|| end.elapsed().as_millis() as u64),
            }));
        }
    }

    fn write_line(&self, t: u64, lease: &Lease) {
        if let Some(log) = &self.log {
            write_line(log, t, lease.key(), lease.token());
        }
    }
}

/// What was seen since this process went on after a pause.
struct Pause {
    length: Duration,
    end: Instant,
    valid_checks: usize,
}
