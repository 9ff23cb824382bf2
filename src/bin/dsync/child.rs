//! The command that runs under a lock, and ends before the lock can pass on.

use std::{
    io::IsTerminal as _,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use actix_dsync::Lease;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    process::{Child, Command},
    signal::unix::{self, SignalKind},
};

use crate::Failure;

/// SIGKILL is sent this long before the lease ends.
const MARGIN: Duration = Duration::from_millis(500);
/// How often the lease is read: timers may be late after a suspend.
const LOOK: Duration = Duration::from_millis(100);
/// The exit code if the lock was lost.
const LOST: u8 = 76;

/// Runs the command; returns the exit code.
pub(crate) async fn run(lease: &Lease, grace: Duration, command: &[String]) -> Result<u8, Failure> {
    let mut signals = Signals::new().map_err(Failure::Command)?;
    let Some((program, arguments)) = command.split_first() else { return Ok(0) };
    // On a terminal, the command stays in the foreground's process group, to read from it.
    // Elsewhere it gets a group of its own, so that its descendants are stopped as well.
    let alone = !std::io::stdin().is_terminal();
    let mut starts = Command::new(program);
    starts
        .args(arguments)
        .env("DSYNC_KEY", lease.key().as_str())
        .env("DSYNC_TOKEN", lease.token().to_string())
        .stdin(Stdio::inherit())
        .kill_on_drop(true);
    if alone {
        starts.process_group(0);
    }
    let mut child = starts.spawn().map_err(Failure::Command)?;
    let target = Target { pid: pid(&child), is_group: alone };
    let mut stopping = false;
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(Failure::Command)?;
                if alone {
                    // What it left behind must not outlive the lock either.
                    target.send(Signal::KILL);
                }
                return Ok(if stopping || !lease.is_valid() { LOST } else { code(status) });
            }
            signal = signals.next() => target.send(signal),
            () = until_dips(lease, MARGIN), if stopping => target.send_last(&mut child).await,
            () = until_dips(lease, grace + MARGIN), if !stopping => {
                eprintln!("dsync: the lock {} is about to be lost; stopping the command", lease.key());
                target.send(Signal::TERM);
                stopping = true;
            }
        }
    }
}

/// Completes when no more than `left` of the lease remains, or it is lost.
async fn until_dips(lease: &Lease, left: Duration) {
    while lease.remaining() > left {
        let _ = tokio::time::timeout(LOOK, lease.lost()).await;
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

struct Target {
    pid: Option<Pid>,
    is_group: bool,
}

impl Target {
    /// Fails if it has ended, which is fine.
    fn send(&self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        let _ =
            if self.is_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }

    async fn send_last(&self, child: &mut Child) {
        self.send(Signal::KILL);
        // It cannot be refused; the next turn of the loop reads the status.
        let _ = child.wait().await;
    }
}

/// The signals that are passed on to the command.
pub(crate) struct Signals([(unix::Signal, Signal); 4]);

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self([
            (unix::signal(SignalKind::interrupt())?, Signal::INT),
            (unix::signal(SignalKind::terminate())?, Signal::TERM),
            (unix::signal(SignalKind::hangup())?, Signal::HUP),
            (unix::signal(SignalKind::quit())?, Signal::QUIT),
        ]))
    }

    pub(crate) async fn next(&mut self) -> Signal {
        let [one, two, three, four] = &mut self.0;
        tokio::select! {
            _ = one.0.recv() => one.1,
            _ = two.0.recv() => two.1,
            _ = three.0.recv() => three.1,
            _ = four.0.recv() => four.1,
        }
    }
}
