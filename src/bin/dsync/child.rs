//! The command that runs under a lock, and ends before the lock can pass on.

use std::{
    ffi::OsString,
    io::IsTerminal as _,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    task::Poll,
    time::Duration,
};

use actix_dsync::Lease;
use rustix::{
    io::Errno,
    process::{Pid, Signal, getpid, kill_process, kill_process_group},
};
use tokio::{
    process::{Child, Command},
    signal::unix::{self, SignalKind},
};

use crate::{Failure, show};

/// SIGKILL is sent this long before the lease ends.
const MARGIN: Duration = Duration::from_millis(500);
/// How often the lease is read: timers may be late after a suspend.
const LOOK: Duration = Duration::from_millis(100);
/// The exit code if the lock was lost.
pub(crate) const LOST: u8 = 76;

/// Runs the command; returns the exit code.
pub(crate) async fn run(
    lease: &Lease,
    grace: Duration,
    command: &[OsString],
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let (mut stops, mut continues) = (
        stream(Signal::TSTP).map_err(Failure::System)?,
        stream(Signal::CONT).map_err(Failure::System)?,
    );
    // A parent may have had SIGCHLD ignored; then the command's exit code would be lost.
    let _ends = stream(Signal::CHILD).map_err(Failure::System)?;
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
    // This process may have been stopped since the grant.
    if lease.remaining() <= grace + MARGIN {
        show::failure("the lock was lost before the command started");
        return Ok(LOST);
    }
    let mut child = starts.spawn().map_err(Failure::Command)?;
    let mut target = Target { pid: pid(&child), is_group: alone, has_ended: false };
    let mut stopping = false;
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(Failure::System)?;
                if alone {
                    // What it left behind must not outlive the lock either.
                    target.send(Signal::KILL);
                }
                target.has_ended = true;
                return Ok(if stopping || !lease.is_valid() { LOST } else { code(status) });
            }
            // A terminal sends these to the command, too.
            signal = signals.next() => if alone || (signal != Signal::INT && signal != Signal::QUIT) {
                target.send(signal);
                // A command that is stopped, for instance because it read from the terminal in
                // the background, gets no other signal.
                target.go_on(lease);
            },
            // Nothing renews the lease while this process is stopped, so the command stops first.
            _ = stops.recv() => if can_be_continued() {
                target.send(Signal::STOP);
                let _ = kill_process(getpid(), Signal::STOP);
            },
            _ = continues.recv() => target.go_on(lease),
            () = until_dips(lease, MARGIN), if stopping => target.send_last(&mut child).await,
            () = until_dips(lease, grace + MARGIN), if !stopping => {
                if lease.remaining() > MARGIN {
                    target.send(Signal::TERM);
                    target.go_on(lease);
                }
                // Nothing may delay the signals.
                let key = lease.key();
                drop(show::say(&format!("the lock {key} is about to be lost; stopping the command")));
                stopping = true;
            }
        }
    }
}

/// Whether a shell may continue this process if it stops. Otherwise its process group is orphaned,
/// and the system stops none of its processes by SIGTSTP.
fn can_be_continued() -> bool {
    // Unknown where the system does not show it.
    let Some(own) = Place::of("self") else { return true };
    let mut parent = own.parent;
    while let Some(above) = Place::of(&parent.to_string()) {
        if above.session != own.session || above.group != own.group {
            return above.session == own.session;
        }
        parent = above.parent;
    }
    false
}

/// Where a process belongs: numbers of processes.
struct Place {
    parent: u32,
    group: u32,
    session: u32,
}

impl Place {
    fn of(process: &str) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name, in parentheses, can contain anything.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut numbers = rest.split_whitespace().skip(1).map(|number| number.parse().ok());
        Some(Self { parent: numbers.next()??, group: numbers.next()??, session: numbers.next()?? })
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

/// The command, and its descendants if it has a group of its own. Killed when dropped, unless it
/// has ended.
struct Target {
    pid: Option<Pid>,
    is_group: bool,
    has_ended: bool,
}

impl Target {
    fn send(&self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        let sent =
            if self.is_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
        // It may have ended, which is fine.
        if sent == Err(Errno::PERM) {
            let text =
                "the command runs as another user: it gets no signal, and may outlive the lock";
            drop(show::say(text));
        }
    }

    /// Continues it, if the lock still lasts.
    fn go_on(&self, lease: &Lease) {
        if lease.remaining() > MARGIN {
            self.send(Signal::CONT);
        }
    }

    async fn send_last(&self, child: &mut Child) {
        self.send(Signal::KILL);
        // It cannot be refused; the next turn of the loop reads the status.
        let _ = child.wait().await;
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.has_ended {
            self.send(Signal::KILL);
        }
    }
}

/// The signals that are passed on to the command: those that would end this process. One that
/// was ignored when this process began, as by `nohup`, stays ignored.
pub(crate) struct Signals(Vec<(unix::Signal, Signal)>);

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        let ignored = ignored();
        let all = [
            Signal::INT,
            Signal::TERM,
            Signal::HUP,
            Signal::QUIT,
            Signal::USR1,
            Signal::USR2,
            Signal::ALARM,
            Signal::VTALARM,
            Signal::PROF,
            Signal::XCPU,
            Signal::IO,
        ];
        let heard = all.into_iter().filter(|it| ignored & (1 << (it.as_raw() - 1)) == 0);
        heard.map(|signal| Ok((stream(signal)?, signal))).collect::<std::io::Result<_>>().map(Self)
    }

    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            let mut streams = self.0.iter_mut();
            let came = streams
                .find_map(|(stream, signal)| stream.poll_recv(cx).is_ready().then_some(*signal));
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn stream(signal: Signal) -> std::io::Result<unix::Signal> {
    unix::signal(SignalKind::from_raw(signal.as_raw()))
}

/// The ignored signals as bits; none if the system does not show them.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}
